//! The words behind `cargo xtask bench`.

use super::Outcome;
use super::figures::Row;

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    /// Which rows.
    pub(crate) rows: Vec<Row>,
    /// Repetitions of what is repeated fully; the slow rows have fewer.
    pub(crate) runs: usize,
    /// A sixteenth of the bytes and the tunnels: whether everything works, not how fast. Writes no results.
    pub(crate) quick: bool,
}

impl Options {
    /// Reads them.
    pub(crate) fn parse(words: &[&str]) -> Outcome<Self> {
        let mut options = Self { rows: Vec::new(), runs: 0, quick: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => options.quick = true,
                "--runs" => options.runs = words.next().ok_or("--runs wants a number")?.parse()?,
                "--only" => options.rows.push(row(words.next().copied().unwrap_or_default())?),
                other => {
                    return Err(format!("unknown option `{other}`: --only ROW, --runs N, --quick").into());
                }
            }
        }
        if options.rows.is_empty() {
            options.rows = Row::ALL.to_vec();
        }
        if options.runs == 0 {
            options.runs = if options.quick { 1 } else { 5 };
        }
        Ok(options)
    }

    /// Whether this is the whole thing.
    pub(crate) fn is_whole(&self) -> bool {
        !self.quick && self.rows.len() == Row::ALL.len()
    }

    /// So many of something, or a sixteenth.
    pub(crate) fn scaled(&self, whole: u64) -> u64 {
        if self.quick { whole / 16 } else { whole }
    }

    /// Repetitions of a row that takes long.
    pub(crate) fn few(&self) -> usize {
        self.runs.min(3)
    }
}

fn row(name: &str) -> Outcome<Row> {
    Row::ALL.into_iter().find(|row| row.name() == name).ok_or_else(|| {
        let names: Vec<_> = Row::ALL.iter().map(|row| row.name()).collect();
        format!("no row `{name}`; there are {}", names.join(", ")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let options = Options::parse(&["--only", "echo", "--runs", "2"]).unwrap();
        assert_eq!((options.rows, options.runs), (vec![Row::Echo], 2));
        let options = Options::parse(&["--quick"]).unwrap();
        assert!(options.runs == 1 && !options.is_whole() && options.scaled(160) == 10);
        assert!(Options::parse(&[]).unwrap().is_whole());
        for bad in [vec!["--only"], vec!["--only", "x"], vec!["--runs"], vec!["x"]] {
            assert!(Options::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
