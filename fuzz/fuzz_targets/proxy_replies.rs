//! libFuzzer program of the target `proxy_replies`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("proxy_replies", data));
