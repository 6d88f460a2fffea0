//! Places under a clock that stands still unless everybody waits.

use std::num::NonZeroUsize;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};

use super::*;

fn slots(most: usize) -> HandshakeSlots {
    HandshakeSlots::new(&HandshakeLimits {
        wait_for_slot: Some(Duration::from_secs(1)),
        duration: None,
        at_once: NonZeroUsize::new(most),
        probe_hold: None,
    })
}

fn from(number: u8) -> AddressGroup {
    AddressGroup::of([192, 0, 2, number].into())
}

fn is_empty(slots: &HandshakeSlots, most: usize) -> bool {
    let state = lock(&slots.state);
    state.free == most
        && state.groups.is_empty()
        && state.order.is_empty()
        && state.by_size.is_empty()
        && state.waiting == 0
}

#[tokio::test(start_paused = true)]
async fn the_line_is_short() {
    let slots = slots(1);
    let first = slots.acquire(from(1)).await;
    assert!(first.is_some());
    let began = Instant::now();
    assert!(slots.acquire(from(1)).await.is_none());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    let (second, ()) = tokio::join!(slots.acquire(from(2)), async { drop(first) });
    assert!(second.is_some());
    drop(second);
    assert!(is_empty(&slots, 1));
}

#[tokio::test(start_paused = true)]
async fn one_address_leaves_places_to_others() {
    let slots = slots(100);
    let mut greedy = Vec::new();
    while let Some(slot) = slots.acquire(from(1)).await {
        greedy.push(slot);
    }
    assert_eq!(greedy.len(), 80, "many people may be behind one address");
    let began = Instant::now();
    let mut others = Vec::new();
    for number in 2..22 {
        others.push(slots.acquire(from(number)).await.expect("a place for each of the others"));
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "without waiting");
    drop((greedy, others));
    assert!(is_empty(&slots, 100));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_get_on_makes_room() {
    let slots = slots(100);
    let mut greedy = Vec::new();
    for number in 1..=10 {
        // Nobody waits: time stands still.
        while let Ok(Some(slot)) = timeout(Duration::ZERO, slots.acquire(from(number))).await {
            greedy.push(slot);
        }
    }
    assert_eq!(greedy.len(), 100);
    sleep(STALLED).await;
    let began = Instant::now();
    let client = slots.acquire(from(99)).await.expect("a place for somebody else");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let mut oldest = greedy.remove(0);
    oldest.evicted().await;
    let mut second = greedy.remove(0);
    assert!(timeout(Duration::from_millis(1), second.evicted()).await.is_err(), "one is enough");
    drop((client, greedy, oldest, second));
    assert!(is_empty(&slots, 100));
}

/// A rush behind one address is not disturbed by its own.
#[tokio::test(start_paused = true)]
async fn nobody_is_evicted_for_the_same_address() {
    let slots = slots(10);
    let mut held = Vec::new();
    while let Some(slot) = slots.acquire(from(1)).await {
        held.push(slot);
    }
    sleep(STALLED * 2).await;
    assert!(slots.acquire(from(1)).await.is_none());
    for slot in &mut held {
        assert!(timeout(Duration::from_millis(1), slot.evicted()).await.is_err());
    }
}

/// What is freed goes to who has the fewest, however many others wait.
#[tokio::test(start_paused = true)]
async fn a_flood_in_line_is_passed() {
    let slots = Arc::new(slots(10));
    let mut held = Vec::new();
    while let Some(slot) = slots.acquire(from(1)).await {
        held.push(slot);
    }
    for number in 2..=3 {
        held.push(slots.acquire(from(number)).await.unwrap());
    }
    let mut flood = JoinSet::new();
    for _ in 0..500 {
        let slots = slots.clone();
        flood.spawn(async move { slots.acquire(from(1)).await });
    }
    sleep(Duration::from_millis(1)).await;
    let later = slots.clone();
    let client = tokio::spawn(async move { later.acquire(from(4)).await });
    sleep(Duration::from_millis(100)).await;
    assert!(!client.is_finished());
    held.pop();
    let began = Instant::now();
    assert!(client.await.unwrap().is_some());
    assert_eq!(began.elapsed(), Duration::ZERO, "the next place was not for the flood");
    held.clear();
    while flood.join_next().await.is_some() {}
    assert!(is_empty(&slots, 10));
}

#[tokio::test(start_paused = true)]
async fn the_line_has_an_end_and_whoever_leaves_it_is_forgotten() {
    let slots = Arc::new(slots(1));
    let first = slots.acquire(from(1)).await;
    let mut line = JoinSet::new();
    for _ in 0..MOST_WAITING_EACH {
        let slots = slots.clone();
        line.spawn(async move { slots.acquire(from(1)).await.is_some() });
    }
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    assert!(slots.acquire(from(1)).await.is_none());
    assert_eq!(began.elapsed(), Duration::ZERO);
    line.shutdown().await;
    drop(first);
    assert!(is_empty(&slots, 1));
}

/// A place that is granted to somebody who leaves at the same time is not lost.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_to_who_leaves() {
    let slots = Arc::new(slots(1));
    for _ in 0..100 {
        let first = slots.acquire(from(1)).await.unwrap();
        let waiting = slots.clone();
        let task = tokio::spawn(async move { waiting.acquire(from(2)).await.is_some() });
        yield_now().await;
        drop(first);
        task.abort();
        let _ = task.await;
        assert!(is_empty(&slots, 1));
    }
}
