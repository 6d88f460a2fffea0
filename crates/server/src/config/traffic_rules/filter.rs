//! One filter: whose rules some rules are.

use culvert_protocol::json_position::near_name;

use super::super::finding::Problem;
use super::keys;
use super::section::Section;
use crate::rules::{
    Api, Authorizations, Filter, HandshakeFilter, Patterns, Versions, parameter_names, parameter_number,
};

pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Filter {
    remark_on_places(section);
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

/// Says which of them nobody is in. `None` is what is not in a database, and patterns may have `*`.
fn remark_on_places(section: &mut Section<'_, '_, '_>) {
    let is_open = |text: &str| text == "None" || text.contains('*');
    let is_region =
        |text: &str| is_open(text) || (text.len() == 2 && text.bytes().all(|it| it.is_ascii_uppercase()));
    let is_asn = |text: &str| is_open(text) || text.bytes().all(|it| it.is_ascii_digit());
    section.remark(&keys::REGIONS, |found| {
        (!is_region(found)).then(|| Problem::NotARegion { found: found.to_owned() })
    });
    section.remark(&keys::ASNS, |found| {
        (!is_asn(found)).then(|| Problem::NeverAnAsn { found: found.to_owned() })
    });
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
