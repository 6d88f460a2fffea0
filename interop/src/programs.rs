//! Which programs there are to pair: ours, and the reference's where `CULVERT_REFERENCE_DIR` names them.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// The folder that holds the reference's `psiphond` and `ConsoleClient`.
const REFERENCE_DIR: &str = "CULVERT_REFERENCE_DIR";

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// This repository's.
    Ours,
    /// The reference's.
    Reference,
}

impl Maker {
    /// As it stands in case names.
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Reference => "reference",
        }
    }
}

/// A client and a server that must work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pairing {
    /// Whose `ConsoleClient`.
    pub(crate) client: Maker,
    /// Whose `psiphond`.
    pub(crate) server: Maker,
}

impl Pairing {
    /// All four. The last is the control: what fails there is a mistake of the harness.
    pub(crate) const ALL: [Self; 4] = [
        Self { client: Maker::Ours, server: Maker::Ours },
        Self { client: Maker::Ours, server: Maker::Reference },
        Self { client: Maker::Reference, server: Maker::Ours },
        Self { client: Maker::Reference, server: Maker::Reference },
    ];

    /// Client first.
    pub(crate) fn name(self) -> String {
        format!("{}_client_{}_server", self.client.name(), self.server.name())
    }

    /// Whether a program of the reference takes part.
    pub(crate) fn needs_reference(self) -> bool {
        self.client == Maker::Reference || self.server == Maker::Reference
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    ours: Pair,
    reference: Option<Pair>,
}

/// `CULVERT_REFERENCE_DIR` is set but does not hold this program.
#[derive(Debug, Error)]
#[error("{REFERENCE_DIR} is set, but there is no {}", .0.display())]
pub struct MissingProgram(PathBuf);

#[derive(Clone, Debug)]
struct Pair {
    client: PathBuf,
    server: PathBuf,
}

impl Programs {
    /// Our programs at these paths; the reference's as the environment says. Fails when it names a folder without them.
    pub fn new(client: impl Into<PathBuf>, server: impl Into<PathBuf>) -> Result<Self, MissingProgram> {
        let ours = Pair { client: client.into(), server: server.into() };
        let reference = std::env::var_os(REFERENCE_DIR).map(|folder| find(Path::new(&folder))).transpose()?;
        Ok(Self { ours, reference })
    }

    /// Why this pairing cannot run, if it cannot.
    pub(crate) fn missing(&self, pairing: Pairing) -> Option<String> {
        let lacks = pairing.needs_reference() && self.reference.is_none();
        lacks.then(|| format!("{REFERENCE_DIR} is not set"))
    }

    /// The `ConsoleClient` of a maker; empty where [`Programs::missing`] says so.
    pub(crate) fn client(&self, maker: Maker) -> &Path {
        self.pair(maker).map_or(Path::new(""), |pair| &pair.client)
    }

    /// The `psiphond` of a maker; empty where [`Programs::missing`] says so.
    pub(crate) fn server(&self, maker: Maker) -> &Path {
        self.pair(maker).map_or(Path::new(""), |pair| &pair.server)
    }

    fn pair(&self, maker: Maker) -> Option<&Pair> {
        match maker {
            Maker::Ours => Some(&self.ours),
            Maker::Reference => self.reference.as_ref(),
        }
    }
}

fn find(folder: &Path) -> Result<Pair, MissingProgram> {
    let pair = Pair { client: folder.join("ConsoleClient"), server: folder.join("psiphond") };
    for program in [&pair.client, &pair.server] {
        if !program.is_file() {
            return Err(MissingProgram(program.clone()));
        }
    }
    Ok(pair)
}
