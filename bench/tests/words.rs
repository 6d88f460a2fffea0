//! What the program says to words it does not know; and a reason for a run of all tests to build it, since those of `xtask` start it.

use std::process::Command;

#[test]
fn unknown_words_are_answered_with_the_usage() {
    for words in [&["no-such-verb"][..], &[], &["churn", "no-such-file", "x"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_culvert-bench")).args(words).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{words:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("culvert-bench: "), "{message}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_culvert-bench")).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("\nverbs:\n"));
}
