//! A value that must not be shown: keys, tokens, server entries. Not encryption: only debug output and freed memory
//! are covered.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A secret value: its debug output is a placeholder, its memory is cleared when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. Name the need where this is called.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
