//! libFuzzer program of the target `http_proxy`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("http_proxy", data));
