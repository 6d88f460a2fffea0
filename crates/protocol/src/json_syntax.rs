//! What a text that is not JSON is told to whoever wrote it: the parser's words, and what is mostly meant by them. Not where, which the
//! parser's error knows, and nothing about the meaning of a text that is JSON. Grammar: RFC 8259.

/// What people do who meet these beginnings of `serde_json`'s messages, and what helps them.
const HINTS: &[(&str, &str)] = &[
    ("trailing comma", "no comma stands behind the last element: remove it"),
    ("key must be a string", "names stand in double quotes, and there are no comments"),
    ("EOF while parsing", "the file ends too early: a bracket, a brace or a quote is never closed"),
    ("expected `,` or `}`", "a comma is missing before this place, or a brace"),
    ("expected `,` or `]`", "a comma is missing before this place, or a bracket"),
    ("expected `:`", "a colon stands between a name and its value"),
    ("expected value", "texts stand in double quotes, and there are no comments"),
    ("expected ident", "write true, false or null in small letters"),
    ("control character", "a text ends on its own line: a closing quote is missing"),
    ("invalid escape", "write \\\\ for a backslash"),
    ("trailing characters", "something stands behind the closing brace: remove it"),
    ("invalid number", "numbers are like 80 or -1.5, without zeros before them"),
];

/// The parser's message without its own line and column, with what helps.
pub fn syntax_detail(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let words = message.rsplit_once(" at line ").map_or(message.as_str(), |(words, _)| words);
    match HINTS.iter().find(|(beginning, _)| words.starts_with(beginning)) {
        Some((_, hint)) => format!("{words} ({hint})"),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_hint_belongs_to_a_mistake() {
        let texts = [
            "{\"a\": 1,}",
            "{a: 1}",
            "{\"a\": ",
            "{\"a\": 1 \"b\": 2}",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\": 'b'}",
            "{\"a\": trve}",
            "{\"a\": \"b\n\"}",
            "{\"a\": \"C:\\d\"}",
            "{} {}",
            "{\"a\": 01}",
        ];
        assert_eq!(texts.len(), HINTS.len());
        for (text, (beginning, hint)) in texts.into_iter().zip(HINTS) {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            let detail = syntax_detail(&error);
            assert!(
                detail.starts_with(beginning) && detail.ends_with(&format!("({hint})")),
                "{text}: {detail}"
            );
        }
        let deep = serde_json::from_str::<Value>(&"[".repeat(1000)).unwrap_err();
        assert_eq!(syntax_detail(&deep), "recursion limit exceeded");
    }
}
