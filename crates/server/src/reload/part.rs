//! The files that may change while the server runs: of each kind how it is read and whose value it replaces.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::outline::Outline;
use super::{key_of, outline_of};
use crate::config::{ConfigError, Finding, Loaded, ServerConfig, Severity, Strictness};
use crate::config::{blocklist, data_files, load_tactics, psinet, traffic_rules};
use crate::control::FileReport;
use crate::figures::{DataFile, Figures};
use crate::geoip;
use crate::services::Services;

/// One file, or files that make one value.
pub(super) struct Part {
    pub(super) kind: &'static str,
    /// Its name among the figures.
    label: DataFile,
    files: Vec<PathBuf>,
    form: Form,
    /// Where copies may be kept.
    state: PathBuf,
    read: ReadFiles,
    pub(super) known: Known,
}

/// The second is the part's `state`.
type ReadFiles = fn(&[PathBuf], &Path) -> Result<Staged, ConfigError>;

/// Whether changes can be told from the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    /// Only their number.
    Rows,
    Other,
}

/// What is known of the files in use.
#[derive(Default)]
pub(super) struct Known {
    digests: Vec<Option<Vec<u8>>>,
    outlines: Vec<Outline>,
    rows: Option<u64>,
    /// Remarks on them, which are no news.
    remarks: BTreeSet<String>,
    /// What is in use was read after its digest was taken. Before the first reload it is not: files may have been replaced between being
    /// read by who started the server and being remembered here.
    is_sure: bool,
}

/// A value that was read and waits until all are.
pub(super) struct Staged {
    replace: Box<dyn FnOnce(&Services) + Send>,
    pub(super) warnings: Vec<Finding>,
    pub(super) rows: Option<u64>,
    digests: Vec<Option<Vec<u8>>>,
    outlines: Vec<Outline>,
}

/// Every kind of file of this configuration that can be read again, in the order of reports.
pub(super) fn parts(config: &ServerConfig) -> Vec<Part> {
    let files = &config.files;
    let mut parts = Parts { state: &config.state_directory, parts: Vec::new() };
    parts.json(("traffic rules", DataFile::TrafficRules), &files.traffic_rules, |files, _| {
        let file = files.first().map_or(Path::new(""), PathBuf::as_path);
        let Loaded { value: rules, warnings } = traffic_rules::load(file, Strictness::Run)?;
        // The default ones are rules too.
        let rows = u64::try_from(rules.filtered.len()).ok().map(|filtered| filtered + 1);
        let staged = Staged::new(rules, warnings, |services, rules| services.replace_rules(&rules));
        Ok(Staged { rows, ..staged })
    });
    parts.json(("server list configuration (without effect yet)", DataFile::Osl), &files.osl, |files, _| {
        single(files, |file| data_files::load_osl(file, Strictness::Run), |_, ()| {})
    });
    parts.json(("tactics", DataFile::Tactics), &files.tactics, |files, _| {
        single(files, |file| load_tactics(file, Strictness::Run), Services::replace_tactics)
    });
    parts.json(("psinet database", DataFile::Psinet), &files.psinet, |files, _| {
        let load = |file: &Path| psinet::load(file, Strictness::Run);
        single(files, load, |services, psinet| services.psinet.replace(psinet))
    });
    parts.add(("GeoIP databases", DataFile::GeoIp), Form::Other, files.geoip.clone(), |files, copies| {
        let places = geoip::read(files, copies)?;
        Ok(Staged::new(places, Vec::new(), |services, places| services.geoip.replace(places)))
    });
    parts.add(
        ("blocklist", DataFile::Blocklist),
        Form::Rows,
        files.blocklist.iter().cloned().collect(),
        |files, _| {
            let list = blocklist::read(files.first().map_or(Path::new(""), PathBuf::as_path))?;
            let rows = u64::try_from(list.len()).ok();
            let staged = Staged::new(list, Vec::new(), |services, list| services.blocklist.replace(list));
            Ok(Staged { rows, ..staged })
        },
    );
    parts.parts
}

/// What people and figures call a kind.
type Named = (&'static str, DataFile);

struct Parts<'c> {
    state: &'c Path,
    parts: Vec<Part>,
}

impl Parts<'_> {
    fn json(&mut self, kind: Named, file: &Option<PathBuf>, read: ReadFiles) {
        self.add(kind, Form::Json, file.clone().into_iter().collect(), read);
    }

    fn add(&mut self, (kind, label): Named, form: Form, files: Vec<PathBuf>, read: ReadFiles) {
        if !files.is_empty() {
            let state = self.state.to_owned();
            self.parts.push(Part { kind, label, files, form, state, read, known: Known::default() });
        }
    }
}

/// A value of one file.
fn single<T: Send + 'static>(
    files: &[PathBuf],
    load: fn(&Path) -> Result<Loaded<T>, ConfigError>,
    replace: fn(&Services, T),
) -> Result<Staged, ConfigError> {
    let file = files.first().map_or(Path::new(""), PathBuf::as_path);
    let Loaded { value, warnings } = load(file)?;
    Ok(Staged::new(value, warnings, replace))
}

impl Staged {
    fn new<T: Send + 'static>(value: T, warnings: Vec<Finding>, replace: fn(&Services, T)) -> Self {
        Self {
            replace: Box::new(move |services| replace(services, value)),
            warnings,
            rows: None,
            digests: Vec::new(),
            outlines: Vec::new(),
        }
    }
}

impl Part {
    /// Takes the files as they are now for those in use.
    pub(super) fn remember(&mut self) {
        self.known.digests = self.digests();
        if self.form == Form::Other {
            return;
        }
        self.known.outlines = self.outlines();
        if let Ok(staged) = (self.read)(&self.files, &self.state) {
            self.known.rows = staged.rows;
            self.known.remarks = staged.warnings.iter().map(key_of).collect();
        }
    }

    /// Reads the files, if they are not those in use, or it cannot be told.
    pub(super) fn stage(&mut self) -> Result<Option<Staged>, ConfigError> {
        // Before they are read: a change in between is found the next time.
        let digests = self.digests();
        if self.known.is_sure && digests == self.known.digests && digests.iter().all(Option::is_some) {
            return Ok(None);
        }
        let mut staged = (self.read)(&self.files, &self.state)?;
        let news = |finding: &&Finding| !self.known.remarks.contains(&key_of(finding));
        if staged.warnings.iter().filter(news).any(|it| it.problem.severity() >= Severity::Strict) {
            // A misspelt setting that has just been written is a mistake; one that the server started with is not.
            let known = &self.known.remarks;
            let findings = std::mem::take(&mut staged.warnings);
            let new =
                |it: &Finding| it.problem.severity() >= Severity::Strict && !known.contains(&key_of(it));
            return Err(ConfigError { findings: findings.into_iter().filter(new).collect() });
        }
        staged.digests = digests;
        staged.outlines = self.outlines();
        Ok(Some(staged))
    }

    /// Whether what was read is not what was remembered.
    pub(super) fn differs(&self, staged: &Staged) -> bool {
        staged.digests != self.known.digests || staged.digests.iter().any(Option::is_none)
    }

    /// Puts the value in place.
    pub(super) fn commit(&mut self, staged: Staged, services: &Services) {
        (staged.replace)(services);
        self.report_age(&services.figures);
        self.known = Known {
            digests: staged.digests,
            outlines: staged.outlines,
            rows: staged.rows,
            remarks: staged.warnings.iter().map(key_of).collect(),
            is_sure: true,
        };
    }

    /// Lets the figures know how old the files in use are.
    pub(super) fn report_age(&self, figures: &Figures) {
        let modified = self.files.iter().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok());
        if let Some(last) = modified.max() {
            figures.uses(self.label, last);
        }
    }

    pub(super) fn unchanged(&self) -> FileReport {
        FileReport {
            kind: self.kind.to_owned(),
            files: self.file_names(),
            rows: self.known.rows,
            ..FileReport::default()
        }
    }

    pub(super) fn file_names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.display().to_string()).collect()
    }

    fn outlines(&self) -> Vec<Outline> {
        let files = self.files.iter().filter(|_| self.form == Form::Json);
        files.map(|file| outline_of(file)).collect()
    }

    /// `None` for a file that cannot be read, which reading it will explain.
    fn digests(&self) -> Vec<Option<Vec<u8>>> {
        self.files.iter().map(|file| digest(file).ok()).collect()
    }
}

impl Staged {
    pub(super) fn changes(&self, known: &Known, most: usize) -> Vec<String> {
        let pairs = known.outlines.iter().zip(&self.outlines);
        let mut changes: Vec<_> = pairs.flat_map(|(old, new)| old.changes(new, most)).collect();
        if let (Some(were), Some(are)) = (known.rows, self.rows)
            && were != are
        {
            changes.push(format!("{were} rows are now {are}"));
        }
        changes
    }
}

fn digest(file: &Path) -> io::Result<Vec<u8>> {
    // A pipe by mistake must not hold up all that is to be read after it.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    let (mut context, mut part) = (Context::new(&SHA256), vec![0; 64 << 10]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(context.finish().as_ref().to_vec()),
            read => context.update(part.get(..read).unwrap_or_default()),
        }
    }
}
