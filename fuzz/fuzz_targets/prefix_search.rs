//! libFuzzer program of the target `prefix_search`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("prefix_search", data));
