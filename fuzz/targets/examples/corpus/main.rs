//! Writes the committed inputs of `fuzz/corpus` that are made rather than found: `cargo run -p culvert-fuzz-targets --example corpus`.
//! Inputs that libFuzzer found are beside them under other names and stay.

mod machines;
mod obfuscation;
mod programs;
mod ssh;
mod vectors;

use std::path::Path;
use std::{fs, io};

/// An input: its target, its name and itself.
type Input = (&'static str, String, Vec<u8>);

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let inputs =
        [machines::inputs(), obfuscation::inputs(), programs::inputs(), ssh::inputs(), vectors::inputs()?];
    for (target, name, bytes) in inputs.into_iter().flatten() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
