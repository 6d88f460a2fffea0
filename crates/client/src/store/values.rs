//! Single values by name, and what earlier versions kept elsewhere.

use super::Store;
use super::engine::Lasting;
use super::tables::VALUES;
use crate::data_dir::DataDir;

/// When a tunnel was last connected, as the server gave it.
const LAST_CONNECTED: &str = "last_connected";

impl Store {
    /// A value.
    pub fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.engine().read(|transaction| {
            let values = transaction.open_table(VALUES)?;
            Ok(values.get(name)?.map(|value| value.value().to_vec()))
        })?
    }

    /// Sets a value. Lasts when the call returns.
    pub fn set_value(&self, name: &str, value: &[u8]) {
        self.change(Lasting::Now, |transaction| {
            transaction.open_table(VALUES)?.insert(name, value)?;
            Ok(())
        });
    }

    /// Forgets a value.
    pub fn remove_value(&self, name: &str) {
        self.change(Lasting::Now, |transaction| {
            transaction.open_table(VALUES)?.remove(name)?;
            Ok(())
        });
    }

    /// When a tunnel was last connected, RFC 3339, as the server gave it.
    pub fn last_connected(&self) -> Option<String> {
        self.value(LAST_CONNECTED).and_then(|value| String::from_utf8(value).ok())
    }

    /// Sets it.
    pub fn set_last_connected(&self, time: &str) {
        self.set_value(LAST_CONNECTED, time.as_bytes());
    }

    /// Takes over, once, what the state file of earlier versions has.
    pub(super) fn adopt(&self, data_dir: &DataDir) {
        let Some(time) = data_dir.state().last_connected else { return };
        if self.last_connected().is_none() {
            self.set_last_connected(&time);
        }
        // Left there it would only be adopted again, after a later one was lost.
        drop(data_dir.update(|state| state.last_connected = None));
    }
}
