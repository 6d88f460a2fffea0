//! Where an address is: country, city and network, from MaxMind's databases. Not how files are brought to memory, which is `file`.
//! Source: the MaxMind DB file format 2.0 and the fields of the City and ISP databases; names of unknown places are the reference's.

mod file;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maxminddb::{PathElement, Reader};

use crate::config::{ConfigError, Finding, Problem};
use file::Bytes;

/// What stands for whatever is not known of a place.
pub const UNKNOWN: &str = "None";

/// Kinds of database that know networks, and are small.
const NETWORK_KINDS: [&str; 2] = ["ISP", "ASN"];

/// Where an address is, as far as is known; [`UNKNOWN`] elsewhere. Logged in place of the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Two capital letters (ISO 3166-1).
    pub country: Cow<'static, str>,
    /// Its English name.
    pub city: Cow<'static, str>,
    pub isp: Cow<'static, str>,
    /// The number of the autonomous system, in decimal.
    pub asn: Cow<'static, str>,
    /// The organization that has this number.
    pub aso: Cow<'static, str>,
}

impl Place {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        country: Cow::Borrowed(UNKNOWN),
        city: Cow::Borrowed(UNKNOWN),
        isp: Cow::Borrowed(UNKNOWN),
        asn: Cow::Borrowed(UNKNOWN),
        aso: Cow::Borrowed(UNKNOWN),
    };

    /// The five members under the reference's names, such as `client_region` for the prefix `client`. Spaces
    /// become underscores there.
    pub fn log_fields(&self, prefix: &str) -> [(String, String); 5] {
        let field = |name: &str, value: &str| (format!("{prefix}_{name}"), value.replace(' ', "_"));
        [
            field("region", &self.country),
            field("city", &self.city),
            field("isp", &self.isp),
            field("asn", &self.asn),
            field("aso", &self.aso),
        ]
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// All databases. Clones share them; the default has none and knows nothing.
#[derive(Clone, Default)]
pub struct GeoIp(Arc<[Database]>);

struct Database {
    reader: Reader<Bytes>,
    knows_networks_only: bool,
}

/// What is wrong with the bytes of a database.
#[derive(Debug, thiserror::Error)]
#[error("is not a MaxMind database: {0}")]
pub struct DatabaseError(#[source] maxminddb::MaxMindDbError);

/// Reads the databases that `GeoIPDatabaseFilenames` names. What is read stays as it is whatever happens to the files: each is copied
/// to a file without a name in `copies`, or else to memory.
pub fn read(files: &[PathBuf], copies: &Path) -> Result<GeoIp, ConfigError> {
    let mut findings = Vec::new();
    let mut databases = Vec::new();
    for file in files {
        let read = file::read(file, copies).map_err(Problem::Unreadable);
        match read.and_then(|bytes| Database::new(bytes).map_err(Problem::BadDatabase)) {
            Ok(database) => databases.push(database),
            Err(problem) => {
                findings.push(Finding { file: file.clone(), position: None, field: Vec::new(), problem });
            }
        }
    }
    if findings.is_empty() { Ok(GeoIp(databases.into())) } else { Err(ConfigError { findings }) }
}

impl GeoIp {
    /// One database from its bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, DatabaseError> {
        Ok(Self([Database::new(Bytes::Memory(bytes))?].into()))
    }

    /// All that is known. Of two databases that know the same, the later one counts.
    pub fn look_up(&self, address: IpAddr) -> Place {
        self.ask(address, false)
    }

    /// The network alone, without country and city: faster, for every flow.
    pub fn look_up_network(&self, address: IpAddr) -> Place {
        self.ask(address, true)
    }

    fn ask(&self, address: IpAddr, network_only: bool) -> Place {
        let address = address.to_canonical();
        let mut place = Place::UNKNOWN;
        for database in self.0.iter().filter(|database| database.knows_networks_only || !network_only) {
            database.tell(address, network_only, &mut place);
        }
        place
    }
}

impl fmt::Debug for GeoIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |database: &Database| database.reader.metadata().database_type.clone();
        f.debug_list().entries(self.0.iter().map(kind)).finish()
    }
}

impl Database {
    fn new(bytes: Bytes) -> Result<Self, DatabaseError> {
        let reader = Reader::from_source(bytes).map_err(DatabaseError)?;
        let kind = &reader.metadata().database_type;
        let knows_networks_only = NETWORK_KINDS.iter().any(|name| kind.contains(name));
        Ok(Self { reader, knows_networks_only })
    }

    /// What is damaged is not known.
    fn tell(&self, address: IpAddr, network_only: bool, place: &mut Place) {
        let Ok(found) = self.reader.lookup(address) else { return };
        if !found.has_data() {
            return;
        }
        let text = |path: &[&'static str]| found.decode_path::<&str>(&keys(path)).ok().flatten();
        let set = |member: &mut Cow<'static, str>, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                *member = Cow::Owned(value.to_owned());
            }
        };
        if !network_only && !self.knows_networks_only {
            set(&mut place.country, text(&["country", "iso_code"]));
            set(&mut place.city, text(&["city", "names", "en"]));
        }
        let number = found.decode_path::<u32>(&keys(&["autonomous_system_number"])).ok().flatten();
        set(&mut place.asn, number.map(|number| number.to_string()).as_deref());
        set(&mut place.isp, text(&["isp"]));
        set(&mut place.aso, text(&["autonomous_system_organization"]));
    }
}

fn keys(path: &[&'static str]) -> Vec<PathElement<'static>> {
    path.iter().copied().map(PathElement::Key).collect()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer;
