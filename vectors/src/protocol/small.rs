//! Durations, the speed test body, udpgw frames, headers for destinations.

use std::net::IpAddr;

use culvert_protocol::api::{SpeedTestSample, parse_speed_test_reply, speed_test_reply};
use culvert_protocol::duration::SignedDuration;
use culvert_protocol::proxy_header::{Beginning, HeaderKey, beginning};
use culvert_protocol::udpgw::{Datagram, FrameReader, encode_downstream};
use culvert_protocol::{go_json, timestamp};
use serde_json::Value;

use super::{array, bytes, flag, number, plain, same, text};

pub(super) fn duration(case: &Value, _: &Value) -> Result<(), String> {
    let parsed = text(case, "input")?.parse::<SignedDuration>();
    same("validity", parsed.is_ok(), flag(case, "ok")?)?;
    let Ok(duration) = parsed else { return Ok(()) };
    same("nanoseconds", duration.nanoseconds(), number(case, "ns")?)?;
    same("text", duration.to_string().as_str(), text(case, "string")?)
}

pub(super) fn speed_test(file: &Value) -> Result<(), String> {
    for case in array(file, "vectors")? {
        let time = timestamp::parse(text(case, "time")?).ok_or("the case's time is not RFC 3339")?;
        let body = bytes(case, "response_without_padding")?;
        same("body", speed_test_reply(time, &[]), body.as_slice())?;
        same("time", parse_speed_test_reply(&body), Ok(time))?;
        let padded = speed_test_reply(time, &[0xff; 256]);
        same("time before padding", parse_speed_test_reply(&padded), Ok(time))?;
    }
    let samples = go_json::parse(text(file, "speed_test_samples_json")?.as_bytes()).map_err(plain)?;
    for sample in samples.as_array().ok_or("the samples are not a list")? {
        let parsed =
            SpeedTestSample::from_json(sample).ok_or_else(|| format!("unreadable sample {sample}"))?;
        same("sample", &parsed.to_json(), sample)?;
    }
    stored_record(text(file, "stored_record_json")?)
}

/// The record holds tactics, which the crate does not know yet; its time and its duration can be checked.
fn stored_record(json: &str) -> Result<(), String> {
    let record = go_json::parse(json.as_bytes()).map_err(plain)?;
    let expiry = text(&record, "Expiry")?;
    same("expiry", timestamp::renormalised(expiry).as_deref(), Some(expiry))?;
    let ttl =
        record.get("Tactics").map_or(Err("the record has no tactics".to_owned()), |t| text(t, "TTL"))?;
    ttl.parse::<SignedDuration>().map(|_| ()).map_err(plain)
}

pub(super) fn proxy_header(case: &Value, _: &Value) -> Result<(), String> {
    let key = [bytes(case, "key_id")?, bytes(case, "mac_key")?].concat();
    let key = HeaderKey::parse(&data_encoding::BASE64.encode(&key)).map_err(plain)?;
    let address = |name| text(case, name)?.parse::<IpAddr>().map_err(plain);
    let port = u16::try_from(number(case, "destination_port")?).map_err(plain)?;
    let millis = u64::try_from(number(case, "timestamp_ms")?).map_err(plain)?;
    let expected = bytes(case, "header")?;
    let header = key.header(address("source_ip")?, (address("destination_ip")?, port).into(), millis);
    same("header", &header, &expected)?;
    same("time that is proved", key.verify(&expected), Some(millis))?;
    same("what a flow begins with", beginning(&expected), Beginning::Header(expected.len()))
}

pub(super) fn udpgw(case: &Value, _: &Value) -> Result<(), String> {
    match text(case, "kind")? {
        "read" if case.get("error").is_some() => {
            let read = FrameReader::new().read(&bytes(case, "stream")?);
            same("failure", read.is_err(), flag(case, "error")?)
        }
        "read" => {
            let stream = bytes(case, "stream")?;
            let (consumed, datagram) = FrameReader::new().read(&stream).map_err(plain)?;
            let datagram = datagram.ok_or("the stream holds no whole frame")?;
            let left = i64::try_from(stream.len() - consumed).map_err(plain)?;
            same("bytes left", left, number(case, "unread_bytes_left")?)?;
            let header = i64::try_from(datagram.header_length()).map_err(plain)?;
            same("header length", header, number(case, "preamble_size")?)?;
            same("DNS flag", datagram.flags.dns(), flag(case, "dns")?)?;
            same("rebind flag", datagram.flags.rebind(), flag(case, "rebind")?)?;
            same_endpoint(&datagram, case)
        }
        "write_downstream" => {
            let port = u16::try_from(number(case, "remote_port")?).map_err(plain)?;
            let connection = u16::try_from(number(case, "conn_id")?).map_err(plain)?;
            let (address, packet) = (address(case)?, bytes(case, "packet")?);
            let frame = encode_downstream(connection, (address, port).into(), &packet).map_err(plain)?;
            same("frame", frame, bytes(case, "frame")?)
        }
        kind => Err(format!("no case is of the kind {kind:?}")),
    }
}

fn same_endpoint(datagram: &Datagram, case: &Value) -> Result<(), String> {
    same("connection", i64::from(datagram.connection), number(case, "conn_id")?)?;
    same("address", datagram.remote.ip(), address(case)?)?;
    same("port", i64::from(datagram.remote.port()), number(case, "remote_port")?)?;
    same("packet", datagram.packet.as_slice(), bytes(case, "packet")?)
}

fn address(case: &Value) -> Result<IpAddr, String> {
    let octets = bytes(case, "remote_ip")?;
    let v4 = <[u8; 4]>::try_from(octets.as_slice()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets.as_slice()).map(IpAddr::from)).map_err(plain)
}
