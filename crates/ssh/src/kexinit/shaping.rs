//! List operations of the KEXINIT shaping. Their draws, and the order of draws, are part of the protocol.
//!
//! Source: PROTOCOL.md 3.3.3. Which operation runs on which list is in [`super::offer`].

use culvert_obfuscation::Prng;

use super::lists;

/// A list under construction.
pub(super) type List = Vec<&'static str>;

pub(super) fn permute(prng: &mut Prng, list: &[&'static str]) -> List {
    let mut placed: Vec<(usize, &'static str)> =
        prng.perm(list.len()).into_iter().zip(list.iter().copied()).collect();
    placed.sort_unstable_by_key(|(position, _)| *position);
    placed.into_iter().map(|(_, name)| name).collect()
}

pub(super) fn truncate(prng: &mut Prng, mut list: List) -> List {
    while list.len() > 1 && prng.flip_coin() {
        list.pop();
    }
    list
}

/// A shuffled and shortened copy of `list`.
pub(super) fn pick_some(prng: &mut Prng, list: &[&'static str]) -> List {
    let permuted = permute(prng, list);
    truncate(prng, permuted)
}

pub(super) fn retain(prng: &mut Prng, mut list: List, name: &'static str) -> List {
    if !list.contains(&name) {
        let index = draw_index(prng.intn(as_i64(list.len())));
        if let Some(slot) = list.get_mut(index) {
            *slot = name;
        }
    }
    list
}

pub(super) fn select_kex(prng: &mut Prng, list: &[&'static str]) -> List {
    let selected = pick_some(prng, list);
    if selected.iter().any(|name| !lists::MARKERS.contains(name)) {
        return selected;
    }
    match permute(prng, lists::KEX).first() {
        Some(name) => retain(prng, selected, name),
        None => selected,
    }
}

pub(super) fn avoid(prng: &mut Prng, mut list: List, bad: &[&str], add: &[&'static str]) -> List {
    if !list.first().is_some_and(|name| bad.contains(name)) {
        return list;
    }
    if let Some(index) = list.iter().position(|name| !bad.contains(name)) {
        list.swap(0, index);
    } else if let Some(name) = permute(prng, add).into_iter().find(|name| !bad.contains(name)) {
        list.insert(0, name);
    }
    list
}

pub(super) fn add_some(prng: &mut Prng, mut list: List, add: &[&'static str]) -> List {
    for name in add {
        if prng.flip_coin() {
            let index = draw_index(prng.range(0, as_i64(list.len())));
            list.insert(index.min(list.len()), name);
        }
    }
    list
}

pub(super) fn to_front(mut list: List, name: &'static str) -> List {
    match list.iter().position(|entry| *entry == name) {
        Some(index) => list.swap(0, index),
        None => list.insert(0, name),
    }
    list
}

pub(super) fn ensure_has_one(list: List, required: &[&'static str]) -> List {
    match required.first() {
        Some(first) if !list.iter().any(|name| required.contains(name)) => to_front(list, first),
        _ => list,
    }
}

pub(super) fn prefer_common(client: List, server: &[&'static str], preferred: &[&str]) -> List {
    let common = client.iter().find(|name| preferred.contains(name) && server.contains(name));
    match common.or_else(|| server.iter().find(|name| preferred.contains(name))).copied() {
        Some(name) => to_front(client, name),
        None => client,
    }
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// A drawn index: the generator never returns a negative one for a non-negative bound.
fn draw_index(drawn: i64) -> usize {
    usize::try_from(drawn).unwrap_or(0)
}
