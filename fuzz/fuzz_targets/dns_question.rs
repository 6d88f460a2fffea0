//! libFuzzer program of the target `dns_question`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("dns_question", data));
