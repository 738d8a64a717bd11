//! Groups on devices that keep nothing, for what measures the groups.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mirror_link::block::{Allocation, AllocationRun, BlockDevice, Capabilities, Durability, Eventually, Io, Payload};
use mirror_link::config::{AsideBounds, GroupConfig, MapBounds, Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
use mirror_link::extent::{BlockCount, BlockLength, Extent};
use mirror_link::group::{Group, Observer};
use mirror_link::ids::{Instance, VolumeIndex};
use mirror_link::replica::io::Standing;
use mirror_link::wire::message::{MarkKind, Role};

pub const BLOCKS: u64 = 1 << 16;

/// Of the node with that role.
pub fn instance(role: Role) -> Instance {
    Instance(if role == Role::Primary { 1 } else { 2 })
}

/// The Primary is alpha, the Secondary beta.
pub async fn start(role: Role, mode: Mode, queue: QueueBounds, state_dir: &Path) -> Arc<Group> {
    let (node, peer) = if role == Role::Primary { ("alpha", "beta") } else { ("beta", "alpha") };
    let config = GroupConfig {
        name: "db".into(),
        peer: peer.into(),
        volumes: vec![VolumeSpec { name: "db".into(), block_length: BlockLength::B4096, capacity: BlockCount(BLOCKS) }],
        first_role: role,
        policy: Policy {
            mode,
            on_link_loss: OnLinkLoss::Degrade,
            max_stall: Duration::from_secs(5),
            wait_for_peer: Duration::from_millis(100),
            host_latency: None,
            on_journal_full: Default::default(),
            on_split_brain: Default::default(),
        },
        map: MapBounds { piece_bytes: 64 << 10, hot_max: 1024 },
        scrub: None,
        initial_sync: Default::default(),
        aside: AsideBounds { undo_max: 1 << 30, undo_keep: Duration::from_secs(604_800), snapshot: true },
        lease: Duration::from_secs(2),
        queue,
    };
    let devices: Vec<Arc<dyn BlockDevice>> = vec![Arc::new(Null)];
    let group = Group::start(config, node.into(), instance(role), state_dir, devices, Arc::new(Nobody)).await;
    group.expect("a group starts")
}

/// Writes are done at once, and forgotten; all of it is a hole.
#[derive(Debug)]
struct Null;

impl BlockDevice for Null {
    fn block_length(&self) -> BlockLength {
        BlockLength::B4096
    }

    fn capacity(&self) -> BlockCount {
        BlockCount(BLOCKS)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            unmap: true,
            fast_zeroes: true,
            volatile_cache: true,
            allocation_map: true,
            read_only: false,
            unmap_granularity: BlockCount(1),
        }
    }

    fn read(&self, extent: Extent, mut buffer: BytesMut) -> Io<BytesMut> {
        buffer.resize(extent.byte_length(BlockLength::B4096) as usize, 0);
        Eventually::Now(Ok(buffer))
    }

    fn write(&self, _: Extent, _: Payload, _: Durability) -> Io<()> {
        Eventually::Now(Ok(()))
    }

    fn write_zeroes(&self, _: Extent, _: Allocation, _: Durability) -> Io<()> {
        Eventually::Now(Ok(()))
    }

    fn unmap(&self, _: Extent) -> Io<()> {
        Eventually::Now(Ok(()))
    }

    fn flush(&self) -> Io<()> {
        Eventually::Now(Ok(()))
    }

    fn allocation(&self, extent: Extent, _: usize) -> Io<Vec<AllocationRun>> {
        Eventually::Now(Ok(vec![AllocationRun { blocks: extent.blocks(), mapped: false }]))
    }

    fn used(&self) -> Option<BlockCount> {
        None
    }
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn standing(&self, _: Standing) {}
    fn marked(&self, _: VolumeIndex, _: MarkKind, _: Bytes) {}
}
