//! Files in which something else stands than was written.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use culvert_client::store::{Replace, StatKind};
use culvert_obfuscation::Prng;
use culvert_protocol::TunnelProtocol;
use culvert_protocol::server_entry::EntrySource;

use super::{Chance, Root, entry, file, open};

const PAGE: usize = 4096;
/// Servers of a large store that are looked at in each cycle, so that it does not take long.
const MOST_LOOKED_AT: usize = 1_000;

/// How many panics there were: damage is found before it reaches what would panic.
static PANICS: AtomicU32 = AtomicU32::new(0);

/// Some of everything in a store of so many servers, damaged again and again.
pub(crate) fn check(name: &str, servers: u32, cycles: u32) {
    let panic = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        panic(info);
    }));
    let chance = Chance::new();
    let root = Root::new(name);
    let good = good_file(&root.0, servers);
    let mut noticed = 0;
    for cycle in 0..cycles {
        let context = format!("CULVERT_STORE_SEED={} cycle {cycle}", chance.seed);
        let mut prng = chance.of(cycle);
        let mut bytes = good.clone();
        mutate(&mut bytes, &mut prng);
        fs::write(file(&root.0), &bytes).unwrap();
        {
            let opened = open(&root.0);
            use_all(&opened.store, &context);
            noticed += usize::from(!opened.warnings().is_empty());
        }
        // What was written into whatever the store had become is there.
        let opened = open(&root.0);
        let id = opened.store.id_of(&entry(9_999, 1));
        let server = id.and_then(|id| opened.store.server(id));
        if let Some(server) = server {
            assert!(server.entry == entry(9_999, 1), "{context}");
        } else {
            // Damage that is met only now.
            let stored = opened.store.put(&entry(9_999, 1), &EntrySource::Remote, Replace::Always);
            assert!(stored.is_ok(), "{context}: {stored:?}");
        }
        drop(opened);
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{context}: a panic inside of the store");
        drop(fs::remove_file(file(&root.0).with_extension("damaged")));
    }
    assert!(noticed > cycles as usize / 20, "of {cycles} damaged files, {noticed} were noticed");
}

/// A store with some of everything.
fn good_file(root: &Path, servers: u32) -> Vec<u8> {
    {
        let opened = open(root);
        let store = &opened.store;
        let list: String = (0..servers).map(|number| entry(number, 1).encode() + "\n").collect();
        store.import(list.as_bytes(), &EntrySource::Embedded, |_| ControlFlow::Continue(())).unwrap();
        for id in store.servers(None).into_iter().take(50) {
            store.set_plan("NET", id, &[7; 700]);
        }
        store.enqueue_stat(StatKind::FailedTunnel, "{}", 200);
        store.note_success("NET", TunnelProtocol::OSSH);
        store.set_value("x", b"y");
    }
    fs::read(file(root)).unwrap()
}

fn use_all(store: &culvert_client::store::Store, context: &str) {
    let count = store.count();
    let ids = store.servers(None);
    for id in ids.iter().step_by(1 + ids.len() / MOST_LOOKED_AT) {
        if let Some(server) = store.server(*id) {
            // Whatever comes out is what was once put in.
            let number = u32::from_str_radix(server.entry.text("webServerSecret").unwrap(), 16).unwrap();
            assert!(server.entry == entry(number, 1), "{context}: an altered entry");
        }
        let _ =
            (store.summary(*id), store.plan("NET", *id).map(|plan| assert_eq!(plan, [7; 700], "{context}")));
    }
    for region in store.regions() {
        let _ = store.servers(Some(&region));
    }
    let _ = (count, store.affinity("NET"), store.replayable("NET"), store.successes("NET"), store.value("x"));
    store.clear(store.take_stats(1_000));
    store.enqueue_stat(StatKind::FailedTunnel, "{}", 200);
    if let Some(id) = ids.first() {
        store.set_plan("NET", *id, &[7; 700]);
        store.set_affinity("NET", *id);
        let _ = store.delete(*id);
    }
    let stored = store.put(&entry(9_999, 1), &EntrySource::Remote, Replace::Always);
    assert!(stored.is_ok(), "{context}: {stored:?}");
}

/// Flips bits, overwrites, moves pages, cuts or grows.
fn mutate(bytes: &mut Vec<u8>, prng: &mut Prng) {
    let len = bytes.len();
    let place = |prng: &mut Prng, below: usize| {
        usize::try_from(prng.range_u32(0, u32::try_from(below).unwrap() - 1)).unwrap()
    };
    match prng.range_u32(0, 7) {
        0 => bytes.truncate(place(prng, len)),
        1 => {
            for _ in 0..prng.range_u32(1, 40) {
                let at = place(prng, len);
                bytes[at] ^= 1 << prng.range_u32(0, 7);
            }
        }
        2 => {
            let at = place(prng, 4 * PAGE);
            bytes[at] ^= 1 << prng.range_u32(0, 7);
        }
        3 => {
            let page = place(prng, len / PAGE) * PAGE;
            bytes[page..page + PAGE].fill(0);
        }
        4 => {
            let from = place(prng, len / PAGE) * PAGE;
            let to = place(prng, len / PAGE) * PAGE;
            bytes.copy_within(from..from + PAGE, to);
        }
        5 => {
            // The heads of pages, where the tree's shape is.
            for _ in 0..prng.range_u32(1, 10) {
                let at = place(prng, len / PAGE) * PAGE + place(prng, 64);
                bytes[at] = u8::try_from(prng.range_u32(0, 255)).unwrap();
            }
        }
        6 => {
            let at = place(prng, len);
            for byte in &mut bytes[at..] {
                *byte = u8::try_from(prng.range_u32(0, 255)).unwrap();
            }
        }
        _ => bytes.extend(std::iter::repeat_n(0xa5, place(prng, 100_000))),
    }
}
