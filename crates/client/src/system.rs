//! What the operating system tells by itself: that the network has changed, that the machine was asleep. Elsewhere than on
//! Linux, the host of a client tells it.

#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
mod routes;

use crate::controls::Controls;
use crate::notice::Notices;

/// Passes on what the system tells. Never returns.
#[cfg(target_os = "linux")]
pub(crate) async fn watch(controls: Controls, notices: Notices) {
    tokio::join!(routes::watch(&controls, &notices), clock::watch(&controls, &notices));
}

/// Passes on what the system tells. Never returns.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn watch(_controls: Controls, _notices: Notices) {
    std::future::pending::<()>().await;
}
