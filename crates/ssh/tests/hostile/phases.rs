//! Every message number in every phase, with bodies that are nonsense or nearly sense.

use culvert_obfuscation::{Prng, Seed};
use culvert_ssh::kexinit::Role;
use culvert_ssh::wire::WriteWire;
use culvert_ssh::{Error, Event};

use crate::allocator::peak;
use crate::peer::{Raw, message, offer};
use crate::{ROLES, TUNNEL};

/// How far the connection has come when the message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Greeted,
    Negotiated,
    Exchanged,
    Keyed,
    Asking,
    LoggedIn,
    Open,
    Renewing,
}

const PHASES: [Phase; 8] = [
    Phase::Greeted,
    Phase::Negotiated,
    Phase::Exchanged,
    Phase::Keyed,
    Phase::Asking,
    Phase::LoggedIn,
    Phase::Open,
    Phase::Renewing,
];

fn reach(phase: Phase, role: Role) -> Raw {
    let mut raw = match phase {
        Phase::Greeted | Phase::Negotiated | Phase::Exchanged => Raw::greeted(role, offer(role)),
        Phase::Keyed | Phase::Asking => Raw::keyed(role),
        Phase::LoggedIn | Phase::Renewing => Raw::logged_in(role),
        Phase::Open => Raw::with_channel(role).0,
    };
    if matches!(phase, Phase::Negotiated | Phase::Exchanged | Phase::Renewing) {
        raw.kexinit().expect("by the book");
    }
    if phase == Phase::Exchanged {
        raw.methods().expect("by the book");
    }
    if phase == Phase::Asking {
        let number = if role == Role::Server { 5 } else { 6 };
        raw.say(&message(number, &[b"ssh-userauth"])).expect("by the book");
    }
    raw.events.clear();
    raw
}

/// May this message be without consequence for the connection?
fn may_pass(phase: Phase, role: Role, number: u8) -> bool {
    let filler = matches!(number, 2..=4 | 7);
    let unassigned = matches!(number, 0 | 8..=19 | 54..=79 | 83..=89 | 101..=191 | 194..);
    match (phase, role) {
        (Phase::Greeted, _) => false,
        (Phase::Negotiated, role) => role == Role::Server && number == 30,
        (Phase::Exchanged, _) => number == 21,
        (Phase::Renewing, role) => filler || (role == Role::Server && number == 30),
        (Phase::Keyed, Role::Server) => filler || unassigned || number == 5,
        (Phase::Asking, Role::Server) => filler || unassigned || number == 50,
        (Phase::Keyed | Phase::Asking, Role::Client) => filler || unassigned || matches!(number, 6 | 52 | 53),
        (Phase::LoggedIn | Phase::Open, role) => {
            filler || unassigned || number >= 80 || (role == Role::Server && number == 50)
        }
    }
}

/// Bytes behind the number: nothing, noise, or fields that look like something.
fn body(rng: &mut Prng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..rng.range(0, 5) {
        match rng.range(0, 6) {
            0 => body.put_u32(0),
            1 => body.put_u32(rng.uint32()),
            2 => body.put_bool(rng.flip_coin()),
            3 => {
                let names: [&[u8]; 6] =
                    [b"", b"ssh-userauth", b"ssh-connection", b"password", b"direct-tcpip", b"none"];
                let name = names[rng.range(0, 5) as usize];
                body.put_string(name);
            }
            4 => {
                let len = [0, 1, 32, 1216, 5000][rng.range(0, 4) as usize];
                body.put_string(&rng.bytes(len));
            }
            5 => body.extend(rng.padding(0, 40)),
            _ => body.put_u32(u32::MAX),
        }
    }
    body
}

/// One message, and what must hold after it.
fn attempt(raw: &mut Raw, phase: Phase, role: Role, payload: &[u8]) -> Result<(), Error> {
    let before = raw.connection.is_authenticated();
    let result = raw.say(payload);
    let number = payload[0];
    assert!(result.is_err() || may_pass(phase, role, number), "{number} was let through");
    let granted = role == Role::Client && number == 52;
    assert!(before || granted || !raw.connection.is_authenticated(), "{number} logged in");
    let allowed = |event: &Event| match event {
        Event::Keyed { .. } => number == 21,
        Event::Authenticated { .. } => granted,
        _ => before,
    };
    assert!(raw.events.iter().all(allowed), "{:?}", raw.events);
    result
}

#[test]
fn every_message_in_every_phase_is_taken_or_named() {
    let rounds = if std::env::var_os("CULVERT_HOSTILE_LONG").is_some() { 100 } else { 1 };
    for round in 0..rounds {
        for (index, phase) in PHASES.into_iter().enumerate() {
            for role in ROLES {
                let seed = Seed::from_bytes([round + index as u8 * 7; 32]);
                let mut rng = Prng::derived(&seed, "phases");
                let mut raw = reach(phase, role);
                for number in 0..=255 {
                    for payload in [vec![number], [vec![number], body(&mut rng)].concat()] {
                        let what = format!("round {round}, {phase:?}, {role:?}, {payload:02x?}");
                        let (result, cost) = peak(|| {
                            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                                attempt(&mut raw, phase, role, &payload)
                            }))
                        });
                        let result = result.unwrap_or_else(|panic| {
                            panic!("{what}: {:?}", panic.downcast_ref::<String>());
                        });
                        assert!(cost < TUNNEL, "{what}: {cost} bytes");
                        if result.is_err() || may_change(phase, number) {
                            raw = reach(phase, role);
                        } else {
                            raw.forget();
                        }
                        raw.events.clear();
                    }
                }
            }
        }
    }
}

/// A message that, let through, leads out of the phase.
fn may_change(phase: Phase, number: u8) -> bool {
    phase < Phase::LoggedIn && matches!(number, 5 | 6 | 21 | 30 | 50 | 52)
        || (80..101).contains(&number)
        || number == 30
}
