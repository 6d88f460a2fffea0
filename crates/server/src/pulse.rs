//! Whether every thread that serves tunnels still does: each is asked, and answers between two pieces of its work. Nothing runs while
//! nobody asks.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Questions that may wait at a thread; more than that say that it is stuck.
const MOST_WAITING: usize = 4;

type Question = oneshot::Sender<()>;

/// Asks all threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Vec<mpsc::Sender<Question>>);

/// The end of a thread that answers.
pub(crate) struct Answering(mpsc::Receiver<Question>);

impl Pulse {
    /// Adds a thread, which must run what is returned.
    pub(crate) fn thread(&mut self) -> Answering {
        let (asking, answering) = mpsc::channel(MOST_WAITING);
        self.0.push(asking);
        Answering(answering)
    }

    /// Whether all answer within this time.
    pub(crate) async fn beats(&self, within: Duration) -> bool {
        let mut answers = Vec::with_capacity(self.0.len());
        for thread in &self.0 {
            let (question, answer) = oneshot::channel();
            // Full, or the thread is gone.
            if thread.try_send(question).is_err() {
                return false;
            }
            answers.push(answer);
        }
        let all = async {
            for answer in answers {
                if answer.await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(within, all).await.unwrap_or(false)
    }
}

impl Answering {
    /// Answers for ever.
    pub(crate) async fn run(mut self) {
        while let Some(question) = self.0.recv().await {
            // Whoever asked may have lost patience.
            let _ = question.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn one_that_is_stuck_is_enough() {
        let mut pulse = Pulse::default();
        tokio::spawn(pulse.thread().run());
        assert!(pulse.beats(SOON).await);
        let stuck = pulse.thread();
        for _ in 0..2 * MOST_WAITING {
            assert!(!pulse.beats(SOON).await);
        }
        tokio::spawn(stuck.run());
        // What waits at it is answered first.
        tokio::task::yield_now().await;
        assert!(pulse.beats(SOON).await);
    }

    #[tokio::test]
    async fn one_that_is_gone_is_too() {
        let mut pulse = Pulse::default();
        drop(pulse.thread());
        assert!(!pulse.beats(SOON).await);
    }
}
