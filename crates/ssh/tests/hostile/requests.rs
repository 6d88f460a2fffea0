//! Global requests: answers that nobody asked for, and questions whose answers nobody waits for.

use culvert_ssh::{Event, Misbehaviour};

use crate::allocator::peak;
use crate::peer::{Raw, message, request};
use crate::{ROLES, TUNNEL, bounded, broken};

/// GO-2026-5017: they must neither be stored nor block anything.
#[test]
fn replies_that_nobody_asked_for_end_the_connection() {
    for role in ROLES {
        for reply in [vec![81], vec![82], [vec![81], vec![1; 100_000]].concat()] {
            let mut raw = Raw::logged_in(role);
            let result = bounded(|| (0..10_000).try_for_each(|_| raw.say(&reply)));
            assert_eq!(broken(result), Misbehaviour::UnexpectedReply);
            assert!(!raw.events.iter().any(|event| matches!(event, Event::Reply { .. })));
        }
        let mut raw = Raw::logged_in(role);
        raw.connection.request(b"a", true, b"").expect("an answer is wanted");
        raw.connection.request(b"b", false, b"");
        raw.say(&[82]).expect("was asked for");
        assert_eq!(broken(raw.say(&[82])), Misbehaviour::UnexpectedReply);
    }
}

#[test]
fn questions_are_bounded_while_they_wait() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        let result = bounded(|| raw.say_all((0..10_000).map(|_| request(true, b"x"))));
        assert_eq!(broken(result), Misbehaviour::TooManyRequests);
        // Those that want no answer are the application's to drop.
        let mut raw = Raw::logged_in(role);
        let (result, cost) = peak(|| raw.say_all((0..10_000).map(|_| request(false, &[1; 1000]))));
        assert!(result.is_ok() && cost < TUNNEL / 8, "{result:?}, {cost}");
    }
}

/// GHSA-4p9f, CVE-2026-116794: counts of entries size nothing.
#[test]
fn counts_of_entries_size_nothing() {
    for role in ROLES {
        let mut raw = Raw::logged_in(role);
        let (result, cost) = peak(|| {
            raw.say(&[7, 0xff, 0xff, 0xff, 0xff])?;
            raw.say(&[vec![7, 0xff, 0xff, 0xff, 0xff], vec![0; 200_000]].concat())?;
            raw.say(&message(4, &[&[0; 100_000]]))
        });
        assert!(result.is_ok() && cost < TUNNEL, "{result:?}, {cost}");
        // A string longer than its message is refused before anything is made for it.
        for number in [1, 80, 90, 192] {
            let (result, cost) = peak(|| Raw::logged_in(role).say(&[number, 0xff, 0xff, 0xff, 0xff, 1]));
            assert!(matches!(result, Err(culvert_ssh::Error::Wire(_))), "{number}: {result:?}");
            assert!(cost < TUNNEL);
        }
    }
}

#[test]
fn what_a_peer_says_at_the_end_is_cleaned() {
    for role in ROLES {
        let mut farewell = vec![1, 0, 0, 0, 11];
        farewell.extend_from_slice(&message(0, &[b"\x1b[2Jbye\n\xff\0", b""])[1..]);
        let result = Raw::logged_in(role).say(&farewell);
        let Err(culvert_ssh::Error::Disconnected { reason: 11, description }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(description, "[2Jbye");
        let long = [vec![1, 0, 0, 0, 2], message(0, &[&[b'x'; 200_000], b""])[1..].to_vec()].concat();
        let result = Raw::logged_in(role).say(&long);
        assert!(
            matches!(result, Err(culvert_ssh::Error::Disconnected { description, .. }) if description.len() <= 255)
        );
    }
}
