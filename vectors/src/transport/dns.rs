//! Cases of questions of DNS, and of addresses that no answer may have.

use std::net::IpAddr;

use culvert_obfuscation::Seed;
use culvert_transport::resolve::wire::{Asking, Family, Question, random_casing};
use culvert_transport::resolve::{QueryTransform, is_bogus};
use serde_json::Value;

use crate::obfuscation::fields::{Checked, boolean, expect_bytes, list, pairs, same, seed, text};

/// The id of all questions.
const ID: u16 = 0x1234;

pub(super) fn questions(file: &Value) -> Checked {
    for case in list(file, "answer_ip_checks")? {
        let address: IpAddr = text(case, "ip")?.parse().map_err(|_| "no address")?;
        // What is accepted also depends on the ways there are.
        if !boolean(case, "accepted")? {
            same(text(case, "ip")?, true, is_bogus(address))?;
        }
    }
    for (at, case) in list(file, "queries")?.iter().enumerate() {
        question(case).map_err(|error| format!("queries {at}: {error}"))?;
    }
    Ok(())
}

fn question(case: &Value) -> Checked {
    let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
    let seed = Seed::from_bytes(bytes);
    let steps = match case.get("transform_spec") {
        Some(_) => pairs(case, "transform_spec")?,
        None => Vec::new(),
    };
    let transform = QueryTransform {
        name: String::new(),
        steps: steps.into_iter().map(|(from, to)| [from, to]).collect(),
        seed: bytes,
    };
    let family = match text(case, "question_type")? {
        "A" => Family::V4,
        "AAAA" => Family::V6,
        other => return Err(format!("question type {other}")),
    };
    let question = Question::new(Asking {
        name: text(case, "hostname")?,
        family,
        id: ID,
        edns0: boolean(case, "edns0")?,
        casing: Some(&seed).filter(|_| case.get("random_qname_casing") == Some(&Value::Bool(true))),
        transform: Some(&transform).filter(|transform| !transform.steps.is_empty()),
        name_must_match: false,
    });
    expect_bytes(case, "query_hex", question.map_err(|error| error.to_string())?.bytes())
}

pub(super) fn casing(file: &Value) -> Checked {
    for case in list(file, "cases")? {
        same(
            "output",
            text(case, "output")?,
            &random_casing(text(case, "hostname")?, &seed(case, "seed_hex")?),
        )?;
    }
    Ok(())
}
