//! Authorizations as the reference issues and judges them.

use culvert_protocol::authorization::{SigningKey, VerificationKeyRing};
use culvert_protocol::{text_form, timestamp};
use serde_json::Value;

use super::{bytes, flag, plain, same, text};

pub(super) fn access_control(case: &Value, file: &Value) -> Result<(), String> {
    let ring = VerificationKeyRing::from_json(text(file, "verification_key_ring_json")?).map_err(plain)?;
    let now = timestamp::parse("2026-01-01T00:00:00Z").ok_or("bug: not a time")?;
    let encoded = text(case, "encoded")?;
    let verdict = ring.verify(encoded, now);
    same("verdict", verdict.is_ok(), flag(case, "verify_ok_at_2026")?)?;
    if let Ok(found) = verdict {
        same("id", found.id, bytes(case, "authorization_id_hex")?)?;
        same("access type", found.access_type.as_str(), text(case, "verified_access_type")?)?;
        same("expiry", Some(found.expires), timestamp::parse(text(case, "verified_expires")?))?;
    }
    if case.get("seed_authorization_id_hex").is_none() {
        return Ok(());
    }
    let key = SigningKey::from_json(text(file, "signing_key_json")?).map_err(plain)?;
    let expires = timestamp::parse(text(case, "expires_input")?).ok_or("the expiry is not a time")?;
    let issued = key.issue(&bytes(case, "seed_authorization_id_hex")?, expires).map_err(plain)?;
    let json = text_form::base64(&issued).map(|json| String::from_utf8_lossy(&json).into_owned());
    same("issued", json.as_deref(), Some(text(case, "json")?))?;
    same("issued text", issued.as_str(), encoded)
}
