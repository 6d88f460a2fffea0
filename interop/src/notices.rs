//! The client's notices: one JSON object per line.

use serde_json::Value;

/// One notice.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// `noticeType`.
    pub(crate) kind: String,
    /// `data`.
    pub(crate) data: Value,
}

impl Notice {
    /// Reads a line of a client's output; `None` for anything that is not a notice.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut value: Value = serde_json::from_str(line).ok()?;
        let kind = value.get("noticeType")?.as_str()?.to_owned();
        value.get("timestamp")?.as_str()?;
        Some(Self { kind, data: value.get_mut("data")?.take() })
    }

    /// A number in `data`, if this notice is of that type and has it.
    pub(crate) fn number(&self, kind: &str, field: &str) -> Option<u64> {
        if self.kind != kind {
            return None;
        }
        self.data.get(field)?.as_u64()
    }
}
