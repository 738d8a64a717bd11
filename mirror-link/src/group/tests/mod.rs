//! Groups on real files and devices in memory.

mod device;
mod node;
mod recorder;

mod alone;
mod keeping;
mod resync_reads;
