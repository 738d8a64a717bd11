//! Groups on real files and devices in memory; two of them joined by a line in the same process.

mod device;
mod line;
mod node;
mod pair;
mod recorder;

mod alone;
mod joined;
mod keeping;
mod lost;
mod resync_reads;
mod roles;
