//! A node with its device and its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::device::{BLOCK, TestDevice};
use super::recorder::Recorder;
use crate::block::{BlockDevice, BlockError, Durability, Payload};
use crate::config::{AsideBounds, GroupConfig, MapBounds, Mode, OnLinkLoss, Policy, QueueBounds, VolumeSpec};
use crate::group::{Group, GroupError};
use crate::ids::{Instance, VolumeIndex};
use crate::replica::io::{Command, Done, Refusal};
use crate::replica::status::{GroupStatus, Rpo};
use crate::wire::message::Role;

pub const VOLUME: VolumeIndex = VolumeIndex(0);
pub const BLOCKS: u64 = 4096;

pub struct Node {
    pub group: Arc<Group>,
    pub device: Arc<TestDevice>,
    pub observer: Arc<Recorder>,
    pub instance: Instance,
    pub state_dir: tempfile::TempDir,
    name: &'static str,
}

pub fn config(peer: &str, first_role: Role, mode: Mode) -> GroupConfig {
    let device = TestDevice::new(BLOCKS, true);
    GroupConfig {
        name: "db".into(),
        peer: peer.into(),
        volumes: vec![VolumeSpec {
            name: "db".into(),
            block_length: device.block_length(),
            capacity: device.capacity(),
        }],
        first_role,
        policy: Policy {
            mode,
            on_link_loss: OnLinkLoss::Degrade,
            max_stall: Duration::from_secs(1),
            wait_for_peer: Duration::from_millis(300),
            host_latency: None,
            on_journal_full: Default::default(),
            on_split_brain: Default::default(),
        },
        map: MapBounds { piece_bytes: 64 << 10, hot_max: 64 },
        scrub: None,
        initial_sync: Default::default(),
        aside: AsideBounds { undo_max: 1 << 30, undo_keep: Duration::from_secs(604_800), snapshot: true },
        lease: Duration::from_secs(2),
        queue: QueueBounds { memory: 1 << 20, spill: 4 << 20, window_bytes: 1 << 20, window_writes: 256 },
    }
}

/// Numbers of processes that no two share.
fn instance() -> Instance {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Instance(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

impl Node {
    pub async fn start(name: &'static str, config: GroupConfig) -> Node {
        Node::start_in(tempfile::tempdir().unwrap(), TestDevice::new(BLOCKS, true), name, config).await.unwrap()
    }

    pub async fn start_in(
        state_dir: tempfile::TempDir,
        device: Arc<TestDevice>,
        name: &'static str,
        config: GroupConfig,
    ) -> Result<Node, GroupError> {
        let (observer, instance) = (Arc::new(Recorder::default()), instance());
        let devices: Vec<Arc<dyn BlockDevice>> = vec![device.clone()];
        let group = Group::start(config, name.into(), instance, state_dir.path(), devices, observer.clone()).await?;
        Ok(Node { group, device, observer, instance, state_dir, name })
    }

    /// The process ends, in whatever state, and starts again with the same configuration.
    pub async fn restart(self) -> Node {
        let device = self.device.clone();
        // It is opened again.
        device.begin_anew();
        self.restart_on(device).await
    }

    /// With that device in the place of the former, and as large as it is.
    pub async fn restart_on(self, device: Arc<TestDevice>) -> Node {
        let (mut config, gone) = (self.group.config().clone(), Arc::downgrade(&self.group));
        drop(self.group);
        eventually("the group ends", || gone.strong_count() == 0).await;
        config.volumes[0].capacity = device.capacity();
        Node::start_in(self.state_dir, device, self.name, config).await.unwrap()
    }

    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    #[track_caller]
    pub fn rpo(&self) -> Rpo {
        self.status().rpo.expect("the owner has told it")
    }

    pub async fn write(&self, lba: u64, blocks: u64, byte: u8) -> Result<(), BlockError> {
        let data = Payload::from(bytes::Bytes::from(vec![byte; blocks as usize * BLOCK]));
        soon(self.group.write(VOLUME, self.device.extent(lba, blocks), data, Durability::Cached)).await
    }

    pub async fn command(&self, command: Command) -> Result<Done, Refusal> {
        soon(self.group.command(command)).await
    }
}

/// An answer is owed, whatever happens.
pub async fn soon<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer within 20 s")
}

pub async fn eventually(what: &str, holds: impl FnMut() -> bool) {
    eventually_or(|| what.to_owned(), holds).await;
}

/// With how things stand where they never come to it.
pub async fn eventually_or(how: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 10 s: {}", how());
}
