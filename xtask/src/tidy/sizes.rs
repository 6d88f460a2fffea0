//! Files stay small enough to be read in one sitting. Functions are clippy's (`too_many_lines`).

use super::Finding;
use crate::tree::SourceFile;

const MEDIAN: usize = 150;
const NINE_IN_TEN: usize = 400;
const LONGEST: usize = 600;

/// Files that are one long table. Each entry needs a reason beside it.
const TABLES: &[&str] = &[];

pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !TABLES.contains(&file.path.as_str())) {
        let lines = file.text.lines().count();
        if lines > LONGEST {
            findings.push(Finding::at(file, 0, format!("{lines} lines; none may have more than {LONGEST}")));
        }
    }
    for table in TABLES.iter().filter(|table| !files.iter().any(|file| file.path == **table)) {
        findings.push(Finding::in_file(table, "exempt from the size rule, but not there"));
    }
    let (median, nine_in_ten) = spread(files);
    for (name, has, may) in [("median", median, MEDIAN), ("90th percentile", nine_in_ten, NINE_IN_TEN)] {
        if has > may {
            findings.push(Finding::in_file("*.rs", format!("{name} of lines is {has}; it may be {may}")));
        }
    }
    findings
}

/// The figures that the rule is about, for people.
pub(crate) fn summary(files: &[SourceFile]) -> String {
    let (median, nine_in_ten) = spread(files);
    format!("Rust files of {median} lines in the middle and {nine_in_ten} at nine in ten")
}

/// Median and 90th percentile of lines per Rust file.
fn spread(files: &[SourceFile]) -> (usize, usize) {
    let mut lines: Vec<usize> =
        files.iter().filter(|file| file.is_rust()).map(|file| file.text.lines().count()).collect();
    lines.sort_unstable();
    let at = |tenths: usize| lines.get(lines.len() * tenths / 10).copied().unwrap_or(0);
    (at(5), at(9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    fn of_lines(lines: usize) -> SourceFile {
        file("a.rs", &"x\n".repeat(lines))
    }

    fn findings(lines: &[usize]) -> usize {
        check(&lines.iter().map(|lines| of_lines(*lines)).collect::<Vec<_>>()).len()
    }

    #[test]
    fn each_of_the_three_limits_fires_alone() {
        let mut files = vec![10; 20];
        assert_eq!(findings(&files), 0);
        files[0] = 601;
        assert_eq!(findings(&files), 1);
        assert_eq!(findings(&[10, 10, 10, 151, 151, 151, 151]), 1);
        assert_eq!(findings(&[10, 10, 10, 10, 10, 10, 10, 401]), 1);
    }
}
