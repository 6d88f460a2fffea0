//! libFuzzer program of the target `tls_hello_message`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("tls_hello_message", data));
