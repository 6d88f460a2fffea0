//! libFuzzer program of the target `ntlm_challenge`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("ntlm_challenge", data));
