//! Reading again, while tunnels are up, the files that may change: all of them or none. Every file is read and understood first, beside
//! the threads that serve tunnels; only when nothing is wrong with any of them are the values replaced, by exchanging pointers.
//! Files that are as they were are left alone. The main file is only looked at: what it says takes effect at the next start, but for the level
//! of the log.
//! Not how values act: whoever uses one holds a `Live` of it.

mod outline;
mod part;

use std::path::PathBuf;
use std::sync::Arc;

use culvert_protocol::json_position::{Step, display_path};
use serde_json::Value;

use crate::config::server_keys;
use crate::config::{ConfigError, Finding, ServerConfig, Strictness, parse, read_text};
use crate::control::{Answer, FileReport, Reloaded};
use crate::figures::Figures;
use crate::log::{Field, Level, Logger};
use crate::services::Services;
use outline::Outline;
use part::{Part, Staged, parts};

/// The setting of the main file that takes effect at once.
const LOG_LEVEL: &str = server_keys::LOG_LEVEL.name;
/// Changes of one file that are told in full.
const MOST_CHANGES: usize = 20;

/// Knows what was read, so that it can tell what is different.
pub(crate) struct Reloader {
    parts: Vec<Part>,
    main: Option<MainFile>,
}

/// The main file as the server started with it.
struct MainFile {
    path: PathBuf,
    outline: Outline,
}

impl Reloader {
    /// Remembers what the files are like that the server started with.
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let main = config.files.main.clone().map(|path| {
            let outline = outline_of(&path);
            MainFile { path, outline }
        });
        let mut parts = parts(config);
        for part in &mut parts {
            part.remember();
        }
        Self { parts, main }
    }

    /// Lets the figures know how old the files are that the server started with.
    pub(crate) fn report_ages(&self, figures: &Figures) {
        for part in &self.parts {
            part.report_age(figures);
        }
    }

    /// Reads what has changed and puts it in place. Blocks for as long as reading takes.
    pub(crate) fn reload(&mut self, services: &Services) -> Answer {
        let mut reports = Vec::new();
        let mut staged: Vec<(usize, Staged)> = Vec::new();
        let MainNews { needs_restart, level, mut problems, mut warnings } = self.look_at_main(&services.log);
        for (index, part) in self.parts.iter_mut().enumerate() {
            match part.stage() {
                Ok(None) => reports.push(part.unchanged()),
                Ok(Some(same)) if !part.differs(&same) => {
                    reports.push(part.unchanged());
                    staged.push((index, same));
                }
                Ok(Some(new)) => {
                    warnings.extend(new.warnings.iter().map(ToString::to_string));
                    reports.push(FileReport {
                        kind: part.kind.to_owned(),
                        files: part.file_names(),
                        changed: true,
                        changes: new.changes(&part.known, MOST_CHANGES),
                        rows: new.rows,
                    });
                    staged.push((index, new));
                }
                Err(error) => {
                    report_failure(&services.log, part.kind, &error);
                    problems.extend(error.findings.iter().map(ToString::to_string));
                }
            }
        }
        if !problems.is_empty() {
            return Answer::NotReloaded { problems };
        }
        for (index, new) in staged {
            if let Some(part) = self.parts.get_mut(index) {
                part.commit(new, services);
            }
        }
        if let Some(level) = level {
            services.log.set_level(level);
        }
        for report in &reports {
            report_success(&services.log, report);
        }
        for warning in &warnings {
            services.log.warning("configuration", [("finding", Field::text(warning.clone()))]);
        }
        if !needs_restart.is_empty() {
            let settings = Field::text(needs_restart.join(", "));
            services.log.warning("changed settings need a restart", [("settings", settings)]);
        }
        Answer::Reloaded(Reloaded { files: reports, needs_restart, warnings })
    }

    /// The settings of the main file that differ from those that the server runs with. One that would not start is a problem, since
    /// whoever reloads believes that all is well. And the level of the log, which needs no restart.
    fn look_at_main(&self, log: &Logger) -> MainNews {
        let Some(main) = &self.main else { return MainNews::default() };
        let parsed = read_text(&main.path).and_then(|text| parse(&main.path, &text, Strictness::Run));
        let mut needs_restart = main.outline.changed_members(&outline_of(&main.path));
        needs_restart.retain(|member| !member.eq_ignore_ascii_case(LOG_LEVEL));
        let said = |findings: &[Finding]| findings.iter().map(ToString::to_string).collect();
        match parsed {
            Ok(mut loaded) => {
                // What the server started with is no news.
                loaded.warnings.retain(|it| is_about_one_of(it, &needs_restart));
                let (level, warnings) = (Some(loaded.value.log.level), said(&loaded.warnings));
                MainNews { needs_restart, level, problems: Vec::new(), warnings }
            }
            Err(error) => {
                report_failure(log, "server configuration", &error);
                let problems = said(&error.findings);
                MainNews { needs_restart, level: None, problems, warnings: Vec::new() }
            }
        }
    }
}

/// What there is to say about the main file.
#[derive(Default)]
struct MainNews {
    needs_restart: Vec<String>,
    level: Option<Level>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

fn is_about_one_of(finding: &Finding, members: &[String]) -> bool {
    let is_of = |name: &str| members.iter().any(|member| member == name);
    matches!(finding.field.first(), Some(Step::Key(name)) if is_of(name))
}

/// What a reload is remembered by: one line.
pub(crate) fn summary(answer: &Answer) -> String {
    match answer {
        Answer::Reloaded(reloaded) => {
            let changed: Vec<_> =
                reloaded.files.iter().filter(|it| it.changed).map(|it| it.kind.as_str()).collect();
            let mut text = match changed.as_slice() {
                [] => "nothing had changed".to_owned(),
                changed => format!("changed: {}", changed.join(", ")),
            };
            if !reloaded.needs_restart.is_empty() {
                text.push_str("; need a restart: ");
                text.push_str(&reloaded.needs_restart.join(", "));
            }
            text
        }
        Answer::NotReloaded { problems } => {
            format!("failed, nothing was changed: {}", problems.first().map_or("", String::as_str))
        }
        _ => String::new(),
    }
}

/// Reads a JSON file as an outline; anything else is nothing.
fn outline_of(path: &std::path::Path) -> Outline {
    let text = read_text(path).unwrap_or_default();
    serde_json::from_str::<Value>(&text).map_or(Outline::Nothing, |value| Outline::of(&value))
}

/// The reference's lines.
fn report_success(log: &Logger, report: &FileReport) {
    let fields: [(&str, Field); 4] = [
        ("reloader", Field::text(report.kind.clone())),
        ("reloaded", report.changed.into()),
        ("changes", Field::text(report.changes.join("; "))),
        ("rows", report.rows.unwrap_or(0).into()),
    ];
    log.info("reload success", fields.into_iter().filter(|(name, _)| report.changed || *name != "changes"));
}

fn report_failure(log: &Logger, kind: &'static str, error: &ConfigError) {
    log.error("reload failed", [("reloader", kind.into()), ("error", Field::text(error.to_string()))]);
}

/// What tells a remark from another, wherever in the file it stands.
fn key_of(finding: &Finding) -> String {
    format!("{} {}", display_path(&finding.field), finding.problem)
}

/// Shared by all who may ask for a reload: one at a time.
pub(crate) type SharedReloader = Arc<std::sync::Mutex<Reloader>>;
