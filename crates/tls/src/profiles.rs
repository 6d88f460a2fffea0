//! The profiles that come with a release. Source: TRANSPORTS.md 1.4.

use std::sync::{Arc, LazyLock};

use crate::hello::Profile;

pub use crate::drawn::drawn;

const CHROME: &str = include_str!("profiles/chrome.txt");
const FIREFOX: &str = include_str!("profiles/firefox.txt");
const SAFARI: &str = include_str!("profiles/safari.txt");

/// The name of a profile that is drawn, whatever was drawn.
pub const DRAWN: &str = "Randomized-v2";

/// All of them, in the order of their browsers' releases within each family.
#[must_use]
pub fn all() -> &'static [Arc<Profile>] {
    static ALL: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
        let texts = [CHROME, FIREFOX, SAFARI].into_iter().flat_map(|file| file.split("\n\n"));
        texts.filter_map(|text| Profile::parse(text).ok()).map(Arc::new).collect()
    });
    &ALL
}

/// One of them.
#[must_use]
pub fn named(name: &str) -> Option<Arc<Profile>> {
    all().iter().find(|profile| profile.name() == name).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_current_profile_suits_every_server() {
        let suits = |profile: &&Arc<Profile>| profile.is_current() && profile.is_answerable();
        let names: Vec<_> = all().iter().filter(suits).map(|profile| profile.name()).collect();
        assert_eq!(names, ["Safari-26"]);
    }

    #[test]
    fn all_texts_are_profiles() {
        let texts: Vec<_> =
            [CHROME, FIREFOX, SAFARI].into_iter().flat_map(|file| file.split("\n\n")).collect();
        for text in &texts {
            Profile::parse(text).unwrap();
        }
        assert_eq!(all().len(), texts.len());
    }
}
