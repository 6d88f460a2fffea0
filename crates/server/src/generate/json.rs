//! JSON whose objects keep the order in which they were made, so that generated files read as people expect.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

pub(crate) enum Json {
    Object(Vec<(String, Json)>),
    Value(Value),
}

impl Json {
    pub(crate) fn object<'a>(members: impl IntoIterator<Item = (&'a str, Json)>) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(crate) fn null() -> Self {
        Self::Value(Value::Null)
    }

    pub(crate) fn list<T: Copy + Into<Value>>(items: &[T]) -> Self {
        Self::Value(items.iter().copied().map(Into::into).collect())
    }

    /// Indented by four spaces, with a final line feed.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
        // Writing to memory does not fail, and every key is a string.
        let _ = self.serialize(&mut serializer);
        bytes.push(b'\n');
        Zeroizing::new(String::from_utf8(bytes).unwrap_or_default())
    }
}

macro_rules! json_from {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Json {
            fn from(value: $kind) -> Self {
                Self::Value(Value::from(value))
            }
        })*
    };
}

json_from!(&str, String, u16);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}
