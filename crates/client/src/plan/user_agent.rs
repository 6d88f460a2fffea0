//! What browsers call themselves, as of November 2026: current and previous versions on the systems in wide use. Data.

use culvert_obfuscation::Prng;

const ALL: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/155.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/155.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:153.0) Gecko/20100101 Firefox/153.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1",
];

/// Beginnings of names of TLS profiles, and what stands only in the names of the same browsers.
const OF_PROFILES: &[(&str, &str)] = &[
    ("Chrome", "Chrome/"),
    ("Android", "Android"),
    ("Firefox", "Firefox/"),
    ("Safari", "Version/"),
    ("iOS", "iPhone"),
];

/// One of them: of the browser of a TLS profile, where that is one.
pub(super) fn pick(profile: Option<&str>, prng: &mut Prng) -> &'static str {
    let browser = OF_PROFILES.iter().find(|(start, _)| profile.is_some_and(|name| name.starts_with(start)));
    let mark = browser.map_or("Mozilla", |(_, mark)| *mark);
    let fit: Vec<&str> = ALL.iter().copied().filter(|agent| agent.contains(mark)).collect();
    prng.pick(&fit).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use culvert_obfuscation::Seed;

    use super::*;

    #[test]
    fn every_browser_has_a_name() {
        let mut prng = Prng::new(&Seed::from_bytes([1; 32]));
        for (profile, mark) in OF_PROFILES {
            assert!(pick(Some(profile), &mut prng).contains(mark), "{profile}");
        }
        assert!(pick(None, &mut prng).starts_with("Mozilla/5.0 ("));
    }
}
