//! Padding of the obfuscated handshake, and whole handshakes in both directions.

use culvert_obfuscation::{
    ClientPreamble, Direction, GeneratedPrefix, Keystream, Keyword, ObfuscatorSeed, PaddingRange,
    PaddingStyle, PaddingUse, PreamblePlan, PreambleReader, PrefixPlan, Prng, ServerOpening, ServerPreamble,
    TERMINATOR_LEN, TerminatorSearch, identification_padding, kex_packet_size, pad_kex_packet,
};
use serde_json::Value;

use super::fields::{
    Checked, boolean, bytes, expect_bytes, expect_len, hex, keyword, list, same, same_bytes, seed, text,
};

/// Message number of NEWKEYS (RFC 4253 section 12).
const NEWKEYS: u8 = 21;
/// The padding range of the transcripts, which they do not name.
const TRANSCRIPT_PADDING: (usize, usize) = (32, 64);

pub(super) fn kex_padding(case: &Value, _file: &Value) -> Checked {
    let mut prng = Prng::new(&seed(case, "derived_prng_seed")?);
    match text(case, "kind")? {
        "server_identification_line_padding" => {
            let padding = identification_padding(&mut prng);
            expect_len(case, "total_length", padding.len())?;
            let lengths = list(case, "line_lengths_incl_crlf")?.iter().map(Value::as_u64).collect();
            let lines: Vec<&[u8]> = padding.split_inclusive(|byte| *byte == b'\n').collect();
            let got: Vec<Option<u64>> = lines.iter().map(|line| Some(line.len() as u64)).collect();
            same("line_lengths_incl_crlf", lengths, got)?;
            let fill = bytes(case, "fill_byte")?;
            for line in lines {
                let body = line.strip_suffix(b"\r\n").ok_or("a line does not end in CR LF")?;
                same("fill_byte", true, body.iter().all(|byte| fill == [*byte]))?;
            }
        }
        "kex_packet_padding" => {
            let style = if boolean(case, "legacy")? { PaddingStyle::Legacy } else { PaddingStyle::Any };
            let (out, newkeys) = pad_all(&bytes(case, "packets_in")?, style, &mut prng)?;
            expect_bytes(case, "packets_out", &out)?;
            same("saw_newkeys", boolean(case, "saw_newkeys")?, newkeys)?;
        }
        other => return Err(format!("unknown kind {other:?}")),
    }
    let next = prng.bytes(bytes(case, "next_prng_bytes")?.len());
    expect_bytes(case, "next_prng_bytes", &next)
}

/// Pads every whole packet. Returns the padded ones, and whether NEWKEYS was among them.
fn pad_all(packets: &[u8], style: PaddingStyle, prng: &mut Prng) -> Checked<(Vec<u8>, bool)> {
    let (mut out, mut newkeys, mut rest) = (Vec::new(), false, packets);
    while let Some((packet, behind)) = first_packet(rest)? {
        newkeys |= is_newkeys(packet);
        let mut padded = packet.to_vec();
        pad_kex_packet(prng, style, &mut padded).map_err(|error| error.to_string())?;
        out.extend_from_slice(&padded);
        rest = behind;
    }
    Ok((out, newkeys))
}

fn first_packet(stream: &[u8]) -> Checked<Option<(&[u8], &[u8])>> {
    let size = kex_packet_size(stream).map_err(|error| error.to_string())?;
    Ok(size.and_then(|size| stream.split_at_checked(size)))
}

/// Whether a packet's payload, which may be empty, starts with NEWKEYS.
fn is_newkeys(packet: &[u8]) -> bool {
    let Some((_, [padding, payload_and_padding @ ..])) = packet.split_at_checked(4) else { return false };
    payload_and_padding.len() > usize::from(*padding) && payload_and_padding.first() == Some(&NEWKEYS)
}

/// Both directions: what the wire says is read as the case says, and what the case writes is the wire.
pub(super) fn transcript(case: &Value, _file: &Value) -> Checked {
    let keyword = keyword(case)?;
    let to_server = bytes(case, "wire_client_to_server")?;
    let mut reader = PreambleReader::new(keyword.clone());
    let (used, preamble) = reader.push(&to_server).map_err(|error| error.to_string())?;
    let mut server = preamble.ok_or("the server waits for more")?;
    same("prefixed", boolean(case, "prefixed")?, server.prefix.is_some())?;
    let behind = to_server.get(used..).unwrap_or_default();
    let read = reveal(behind, &mut server.from_client)?;
    expect_bytes(case, "server_reads_after_deobfuscation", &read)?;

    let plan = plan_of(case, &keyword, &to_server, &server)?;
    let mut client = ClientPreamble::new(&keyword, &plan);
    let mut wire = client.bytes.clone();
    let mut padding = PaddingUse::Handshake.prng(&plan.padding_seed);
    write_all(case, "client_plain_writes", &mut wire, (&mut padding, &mut client.to_server))?;
    same_bytes("wire_client_to_server", &to_server, &wire)?;

    server_side(case, &keyword, &mut server, &mut client)
}

/// The plan by which the client must have made its preamble: its seed and prefix are on the wire.
fn plan_of(case: &Value, keyword: &Keyword, wire: &[u8], server: &ServerPreamble) -> Checked<PreamblePlan> {
    let prefix = match &server.prefix {
        None => None,
        Some(name) => {
            let (prefix, _) = find_prefix(keyword, Direction::ClientToServer, wire)?;
            Some(PrefixPlan { name: name.clone(), prefix, split: None })
        }
    };
    Ok(PreamblePlan {
        obfuscator_seed: ObfuscatorSeed::from_bytes(*server.seed.as_bytes()),
        padding_seed: seed(case, "client_padding_prng_seed")?,
        padding: PaddingRange::new(Some(TRANSCRIPT_PADDING.0), Some(TRANSCRIPT_PADDING.1)),
        prefix,
    })
}

fn server_side(
    case: &Value,
    keyword: &Keyword,
    server: &mut ServerPreamble,
    client: &mut ClientPreamble,
) -> Checked {
    let from_server = bytes(case, "wire_server_to_client")?;
    let prefix = match client.expect_prefix {
        true => Some(find_prefix(keyword, Direction::ServerToClient, &from_server)?),
        false => None,
    };
    let hidden_at = prefix.as_ref().map_or(0, |(_, end)| *end);
    let read = reveal(from_server.get(hidden_at..).unwrap_or_default(), &mut client.from_server)?;
    expect_bytes(case, "client_reads_after_deobfuscation", &read)?;

    let padding_seed = server.padding_seed.as_ref().ok_or("the server found no padding seed")?;
    let mut padding = PaddingUse::Handshake.prng(padding_seed);
    let opening = ServerOpening::new(&mut padding, &mut server.to_client);
    expect_len(case, "server_ident_padding_bytes", opening.bytes.len())?;
    let opening = match &prefix {
        Some((prefix, _)) => opening.with_prefix(keyword, prefix, None),
        None => opening,
    };
    let mut wire = opening.bytes;
    write_all(case, "server_plain_writes", &mut wire, (&mut padding, &mut server.to_client))?;
    same_bytes("wire_server_to_client", &from_server, &wire)
}

/// The prefix at the start of the wire, and where its terminator ends.
fn find_prefix(keyword: &Keyword, direction: Direction, wire: &[u8]) -> Checked<(GeneratedPrefix, usize)> {
    let mut search = TerminatorSearch::new(keyword.clone(), direction);
    let (end, found) = search.push(wire).map_err(|error| error.to_string())?;
    let prefix =
        wire.get(..end.saturating_sub(TERMINATOR_LEN)).filter(|_| found).ok_or("no terminator found")?;
    let prefix = GeneratedPrefix::new(prefix.to_vec(), prefix.len()).map_err(|error| error.to_string())?;
    Ok((prefix, end))
}

/// What a side's writes become: the identification line hidden, packets padded and hidden, and behind NEWKEYS
/// nothing changed.
fn write_all(case: &Value, name: &str, wire: &mut Vec<u8>, side: (&mut Prng, &mut Keystream)) -> Checked {
    let (padding, stream) = side;
    let mut raw = false;
    for (index, write) in list(case, name)?.iter().enumerate() {
        let mut write = hex(write.as_str().ok_or_else(|| format!("{name} holds no text"))?)?;
        if !raw {
            if index > 0 {
                (write, raw) = pad_all(&write, PaddingStyle::Any, padding)?;
            }
            stream.apply(&mut write);
        }
        wire.extend_from_slice(&write);
    }
    same("the writes hold NEWKEYS", true, raw)
}

/// What a side reads: lines up to the identification, of which only that one is kept, packets up to NEWKEYS, and
/// the rest as it is.
fn reveal(wire: &[u8], stream: &mut Keystream) -> Checked<Vec<u8>> {
    let mut plain = wire.to_vec();
    stream.apply(&mut plain);
    let mut rest = plain.as_slice();
    let mut out = Vec::new();
    while out.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or("no identification line")? + 2;
        let (line, behind) = rest.split_at(end);
        if line.starts_with(b"SSH-") {
            out.extend_from_slice(line);
        }
        rest = behind;
    }
    let mut newkeys = false;
    while !newkeys {
        let (packet, behind) = first_packet(rest)?.ok_or("no NEWKEYS packet")?;
        newkeys = is_newkeys(packet);
        out.extend_from_slice(packet);
        rest = behind;
    }
    let raw_at = wire.len() - rest.len();
    out.extend_from_slice(wire.get(raw_at..).unwrap_or_default());
    Ok(out)
}
