//! Live pairings: our `ConsoleClient` and `psiphond` with each other and with the reference's, over loopback.
//!
//! Every case starts the real programs in a fresh folder, with the configs a user would write, and judges them only from outside:
//! notices, exit codes, bytes through the local proxies, bytes on the wire. Nothing of the product is linked here, so a mistake shared
//! by our two halves still shows against the reference's, and the pairing of the reference with itself proves the harness.
//!
//! The reference's programs are looked for in the folder named by `CULVERT_REFERENCE_DIR`. Without it every case that needs them is
//! reported as ignored. `CULVERT_PAIRINGS_LONG=1` moves 200 MB instead of 20 and adds the slow cases; `CULVERT_PAIRINGS_TABLE=FILE`
//! writes a table of the results.

mod cases;
mod clock;
mod datagrams;
mod entry;
mod failure;
mod front;
mod kexinit;
mod lines;
pub mod links;
pub mod memory;
pub mod namespaces;
mod notices;
mod origin;
mod pattern;
mod ports;
mod process;
mod programs;
mod proxies;
mod relay;
mod scenario;
mod sniff;
mod suite;
mod table;
mod usage;
mod watchdog;

pub use programs::Programs;
pub use suite::run;
