//! libFuzzer program of the target `ssh_exchange`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("ssh_exchange", data));
