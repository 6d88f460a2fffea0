//! Server entries as the harness edits them: one line of hex, four legacy words, then JSON.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// A decoded entry.
#[derive(Clone)]
pub(crate) struct Entry {
    words: String,
    fields: Map<String, Value>,
}

impl Entry {
    /// Decodes what `generate` wrote.
    pub(crate) fn decode(hex: &str) -> Result<Self, Failure> {
        let bad =
            |problem: &str| Failure::BadFile { file: "server-entry.dat".into(), problem: problem.into() };
        let bytes =
            HEXLOWER_PERMISSIVE.decode(hex.trim().as_bytes()).map_err(|_| bad("is not one line of hex"))?;
        let text = String::from_utf8(bytes).map_err(|_| bad("is not UTF-8 below the hex"))?;
        let start = text.find('{').ok_or_else(|| bad("has no JSON after the legacy words"))?;
        let (words, json) = text.split_at(start);
        let fields = serde_json::from_str(json).map_err(|error| bad(&error.to_string()))?;
        Ok(Self { words: words.to_owned(), fields })
    }

    /// The entry as a client config takes it.
    pub(crate) fn encode(&self) -> String {
        let json = Value::Object(self.fields.clone()).to_string();
        HEXLOWER_PERMISSIVE.encode(format!("{}{json}", self.words).as_bytes())
    }

    /// Replaces a field.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// A text field.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Failure> {
        self.fields.get(name).and_then(Value::as_str).ok_or_else(|| Failure::BadFile {
            file: "server-entry.dat".into(),
            problem: format!("has no text field {name}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_edits_and_encodes() {
        let hex = HEXLOWER_PERMISSIVE.encode(br#"0 0 0 0 {"sshPort":1,"tag":"x"}"#);
        let mut entry = Entry::decode(&format!("{hex}\n")).unwrap();
        entry.set("sshPort", 7);
        let again = Entry::decode(&entry.encode()).unwrap();
        assert_eq!(again.text("tag").unwrap(), "x");
        assert_eq!(again.fields.get("sshPort"), Some(&Value::from(7)));
        assert!(Entry::decode("zz").is_err());
        assert!(Entry::decode("00").is_err());
    }
}
