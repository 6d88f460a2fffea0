//! A citation of `PROTOCOL.md` or `TRANSPORTS.md` names a section that it has.

use std::collections::BTreeSet;

use super::Finding;
use crate::tree::SourceFile;

const DOCUMENTS: [&str; 2] = ["PROTOCOL.md", "TRANSPORTS.md"];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    DOCUMENTS.into_iter().flat_map(|document| check_one(document, files)).collect()
}

fn check_one(name: &str, files: &[SourceFile]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == name) else {
        return vec![Finding::in_file(name, "not there")];
    };
    let sections: BTreeSet<&str> = document.text.lines().filter_map(section).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.lines() {
            for cited in cited(name, line).filter(|cited| !sections.contains(cited.as_str())) {
                findings.push(Finding::at(file, number, format!("{name} has no section {cited}")));
            }
        }
    }
    findings
}

/// The number that a heading opens with.
fn section(line: &str) -> Option<&str> {
    let words = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let number = words.split_whitespace().next()?.trim_end_matches('.');
    number.starts_with(|c: char| c.is_ascii_digit()).then_some(number)
}

/// The section numbers that follow the document's name on a line.
fn cited<'l>(document: &'l str, line: &'l str) -> impl Iterator<Item = String> + 'l {
    line.split(document).skip(1).filter_map(|after| {
        let after = after.trim_start_matches('`').trim_start();
        let after = after.strip_prefix("section ").unwrap_or(after);
        let number: String = after.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let number = number.trim_end_matches('.');
        (!number.is_empty()).then(|| number.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    fn findings(line: &str) -> usize {
        let documents = DOCUMENTS.map(|name| file(name, "# Wire\n\n## 2. Two\n\n### 2.7 States\n"));
        let [protocol, transports] = documents;
        check(&[protocol, transports, file("a.rs", line)]).len()
    }

    #[test]
    fn a_section_that_is_not_there_is_found() {
        for line in [
            "// PROTOCOL.md 2.7.",
            "// `PROTOCOL.md` section 2",
            "// PROTOCOL.md 2.7 and RFC 4253 section 9",
            "//",
        ] {
            assert_eq!(findings(line), 0, "{line}");
        }
        for line in [" 2.8", "` 3.", " section 2.70"] {
            for document in DOCUMENTS {
                assert_eq!(findings(&format!("// {document}{line}")), 1, "{line}");
            }
        }
        assert_eq!(check(&[file("a.rs", "")]).len(), 2);
    }
}
