//! libFuzzer program of the target `tls_ticket_state`.

#![no_main]

use culvert_fuzz_targets::run;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run("tls_ticket_state", data));
