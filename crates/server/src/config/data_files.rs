//! The server list and tactics files: accepted so that the reference's configurations work, not used yet. A broken one is
//! an error all the same, and one that holds something is remarked on.

use std::path::Path;

use super::document::{self, Document, Loaded, Strictness};
use super::finding::ConfigError;
use super::schema::{Key, Kind};
use Kind::{Anything, Object, Text};

/// The file that `OSLConfigFilename` names.
pub(super) const OSL: &[Key] =
    &[Key::later("Schemes", Anything).about("Schemes by which clients collect keys of obfuscated lists.")];

/// The file that `TacticsConfigFilename` names. Its keys alone ask for nothing: generated files have them.
pub(super) const TACTICS: &[Key] = &[
    Key::moot("RequestPublicKey", Text)
        .about("The key that requests for tactics are encrypted for, in base64."),
    Key::moot("RequestPrivateKey", Text).about("The key that opens them, in base64."),
    Key::moot("RequestObfuscatedKey", Text).about("What these requests are obfuscated with, in base64."),
    Key::moot(
        "DefaultTactics",
        Object(&[
            Key::moot("TTL", Text).about("How long clients keep them, such as \"24h\"."),
            Key::moot("Probability", Anything).about("Obsolete: 1, or 0 for no tactics."),
            // Looked into by whoever reads them.
            Key::moot("Parameters", Anything).about("Parameters by name; culvert parameters lists them."),
        ]),
    )
    .about("The tactics for everyone."),
    Key::later("FilteredTactics", Anything)
        .about("Tactics for some; of all whose filters fit, later ones win."),
];

/// Reads and checks a file without keeping anything of it.
pub(super) fn load(file: &Path, keys: &[Key], strictness: Strictness) -> Result<Loaded<()>, ConfigError> {
    parse(file, &document::read(file)?, keys, strictness)
}

/// Reads and checks the file that `OSLConfigFilename` names.
pub(crate) fn load_osl(file: &Path, strictness: Strictness) -> Result<Loaded<()>, ConfigError> {
    load(file, OSL, strictness)
}

pub(super) fn parse(
    file: &Path,
    text: &str,
    keys: &[Key],
    strictness: Strictness,
) -> Result<Loaded<()>, ConfigError> {
    let (document, _) = Document::parse(file, text, keys)?;
    document.finish(Some(()), strictness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_files_pass_and_full_ones_are_remarked_on() {
        let remarks = |text, keys| {
            parse(Path::new("f"), text, keys, Strictness::Check).map(|loaded| loaded.warnings.len())
        };
        assert_eq!(remarks("{\"Schemes\": null}", OSL).unwrap(), 0);
        assert_eq!(remarks("{\"Schemes\": [{}]}", OSL).unwrap(), 1);
        let tactics = "{\"RequestPublicKey\": \"AA==\", \"DefaultTactics\": {\"TTL\": \"1m\", \"Probability\": 0, \
                       \"Parameters\": null}, \"FilteredTactics\": null}";
        assert_eq!(remarks(tactics, TACTICS).unwrap(), 0);
        let set = tactics.replace("\"FilteredTactics\": null", "\"FilteredTactics\": [1]");
        assert_eq!(remarks(&set, TACTICS).unwrap(), 1);
        assert!(remarks("{", OSL).unwrap_err().to_string().starts_with("f:1:1: is not valid JSON: "));
    }
}
