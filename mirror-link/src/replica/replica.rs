//! The pieces of a replica, composed.

use std::collections::VecDeque;
use std::time::Instant;

use super::io::{HostChange, HostOp, Input, LocalAction, LocalIo, Output, Record, Standing};
use super::planted::Planted;
use super::status::{GroupStatus, LinkState, QueueStatus, Rpo};
use crate::config::GroupConfig;
use crate::extent::Extent;
use crate::ids::{Generation, Instance, NodeName, OwnerEpoch, VolumeIndex, WriteSeq};
use crate::wire::message::{DiskState, Role};

/// One group on one node. Every method takes the time; none reads a clock.
///
/// After each `handle` or `handle_timeout` drain `poll_output`; when a turn's inputs are through, call `end_turn` and drain
/// again; then sleep until `poll_timeout`.
#[derive(Debug)]
pub struct Replica {
    config: GroupConfig,
    outputs: VecDeque<Output>,
    local: u64,
    waiting: VecDeque<(LocalIo, HostOp)>,
    #[cfg_attr(not(feature = "sim"), expect(dead_code, reason = "faults are planted by the simulator"))]
    planted: Planted,
}

impl Replica {
    /// `record`: what the last run left, `None` where the group was just created. `seed`: random, so that generations are
    /// nobody else's. The first outputs are ready when this returns.
    pub fn new(
        config: GroupConfig,
        _node: NodeName,
        _instance: Instance,
        _seed: u64,
        _record: Option<Record>,
        _now: Instant,
    ) -> Replica {
        let standing = match config.first_role {
            Role::Primary => Standing::Active,
            Role::Secondary => Standing::Standby,
        };
        let outputs = VecDeque::from([Output::Standing(standing)]);
        Replica { config, outputs, local: 0, waiting: VecDeque::new(), planted: Planted::default() }
    }

    pub fn handle(&mut self, _now: Instant, input: Input) {
        match input {
            Input::Submit { op, change } => self.submit(op, change),
            Input::Read { op, .. } => self.outputs.push_back(Output::Complete { op, result: Ok(()) }),
            Input::LocalDone { io, result } => {
                let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == io) else { return };
                if let Some((_, op)) = self.waiting.remove(at) {
                    self.outputs.push_back(Output::Complete { op, result });
                }
            }
            _ => (),
        }
    }

    /// The inputs of one wake-up are through: what is batched over them (acknowledgements) goes out.
    pub fn end_turn(&mut self, _now: Instant) {}

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    pub fn handle_timeout(&mut self, _now: Instant) {}

    pub fn status(&self, _now: Instant) -> GroupStatus {
        GroupStatus {
            role: self.config.first_role,
            disk: DiskState::UpToDate,
            standing: Standing::Active,
            link: LinkState::Down,
            peer_role: None,
            peer_disk: None,
            mode: self.config.policy.mode,
            on_link_loss: self.config.policy.on_link_loss,
            paused: false,
            epoch: OwnerEpoch(1),
            generation: Generation::NONE,
            seq: WriteSeq(0),
            received_upto: WriteSeq(0),
            applied_upto: WriteSeq(0),
            durable_upto: WriteSeq(0),
            decision: None,
            rpo: Rpo::default(),
            queue: QueueStatus::default(),
            resync: None,
        }
    }

    /// No write that a failover would undo overlaps the extent: a host may read it without `Input::Read`.
    pub fn may_read_now(&self, _volume: VolumeIndex, _extent: Extent) -> bool {
        true
    }

    #[cfg(feature = "sim")]
    pub fn plant(&mut self, fault: super::planted::Fault) {
        self.planted.plant(fault);
    }

    fn submit(&mut self, op: HostOp, change: HostChange) {
        let action = match change {
            HostChange::Write { volume, extent, data, durability } => {
                LocalAction::Write { volume, extent, data, durability }
            }
            HostChange::WriteZeroes { volume, extent, allocation, durability } => {
                LocalAction::WriteZeroes { volume, extent, allocation, durability }
            }
            HostChange::Unmap { volume, extent } => LocalAction::Unmap { volume, extent },
            HostChange::Flush { volume } => LocalAction::Flush { volume: Some(volume) },
            HostChange::Mark { .. } => return self.outputs.push_back(Output::Complete { op, result: Ok(()) }),
        };
        self.local += 1;
        let io = LocalIo(self.local);
        self.waiting.push_back((io, op));
        self.outputs.push_back(Output::Local { io, action });
    }
}
