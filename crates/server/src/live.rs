//! A value that is replaced as a whole while others use it: what a reload changes. Whoever reads has one consistent state for as long as
//! they hold it, and who must act on a change waits for it.

use std::sync::Arc;

use tokio::sync::watch;

/// The current state of something that can be reloaded. Reading takes a lock for as long as a pointer is copied.
#[derive(Debug)]
pub struct Live<T>(watch::Sender<Arc<T>>);

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Live<T> {
    pub fn new(value: T) -> Self {
        Self(watch::Sender::new(Arc::new(value)))
    }

    /// What is current now; it stays as it is while it is held.
    pub fn get(&self) -> Arc<T> {
        self.0.borrow().clone()
    }

    /// Puts another in its place; readers have either the one or the other.
    pub fn replace(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }

    /// To learn of replacements; the current value counts as seen.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_keep_theirs_and_are_told_of_the_next() {
        let live = Live::new(1);
        let (held, mut changes) = (live.get(), live.changes());
        live.replace(2);
        assert_eq!((*held, *live.get()), (1, 2));
        changes.changed().await.unwrap();
        assert_eq!(**changes.borrow(), 2);
    }
}
