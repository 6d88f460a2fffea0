//! One filter: whose rules some rules are.

use culvert_protocol::json_position::near_name;

use super::super::finding::Problem;
use super::keys;
use super::section::Section;
use crate::rules::{
    Api, Authorizations, Filter, HandshakeFilter, Patterns, Versions, parameter_names, parameter_number,
};

pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Filter {
    let authorizations = if section.flag(&keys::REVOKED) == Some(true) {
        Authorizations::Revoked
    } else {
        Authorizations::Active {
            types: section.strings(&keys::ACCESS_TYPES).into_iter().collect(),
            ids: section.strings(&keys::AUTHORIZATION_IDS).into_iter().collect(),
        }
    };
    let api = match section.text(&keys::API_PROTOCOL) {
        None => Api::Any,
        Some("ssh") => Api::Ssh,
        Some(_) => Api::Other,
    };
    let versions =
        Versions { least: section.integer(&keys::MIN_VERSION), most: section.integer(&keys::MAX_VERSION) };
    Filter {
        protocols: section.protocols(&keys::PROTOCOLS),
        countries: section.strings(&keys::REGIONS).into_iter().collect(),
        isps: section.strings(&keys::ISPS).into_iter().collect(),
        asns: section.strings(&keys::ASNS).into_iter().collect(),
        cities: section.strings(&keys::CITIES).into_iter().collect(),
        handshake: HandshakeFilter { api, parameters: parameters(section), authorizations, versions },
        providers: section.strings(&keys::PROVIDERS).into_iter().collect(),
    }
}

/// `None` where none are asked for, not even a handshake.
fn parameters(section: &mut Section<'_, '_, '_>) -> Option<Vec<(u8, Patterns)>> {
    let mut asked = Vec::new();
    for (name, patterns) in section.lists(&keys::PARAMETERS)? {
        match parameter_number(name) {
            Some(number) => asked.push((number, patterns.into_iter().collect())),
            None => {
                let problem = Problem::UnknownParameter {
                    found: name.to_owned(),
                    near: near_name(name, parameter_names()),
                };
                section.find_member(&keys::PARAMETERS, name, problem);
            }
        }
    }
    Some(asked)
}
