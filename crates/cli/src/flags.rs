//! Command lines in the form of Go's `flag` package, which the reference's programs use: `-x v`, `-x=v`, `--x`,
//! switches without a value. Beyond it, flags are also taken after the verb, and a wrong name gets a suggestion.
//! Not the programs' own flags: each program declares a table of [`Flag`] constants and reads by the same constants.
//!
//! Source: <https://pkg.go.dev/flag#hdr-Command_line_flag_syntax>

use std::collections::BTreeMap;
use std::fmt::Write as _;

use culvert_protocol::json_position::near_name;

/// Exit code for a command line that cannot be understood, as Go's `flag` package has it.
pub const EXIT_USAGE: u8 = 2;

/// One flag of a program.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    yields_to_verbs: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Switch,
    Text,
    Repeated,
    Integer,
}

impl Flag {
    /// A flag that is on or off: `-x`, `-x=false`.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Switch, help, yields_to_verbs: false }
    }

    /// A flag with one value; given twice, the last one counts.
    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Text, help, yields_to_verbs: false }
    }

    /// A flag with a value that may be given many times; all values count, in order.
    pub const fn repeated(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Repeated, help, yields_to_verbs: false }
    }

    /// A flag whose value is a whole number.
    pub const fn integer(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Integer, help, yields_to_verbs: false }
    }

    /// When the flag's separate value is one of the program's verbs, it is taken as the verb and the flag as not
    /// given: a widely copied walk-through has `-protocol generate` where `generate` is meant as the verb.
    #[must_use]
    pub const fn yields_to_verbs(mut self) -> Self {
        self.yields_to_verbs = true;
        self
    }

    /// The flag's name without dashes.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// All that a program accepts on its command line.
#[derive(Debug, Clone, Copy)]
pub struct Syntax {
    /// What the usage text calls the program.
    pub program: &'static str,
    /// Verbs with one line of help each; empty when the program takes no plain words.
    pub verbs: &'static [(&'static str, &'static str)],
    pub flags: &'static [Flag],
    /// How many plain words are taken, the verb included.
    pub most_words: usize,
}

/// A command line that was understood.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments {
    values: BTreeMap<&'static str, Vec<String>>,
    words: Vec<String>,
}

/// Why a command line was not understood. The program prints it with its usage and exits with [`EXIT_USAGE`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// `-h` or `-help`: not a mistake, print the usage and exit 0.
    #[error("help requested")]
    Help,
    #[error("flag provided but not defined: -{name}{}", suggestion(.near))]
    UnknownFlag { name: String, near: Option<&'static str> },
    #[error("flag needs an argument: -{name}")]
    MissingValue { name: &'static str },
    #[error("invalid value {value:?} for flag -{name}: expected {expected}")]
    InvalidValue { name: &'static str, value: String, expected: &'static str },
    #[error("bad flag syntax: {argument}")]
    BadSyntax { argument: String },
    #[error("unexpected argument {word:?}: {reason}")]
    UnexpectedWord { word: String, reason: &'static str },
    #[error("argument number {position} is not valid UTF-8")]
    NotText { position: usize },
}

impl UsageError {
    /// The code that a program exits with: 0 for asked-for help, else [`EXIT_USAGE`].
    pub fn exit_code(&self) -> u8 {
        if *self == Self::Help { 0 } else { EXIT_USAGE }
    }
}

fn suggestion(near: &Option<&'static str>) -> String {
    near.map(|name| format!(" (did you mean -{name}?)")).unwrap_or_default()
}

impl Syntax {
    /// Parses the arguments that follow the program's name.
    pub fn parse<I>(&self, arguments: I) -> Result<Arguments, UsageError>
    where
        I: IntoIterator,
        I::Item: Into<std::ffi::OsString>,
    {
        let mut texts = Vec::new();
        for (index, argument) in arguments.into_iter().enumerate() {
            let text = argument.into().into_string();
            texts.push(text.map_err(|_| UsageError::NotText { position: index + 1 })?);
        }
        let mut rest = texts.into_iter();
        let mut parsed = Arguments::default();
        while let Some(argument) = rest.next() {
            match argument.strip_prefix('-') {
                None | Some("") => self.take_word(&mut parsed, argument)?,
                Some("-") => {
                    // "--" ends the flags: the rest are plain words.
                    for word in rest.by_ref() {
                        self.take_word(&mut parsed, word)?;
                    }
                }
                Some(flag) => {
                    self.take_flag(&mut parsed, flag.strip_prefix('-').unwrap_or(flag), &mut rest)?
                }
            }
        }
        Ok(parsed)
    }

    fn take_word(&self, parsed: &mut Arguments, word: String) -> Result<(), UsageError> {
        if parsed.words.len() >= self.most_words {
            let reason = match self.most_words {
                0 => "this program takes only flags",
                _ => "too many plain arguments",
            };
            return Err(UsageError::UnexpectedWord { word, reason });
        }
        parsed.words.push(word);
        Ok(())
    }

    fn take_flag(
        &self,
        parsed: &mut Arguments,
        text: &str,
        rest: &mut impl Iterator<Item = String>,
    ) -> Result<(), UsageError> {
        if text.is_empty() || text.starts_with('-') || text.starts_with('=') {
            return Err(UsageError::BadSyntax { argument: format!("-{text}") });
        }
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some(flag) = self.flags.iter().find(|flag| flag.name == name) else {
            if matches!(name, "h" | "help") {
                return Err(UsageError::Help);
            }
            let near = near_name(name, self.flags.iter().map(|flag| flag.name));
            return Err(UsageError::UnknownFlag { name: name.to_owned(), near });
        };
        let value = match (flag.kind, attached) {
            (Kind::Switch, attached) => switch_value(flag.name, attached)?.to_string(),
            (_, Some(value)) => value,
            (_, None) => rest.next().ok_or(UsageError::MissingValue { name: flag.name })?,
        };
        if flag.yields_to_verbs && self.verbs.iter().any(|(verb, _)| *verb == value) {
            return self.take_word(parsed, value);
        }
        if flag.kind == Kind::Integer && value.parse::<i64>().is_err() {
            return Err(UsageError::InvalidValue { name: flag.name, value, expected: "a whole number" });
        }
        let values = parsed.values.entry(flag.name).or_default();
        if flag.kind != Kind::Repeated {
            values.clear();
        }
        values.push(value);
        Ok(())
    }

    /// The usage text: verbs, then flags in the order of their declaration.
    pub fn usage(&self) -> String {
        let mut text = format!("Usage of {}:\n", self.program);
        if !self.verbs.is_empty() {
            let _ = writeln!(text, "  {} [flags] VERB\n\nVerbs:", self.program);
            for (verb, help) in self.verbs {
                let _ = writeln!(text, "  {verb}\n        {help}");
            }
            text.push_str("\nFlags (before or after the verb):\n");
        }
        text.push_str(&self.flag_lines("-"));
        text
    }

    /// The flags alone, each with its help, in the order of their declaration.
    pub fn flag_lines(&self, dashes: &str) -> String {
        let mut text = String::new();
        for flag in self.flags {
            let value = match flag.kind {
                Kind::Switch => "",
                Kind::Text | Kind::Repeated => " string",
                Kind::Integer => " int",
            };
            let again = if flag.kind == Kind::Repeated { " (may be repeated)" } else { "" };
            let help = flag.help.replace('\n', "\n        ");
            let _ = writeln!(text, "  {dashes}{}{value}\n        {help}{again}", flag.name);
        }
        text
    }
}

impl Arguments {
    /// Whether a switch is on.
    pub fn is_on(&self, flag: &Flag) -> bool {
        self.text(flag) == Some("true")
    }

    /// The value of a flag, the last one when it was given several times; `None` when it was not given.
    pub fn text(&self, flag: &Flag) -> Option<&str> {
        self.values.get(flag.name)?.last().map(String::as_str)
    }

    /// Every value of a repeated flag, in order.
    pub fn all(&self, flag: &Flag) -> impl Iterator<Item = &str> {
        self.values.get(flag.name).into_iter().flatten().map(String::as_str)
    }

    /// The value of an integer flag.
    pub fn integer(&self, flag: &Flag) -> Option<i64> {
        self.text(flag)?.parse().ok()
    }

    /// Whether the flag was given at all.
    pub fn given(&self, flag: &Flag) -> bool {
        self.values.contains_key(flag.name)
    }

    /// The plain words in order, the verb first.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }
}

/// The texts that Go's boolean flags accept.
fn switch_value(name: &'static str, attached: Option<String>) -> Result<bool, UsageError> {
    match attached.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => {
            Err(UsageError::InvalidValue { name, value: value.to_owned(), expected: "true or false" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Flag = Flag::text("config", "configuration file");
    const PROTOCOL: Flag = Flag::repeated("protocol", "name:port").yields_to_verbs();
    const SIZE: Flag = Flag::integer("size", "bytes");
    const QUIET: Flag = Flag::switch("quiet", "say less");
    const SYNTAX: Syntax = Syntax {
        program: "tried",
        verbs: &[("generate", "make files"), ("run", "serve")],
        flags: &[CONFIG, PROTOCOL, SIZE, QUIET],
        most_words: 1,
    };

    fn parse(line: &str) -> Result<Arguments, UsageError> {
        SYNTAX.parse(line.split_whitespace())
    }

    #[test]
    fn all_spellings_of_a_value_are_the_same() {
        let expected = parse("-config a.json run").unwrap();
        for line in [
            "--config a.json run",
            "-config=a.json run",
            "run --config=a.json",
            "-config x -config a.json run",
        ] {
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
        assert_eq!(expected.text(&CONFIG), Some("a.json"));
        assert_eq!(expected.words().collect::<Vec<_>>(), ["run"]);
    }

    #[test]
    fn switches_take_only_an_attached_value() {
        for (line, on) in
            [("-quiet run", true), ("-quiet=false run", false), ("-quiet=1", true), ("run", false)]
        {
            assert_eq!(parse(line).unwrap().is_on(&QUIET), on, "{line}");
        }
        assert!(parse("-quiet run").unwrap().words().eq(["run"]));
        assert!(matches!(parse("-quiet=maybe"), Err(UsageError::InvalidValue { name: "quiet", .. })));
    }

    #[test]
    fn repeated_flags_keep_order_and_yield_to_verbs() {
        let parsed = parse("-protocol SSH:1 -protocol OSSH:2 -protocol generate").unwrap();
        assert_eq!(parsed.all(&PROTOCOL).collect::<Vec<_>>(), ["SSH:1", "OSSH:2"]);
        assert_eq!(parsed.words().collect::<Vec<_>>(), ["generate"]);
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        for (line, message) in [
            ("-confg a", "flag provided but not defined: -confg (did you mean -config?)"),
            ("-zzzzzz", "flag provided but not defined: -zzzzzz"),
            ("-config", "flag needs an argument: -config"),
            ("-size many", "invalid value \"many\" for flag -size: expected a whole number"),
            ("-=3", "bad flag syntax: -=3"),
            ("---size", "bad flag syntax: --size"),
            ("run run", "unexpected argument \"run\": too many plain arguments"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.to_string(), message, "{line}");
            assert_eq!(error.exit_code(), EXIT_USAGE);
        }
        assert_eq!(parse("-h").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_value_may_look_like_a_flag() {
        assert_eq!(parse("-size -5").unwrap().integer(&SIZE), Some(-5));
        assert!(parse("-- -run").unwrap().words().eq(["-run"]));
        assert!(parse("-").unwrap().words().eq(["-"]));
    }

    #[test]
    fn usage_names_every_verb_and_flag() {
        let usage = SYNTAX.usage();
        for part in [
            "  generate\n",
            "  run\n",
            "  -config string\n",
            "  -quiet\n",
            "  -size int\n",
            "(may be repeated)",
        ] {
            assert!(usage.contains(part), "{part} in {usage}");
        }
    }
}
