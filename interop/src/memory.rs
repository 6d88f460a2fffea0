//! Looks through all that another process can write to, as somebody would who has a core of it.
//!
//! Source: proc(5), `maps` and `mem`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;

/// Bytes that are looked for, by what they are.
#[derive(Clone, Debug)]
pub struct Needle {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Needle {
    /// At least 12 bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let needle = Self { name: name.into(), bytes: bytes.into() };
        assert!(needle.bytes.len() >= 12, "{} is too short to be told from chance", needle.name);
        needle
    }
}

/// A part of the memory, with what it is.
pub struct Mapping {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Everything writable: heaps, stacks, variables, and what threads map for themselves. An error where the system does not let us look.
pub fn of(process: u32) -> io::Result<Vec<Mapping>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut found = Vec::new();
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [range, rights, ..] = fields[..] else { continue };
        let Some((from, to)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else { continue };
        let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
        let (from, to) = (number(from)?, number(to)?);
        let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
        // What is unmapped meanwhile holds nothing any more.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            let name = fields.get(5).copied().unwrap_or("anonymous").to_owned();
            found.push(Mapping { name, bytes });
        }
    }
    Ok(found)
}

/// Where each needle is: its name and its place.
pub fn find(memory: &[Mapping], needles: &[Needle]) -> Vec<String> {
    let key = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut by_start: Vec<Vec<&Needle>> = vec![Vec::new(); 1 << 16];
    for needle in needles {
        by_start[key(&needle.bytes)].push(needle);
    }
    let mut found = Vec::new();
    for mapping in memory {
        for (number, page) in mapping.bytes.chunks(PAGE).enumerate() {
            if page.iter().max() == Some(&0) {
                continue;
            }
            for at in number * PAGE..(number * PAGE + page.len()).min(mapping.bytes.len() - 1) {
                let rest = &mapping.bytes[at..];
                for needle in by_start[key(rest)].iter().filter(|needle| rest.starts_with(&needle.bytes)) {
                    found.push(format!("{} in {} at {at:#x}", needle.name, mapping.name));
                }
            }
        }
    }
    found
}

/// All that could be 32 bytes of key: aligned as values are, and as varied as random bytes.
pub fn keys_perhaps(memory: &[Mapping]) -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    for mapping in memory {
        for at in (0..mapping.bytes.len().saturating_sub(31)).step_by(8) {
            let Some(bytes) = mapping.bytes[at..].first_chunk::<32>() else { continue };
            // Addresses and numbers have empty places where random bytes hardly have.
            if [6, 7, 14, 15, 22, 23].iter().filter(|place| bytes[**place] == 0).count() > 1 {
                continue;
            }
            let mut seen = [false; 256];
            bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
            if seen.iter().filter(|seen| **seen).count() >= 26 {
                found.push(*bytes);
            }
        }
    }
    found
}
