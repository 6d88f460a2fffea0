//! Who may begin a tunnel now: places for those who log in (`turns`), whether new tunnels are wanted at all (`door`), and what the host can
//! still bear (`load`, `monitor`, `host`). How connections are treated by where they come from (`treatment`, `replay`). Strangers are no part of it: see `hold` and `budget`.

mod address_group;
mod door;
mod host;
mod load;
mod monitor;
mod replay;
mod treatment;
mod turns;

pub(crate) use address_group::AddressGroup;
pub(crate) use door::{Door, Shut};
pub(crate) use host::Host;
pub(crate) use monitor::{Clocks, Monitor};
pub(crate) use replay::{Counts as ReplayCounts, Draw};
pub(crate) use treatment::{AcceptRules, Treated, Treatment, Trial};
pub(crate) use turns::{HandshakeSlot, HandshakeSlots};
