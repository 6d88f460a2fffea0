//! Sleep of the whole machine, from a timer of Linux that is cancelled when the clock is set, which waking up does. Costs nothing while
//! nothing happens: the timer itself never ends.
//!
//! Source: timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`; clock_gettime(2).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::controls::Controls;
use crate::notice::Notices;

/// A shorter sleep harms no connection.
const LEAST_SLEEP: Duration = Duration::from_secs(1);

/// Passes on that the machine was asleep. Never returns.
pub(super) async fn watch(controls: &Controls, notices: &Notices) {
    if let Err(error) = watch_until_error(controls, notices).await {
        notices.info(format!("sleep of this machine is not noticed: {error}"));
    }
    std::future::pending().await
}

async fn watch_until_error(controls: &Controls, notices: &Notices) -> io::Result<()> {
    let mut timer = timer()?;
    let mut before = slept();
    loop {
        // Readable is what a timer is that was cancelled.
        timer.readable().await?.clear_ready();
        let now = slept();
        if now.saturating_sub(before) >= LEAST_SLEEP {
            notices.info(format!("this machine was asleep for {} s", (now - before).as_secs()));
            controls.app_resumed();
        }
        before = now;
        // The clock may be set without any sleep. A timer is cancelled once.
        timer = self::timer()?;
    }
}

/// A timer that ends in a time that never comes, or when the clock is set.
#[expect(
    unsafe_code,
    reason = "timers that notice that the clock was set are only to be had from the C library"
)]
fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: creates a descriptor, or tells why not.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was created above, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let never = libc::timespec { tv_sec: libc::time_t::MAX, tv_nsec: 0 };
    let end = libc::itimerspec { it_interval: zero, it_value: never };
    let flags = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
    // SAFETY: both pointers are valid or null, as the call wants them.
    if unsafe { libc::timerfd_settime(fd.as_raw_fd(), flags, &raw const end, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: an owned descriptor is always the same one, and open.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// How long this machine has slept since it was started.
fn slept() -> Duration {
    clock(libc::CLOCK_BOOTTIME).saturating_sub(clock(libc::CLOCK_MONOTONIC))
}

#[expect(unsafe_code, reason = "the clock that counts sleep is only to be had from the C library")]
fn clock(id: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid; the time is read only if it was written.
    let time = unsafe {
        match libc::clock_gettime(id, time.as_mut_ptr()) {
            0 => time.assume_init(),
            _ => return Duration::ZERO,
        }
    };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timer_is_quiet_and_sleep_is_counted() {
        let timer = timer().unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), timer.readable()).await;
        assert!(quiet.is_err(), "it has ended already");
        assert!(slept() < Duration::from_secs(u64::MAX / 2));
        assert!(clock(libc::CLOCK_MONOTONIC) > Duration::ZERO);
    }
}
