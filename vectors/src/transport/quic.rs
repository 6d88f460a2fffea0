//! Cases of hidden QUIC packets. Those of the older kinds of QUIC are used as far as they say something of version 1.

use culvert_obfuscation::Transform;
use culvert_transport::quic::Key;
use culvert_transport::quic::wire::{Draw, Flow, NONCE_LEN, is_initial, looks_like_quic, max_padding};
use serde_json::Value;

use crate::obfuscation::fields::{
    Checked, array, boolean, bytes, expect_bytes, hex, integer, list, pairs, same, same_bytes, seed, text,
};

pub(super) fn obfuscation(file: &Value) -> Checked {
    each(file, "encode", encoded)?;
    each(file, "max_padding", padding_bound)?;
    each(file, "client_hello_dpi", detected)?;
    each(file, "nonce_transform", transformed)?;
    // They are sealed with the key of the longer text.
    let key = list(file, "encode")?
        .iter()
        .find_map(|case| text(case, "obfuscated_key").ok().filter(|key| key.len() == 64));
    let key = Key::new(key.ok_or("no case has a key of 64 characters")?);
    each(file, "server_decode", |case| decoded(case, &key))
}

fn each(file: &Value, name: &str, check: impl Fn(&Value) -> Checked) -> Checked {
    for (at, case) in list(file, name)?.iter().enumerate() {
        check(case).map_err(|error| format!("{name} {at}: {error}"))?;
    }
    Ok(())
}

/// What a case draws.
struct Drawn {
    nonce: [u8; NONCE_LEN],
    padding: Vec<u8>,
}

impl Draw for Drawn {
    fn nonce(&mut self) -> [u8; NONCE_LEN] {
        self.nonce
    }

    fn fill(&mut self, out: &mut [u8]) {
        for (to, from) in out.iter_mut().zip(&self.padding) {
            *to = *from;
        }
    }
}

fn encoded(case: &Value) -> Checked {
    let (key, packet) = (Key::new(text(case, "obfuscated_key")?), bytes(case, "quic_packet_hex")?);
    expect_bytes(case, "derived_key_hex", key.as_bytes())?;
    let mut drawn = Drawn { nonce: array(case, "nonce_hex")?, padding: bytes(case, "padding_hex")? };
    let padding = u8::try_from(drawn.padding.len()).map_err(|error| error.to_string())?;
    let mut datagram = Vec::new();
    key.seal(&packet, padding, &mut drawn, &mut datagram);
    expect_bytes(case, "obfuscated_hex", &datagram)?;
    let opened = key.open(&mut datagram).ok_or("what was sealed does not open")?;
    same_bytes("opened", &packet, datagram.get(opened).unwrap_or_default())?;
    if boolean(case, "is_ietf")? {
        same("max_padding", integer(case, "max_padding")?, max_padding(packet.len()))?;
    }
    Ok(())
}

fn padding_bound(case: &Value) -> Checked {
    if !boolean(case, "is_ietf")? {
        return Ok(());
    }
    same("max_padding", integer(case, "max_padding")?, max_padding(integer(case, "packet_size")?))
}

fn detected(case: &Value) -> Checked {
    let datagram = bytes(case, "datagram_hex")?;
    same("looks_like_quic", boolean(case, "looks_like_quic")?, looks_like_quic(&datagram))?;
    same("is_ietf", boolean(case, "is_ietf")?, is_initial(&datagram))
}

fn transformed(case: &Value) -> Checked {
    let transform = Transform::new(&pairs(case, "spec")?).map_err(|error| error.to_string())?;
    let nonce = transform.apply_hex(&seed(case, "transform_seed_hex")?, &bytes(case, "nonce_before_hex")?);
    expect_bytes(case, "nonce_on_wire_hex", &nonce.map_err(|error| error.to_string())?)
}

fn decoded(case: &Value, key: &Key) -> Checked {
    let mut flow = Flow::default();
    for (at, (datagram, result)) in
        list(case, "datagrams_hex")?.iter().zip(list(case, "results")?).enumerate()
    {
        let mut datagram = hex(datagram.as_str().ok_or("a datagram is not a text")?)?;
        let received = flow.receive(key, &mut datagram);
        let got = received.and_then(|packet| datagram.get(packet));
        match text(result, "outcome")? {
            "delivered" if boolean(result, "is_ietf")? => {
                let got = got.ok_or_else(|| format!("datagram {at} was not delivered"))?;
                expect_bytes(result, "quic_packet_hex", got)?;
            }
            // An older kind, which a server of version 1 may drop here or later.
            "delivered" => {}
            _ => same(&format!("datagram {at} delivered"), false, got.is_some())?,
        }
    }
    Ok(())
}
