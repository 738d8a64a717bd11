//! GET LBA STATUS (SBC-4 §5.6).

/// PROVISIONING STATUS
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisioningStatus {
    /// Mapped, or unknown.
    Mapped = 0x0,
    Deallocated = 0x1,
    Anchored = 0x2,
}

/// Blocks in a row of one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbaStatusRun {
    pub blocks: u64,
    pub status: ProvisioningStatus,
}

/// How many descriptors the ALLOCATION LENGTH has room for: at least one, and no more than are worth looking for.
pub fn descriptors_max(allocation_length: u32) -> usize {
    ((allocation_length as usize).saturating_sub(HEADER_BYTES) / DESCRIPTOR_BYTES).clamp(1, DESCRIPTORS_MAX)
}

/// Parameter data of the runs from `lba` on, to be cut to the ALLOCATION LENGTH.
pub fn get_lba_status(lba: u64, runs: &[LbaStatusRun]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    let mut lba = lba;
    for run in merged(runs) {
        // A run too long for one descriptor is told in part; the initiator asks on from there.
        let blocks = u32::try_from(run.blocks).unwrap_or(u32::MAX);
        out.extend_from_slice(&lba.to_be_bytes());
        out.extend_from_slice(&blocks.to_be_bytes());
        out.extend_from_slice(&[run.status as u8, 0, 0, 0]);
        if u64::from(blocks) < run.blocks {
            break;
        }
        lba += run.blocks;
    }
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// "adjacent … LBA status descriptors may have the same provisioning status": ours have not.
fn merged(runs: &[LbaStatusRun]) -> Vec<LbaStatusRun> {
    let mut out: Vec<LbaStatusRun> = Vec::with_capacity(runs.len());
    for run in runs.iter().filter(|run| run.blocks > 0) {
        match out.last_mut() {
            Some(last) if last.status == run.status => last.blocks = last.blocks.saturating_add(run.blocks),
            _ => out.push(*run),
        }
    }
    out
}

const HEADER_BYTES: usize = 8;
const DESCRIPTOR_BYTES: usize = 16;
/// Looking for holes costs a system call each; an initiator that wants more asks again.
const DESCRIPTORS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_become_descriptors() {
        let run = |blocks, status| LbaStatusRun { blocks, status };
        let runs = [
            run(2, ProvisioningStatus::Mapped),
            run(3, ProvisioningStatus::Mapped),
            run(0x100, ProvisioningStatus::Deallocated),
        ];
        #[rustfmt::skip]
        assert_eq!(get_lba_status(0x10, &runs), [
            0, 0, 0, 36, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 5, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0x15, 0, 0, 1, 0, 1, 0, 0, 0,
        ]);
    }

    #[test]
    fn a_run_too_long_for_a_descriptor_ends_the_list() {
        let runs = [
            LbaStatusRun { blocks: 1 << 40, status: ProvisioningStatus::Deallocated },
            LbaStatusRun { blocks: 1, status: ProvisioningStatus::Mapped },
        ];
        let data = get_lba_status(0, &runs);
        assert_eq!((data.len(), &data[16..20]), (24, [0xFF; 4].as_slice()));
    }

    #[test]
    fn there_is_room_for_one_at_least() {
        assert_eq!([0, 24, 39, 40, u32::MAX].map(descriptors_max), [1, 1, 1, 2, 1024]);
    }
}
