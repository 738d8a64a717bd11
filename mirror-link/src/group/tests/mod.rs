//! Groups on real files and devices in memory; two of them joined by a line in the same process.

pub mod device;
mod line;
pub mod node;
pub mod pair;
pub mod recorder;

mod alone;
mod apart;
mod crashed;
mod failing;
mod faulty;
mod joined;
mod keeping;
mod lost;
mod replaced;
mod resync_reads;
mod roles;
mod told;
mod verify;
