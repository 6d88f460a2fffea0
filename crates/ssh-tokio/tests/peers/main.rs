//! Our client and server against the SSH programs of others and a library, on loopback: every algorithm that both have, new keys under load, both
//! directions at once through small socket buffers, streams that stall, many streams, and numbers used again over a slow path.
//!
//! A program that is not here makes its tests ignored, with the reason.

mod library;
mod ours;
mod programs;
mod relay;
mod traffic;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use programs::{Kind, Programs, Rekey, Suite};
use traffic::Dial;

/// For everything that one test does; only a test that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;

type Fault = Box<dyn std::error::Error + Send + Sync>;
type Outcome = Result<(), Fault>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share two processors with the programs they start.
    arguments.test_threads.get_or_insert(2);
    let programs = Programs::find();
    let mut trials = Vec::new();
    for kind in Kind::ALL {
        let missing = programs.missing(kind);
        let mut add = |name: String, body: Box<dyn FnOnce() -> Outcome + Send>| {
            let trial = Trial::test(format!("{}::{name}", kind.name()), move || Ok(body()?));
            trials.push(match &missing {
                None => trial,
                Some(reason) => trial.with_kind(reason.clone()).with_ignored_flag(true),
            });
        };
        for suite in Suite::of(kind) {
            let name = format!("agrees_on::{}", suite.name());
            add(name, Box::new(move || run(agrees(kind, suite))));
        }
        add("new_keys_every_64_kib".into(), Box::new(move || run(new_keys(kind))));
        add("both_ways_through_small_buffers".into(), Box::new(move || run(both_ways(kind))));
        add("one_stalled_stream".into(), Box::new(move || run(stalled(kind))));
        add("many_streams".into(), Box::new(move || run(many(kind))));
        add("numbers_used_again_at_100_ms".into(), Box::new(move || run(churn(kind))));
    }
    let missing = programs.missing(Kind::OpenSshClient);
    let socks = Trial::test("openssh_client::dynamic_forward", || Ok(run(dynamic())?));
    trials.push(match missing {
        None => socks,
        Some(reason) => socks.with_kind(reason).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(body: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, body).await.map_err(|_| "it hangs")? })
}

async fn agrees(kind: Kind, suite: Suite) -> Outcome {
    let link = programs::connect(kind, &suite, Rekey::Never, None).await?;
    traffic::exchange(&link.dial, 300_000, 200_000).await?;
    let negotiated = link.negotiated()?;
    if suite.fits(&negotiated) { Ok(()) } else { Err(format!("agreed on {negotiated:?}").into()) }
}

async fn new_keys(kind: Kind) -> Outcome {
    let link = programs::connect(kind, &Suite::usual(kind), Rekey::Often, None).await?;
    let (one, two) = tokio::join!(
        traffic::exchange(&link.dial, 2 * MIB, MIB),
        traffic::exchange(&link.dial, MIB, 2 * MIB)
    );
    one?;
    two?;
    let exchanges = link.exchanges();
    // Each covers 64 KiB in one direction at least, or a batch that was sealed already.
    if exchanges >= 15 { Ok(()) } else { Err(format!("keys were changed {exchanges} times only").into()) }
}

async fn both_ways(kind: Kind) -> Outcome {
    let link = programs::connect(kind, &Suite::usual(kind), Rekey::Never, None).await?;
    let mut flows = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let dial = link.dial.clone();
        flows.spawn(async move { traffic::exchange(&dial, 3 * MIB, 3 * MIB).await });
    }
    while let Some(flow) = flows.join_next().await {
        flow??;
    }
    Ok(())
}

async fn stalled(kind: Kind) -> Outcome {
    let link = programs::connect(kind, &Suite::usual(kind), Rekey::Never, None).await?;
    // Nobody reads what comes down, nor what goes up. Russh stops everything for what it has received itself and nobody takes.
    let unread = match kind {
        Kind::RusshClient => None,
        _ => Some(traffic::start(&link.dial, 0, 32 * MIB as u32).await?),
    };
    let stuffed = match kind {
        Kind::RusshServer => None,
        _ => Some(traffic::stuff(&link.dial).await?),
    };
    for _ in 0..20 {
        let flow = traffic::exchange(&link.dial, 200_000, 200_000);
        tokio::time::timeout(Duration::from_secs(20), flow).await.map_err(|_| "others are held up")??;
    }
    drop((unread, stuffed));
    traffic::exchange(&link.dial, 1000, 1000).await
}

async fn many(kind: Kind) -> Outcome {
    let link = programs::connect(kind, &Suite::usual(kind), Rekey::Never, None).await?;
    let count = kind.streams();
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(traffic::start(&link.dial, 100, 100).await?);
    }
    for stream in open {
        traffic::finish(stream, 100, 100).await?;
    }
    traffic::exchange(&link.dial, 1000, 1000).await
}

async fn churn(kind: Kind) -> Outcome {
    let delay = Some(Duration::from_millis(50));
    let link = programs::connect(kind, &Suite::usual(kind), Rekey::Never, delay).await?;
    for round in 0..4 {
        let mut flows = tokio::task::JoinSet::new();
        for number in 0..10 {
            let dial: Dial = link.dial.clone();
            // Some are cut off while data is on its way.
            flows.spawn(async move {
                if (number + round) % 3 == 0 {
                    drop(traffic::start(&dial, 0, 300_000).await?);
                    return Ok(());
                }
                traffic::exchange(&dial, 20_000, 20_000).await
            });
        }
        while let Some(flow) = flows.join_next().await {
            flow??;
        }
    }
    Ok(())
}

async fn dynamic() -> Outcome {
    let link = programs::dynamic().await?;
    traffic::exchange(&link.dial, MIB, MIB).await
}
