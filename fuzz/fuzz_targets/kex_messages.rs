//! libFuzzer program of the target `kex_messages`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("kex_messages", data));
