//! Runs the prepared client until a signal, and turns its end into an exit code.

use std::process::ExitCode;
use std::sync::Arc;

use culvert_client::{Client, RunError, Surroundings};
use culvert_transport::OsNetwork;
use tokio::signal::unix::{SignalKind, signal};

use super::{EXIT_FAILURE, Prepared};
use crate::exit::Exit;

/// Runs the client. Every end but a signal is an error that the notices name.
pub fn run(prepared: Prepared) -> ExitCode {
    // One thread: a client has one tunnel, and its flows gain nothing from being moved between threads.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            prepared.notices.fatal(format!("starting: {error}"));
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let notices = prepared.notices.clone();
    let Prepared { config, data_dir, server_list, .. } = prepared;
    let ended = runtime.block_on(async {
        let surroundings = Surroundings::new(data_dir, notices.clone(), Arc::new(OsNetwork));
        let mut stop = std::pin::pin!(stop_signal());
        let (store, chosen) = (surroundings.store.clone(), config.servers.target.is_some());
        let mut importing = server_list.map(|list| list.import(store.clone(), notices.clone(), !chosen));
        let mut stopped = false;
        if let Some(importing) = importing.as_mut().filter(|_| !chosen && store.is_empty()) {
            notices.info("awaiting the first servers of the embedded list");
            tokio::select! {
                () = stop.as_mut() => stopped = true,
                () = importing.usable() => {}
            }
        }
        let ended = if stopped {
            Ok(())
        } else {
            let (client, events) = Client::start(config, surroundings);
            // The notices are written to their sinks; nobody looks at them here.
            drop(events);
            client.run_until(stop).await
        };
        if let Some(importing) = importing {
            importing.stop().await;
        }
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            notices.fatal(&error);
            exit(&error).into()
        }
    }
}

fn exit(error: &RunError) -> Exit {
    match error {
        RunError::NoServers | RunError::NoCommonProtocol { .. } | RunError::Region { .. } => Exit::Config,
        RunError::Entry(_) | RunError::Hopeless(_) => Exit::Data,
        RunError::Local(_) | RunError::Timeout { .. } => Exit::Unavailable,
        RunError::Store(_) | RunError::Unasked => Exit::Software,
    }
}

/// SIGINT or SIGTERM; a second one ends the process at once.
async fn stop_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(EXIT_FAILURE.into());
    });
}
