//! Reads the tables of `ARCHITECTURE.md`: they are the declaration of which crates exist and who may depend on whom, so that no
//! second list of it is needed.

use crate::tree::SourceFile;

/// One row: the names in backquotes of its first column and of its second.
pub(crate) struct Row {
    pub left: Vec<String>,
    pub right: Vec<String>,
}

/// The rows of the first table after a heading, without its head. `None` when there is no such heading.
pub(crate) fn table(files: &[SourceFile], document: &str, heading: &str) -> Option<Vec<Row>> {
    let file = files.iter().find(|file| file.path == document)?;
    let mut lines = file.text.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading);
    lines.next()?;
    let body = lines.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with('|'));
    Some(body.skip(2).map(row).collect())
}

fn row(line: &str) -> Row {
    let mut cells = line.trim_matches('|').split('|');
    let mut names = || quoted(cells.next().unwrap_or(""));
    Row { left: names(), right: names() }
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::file;

    #[test]
    fn reads_the_table_below_its_heading() {
        let text = "# T\n\n| x | y |\n|--|--|\n| `no` | |\n\n## Here\n\nwords\n\n| a | b |\n|---|---|\n| `p`, `q` | `r` and `s` |\n| `t` | nothing |\n\n## Next\n| a | b |\n";
        let rows = table(&[file("A.md", text)], "A.md", "Here").unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].left, ["p", "q"]);
        assert_eq!(rows[0].right, ["r", "s"]);
        assert!(rows[1].right.is_empty());
        assert!(table(&[file("A.md", text)], "A.md", "Nowhere").is_none());
    }
}
