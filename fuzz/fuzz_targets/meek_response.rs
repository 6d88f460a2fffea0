//! libFuzzer program of the target `meek_response`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("meek_response", data));
