//! Whether every thread that serves tunnels still does: each is asked, and answers between two pieces of its work. Nothing runs while
//! nobody asks.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Questions that wait at a thread; whoever asks when there are so many waits as well, which says nothing of the thread.
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
        let all = async {
            let mut answers = Vec::with_capacity(self.0.len());
            for thread in &self.0 {
                let (question, answer) = oneshot::channel();
                // The thread is gone.
                if thread.send(question).await.is_err() {
                    return false;
                }
                answers.push(answer);
            }
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

    /// Whoever asks often must not make it look, to who watches over the server, as if it were stuck.
    #[tokio::test]
    async fn many_may_ask_at_once() {
        let mut pulse = Pulse::default();
        for _ in 0..3 {
            tokio::spawn(pulse.thread().run());
        }
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let pulse = pulse.clone();
            asking.spawn(async move { pulse.beats(SOON).await });
        }
        assert!(asking.join_all().await.into_iter().all(|beats| beats));
    }
}
