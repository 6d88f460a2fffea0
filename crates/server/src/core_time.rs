//! How long this thread has had a core. On a busy host the time of a clock would be mostly that of others.

use std::time::Duration;

/// So long, since it began; nothing where the system does not tell.
#[expect(unsafe_code, reason = "the time of a thread is only available from the C library")]
pub(crate) fn of_this_thread() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    match unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } {
        0 => Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0).min(999_999_999),
        ),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn waiting_takes_none_and_work_does() {
        let began = of_this_thread();
        std::thread::sleep(Duration::from_millis(50));
        assert!(of_this_thread() - began < Duration::from_millis(40));
        let (clock, began) = (Instant::now(), of_this_thread());
        let mut sum = 0_u64;
        while of_this_thread() - began < Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(clock.elapsed() >= Duration::from_millis(5));
    }
}
