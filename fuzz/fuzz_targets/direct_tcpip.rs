//! libFuzzer program of the target `direct_tcpip`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("direct_tcpip", data));
