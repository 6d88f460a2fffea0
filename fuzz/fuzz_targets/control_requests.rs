//! libFuzzer program of the target `control_requests`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("control_requests", data));
