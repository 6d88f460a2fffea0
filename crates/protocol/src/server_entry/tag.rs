//! Tags: names of entries that say nothing about the server. PROTOCOL.md 5.3.

use std::fmt;

use aws_lc_rs::hmac;

use super::{EntryFields, ServerEntry};
use crate::text_form;

/// The tag of an entry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// A tag that the network gave explicitly. Any text can be one.
    #[must_use]
    pub fn explicit(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The tag of an entry that has no explicit one: an HMAC of the address under the web server secret, as text.
    #[must_use]
    pub fn derive(address: &str, web_server_secret: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, web_server_secret.as_bytes());
        Self(text_form::to_base64(hmac::sign(&key, address.as_bytes()).as_ref()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What may be shown of the tag.
    #[must_use]
    pub fn diagnostic_id(&self) -> &str {
        diagnostic_id(&self.0)
    }
}

/// What may be shown of a tag: its first 8 bytes, or `<unknown>` when it is shorter.
#[must_use]
pub fn diagnostic_id(tag: &str) -> &str {
    tag.get(..8).unwrap_or("<unknown>")
}

impl EntryFields {
    /// The explicit tag, or the derived one.
    #[must_use]
    pub fn tag(&self) -> Tag {
        match self.text("tag") {
            Some(tag) => Tag::explicit(tag),
            None => Tag::derive(
                self.text("ipAddress").unwrap_or_default(),
                self.text("webServerSecret").unwrap_or_default(),
            ),
        }
    }

    /// Writes the derived tag into an entry without one, marked as local so that signatures still hold.
    pub fn store_derived_tag(&mut self) {
        if self.text("tag").is_none() {
            let tag = self.tag();
            self.set("tag", tag.0);
            self.set("isLocalDerivedTag", true);
        }
    }
}

impl ServerEntry {
    /// The explicit tag, or the derived one.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.fields.tag()
    }

    /// What may be shown to name this server.
    #[must_use]
    pub fn diagnostic_id(&self) -> String {
        self.tag().diagnostic_id().to_owned()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({}..)", self.diagnostic_id())
    }
}
