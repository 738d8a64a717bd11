//! One node: a replica, and what it works with.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Time;
use super::disk::{Disk, Place, Stamp};
use super::history::{MarkKey, Moment, ReignIndex};
use super::net::SessionIndex;
use super::store::{Aside, Journal, Maps, Store};
use crate::ids::Instance;
use crate::replica::Replica;
use crate::replica::io::{Command, CommandId, HostOp, Standing};
use crate::replica::status::GroupStatus;
use crate::wire::message::DiskState;

/// A host's request that is not answered.
#[derive(Clone, Debug)]
pub struct Open {
    pub host: usize,
    pub since: Time,
    pub request: Request,
}

#[derive(Clone, Debug)]
pub enum Request {
    Write(Stamp),
    /// Writes acknowledged before are to be on the medium.
    Flush {
        reign: ReignIndex,
        volume: usize,
        issued: Moment,
    },
    Mark(u64),
    Read {
        reign: ReignIndex,
        at: Place,
        stamps: Vec<Stamp>,
        issued: Moment,
        /// The peer is asked.
        is_fetched: bool,
    },
}

/// A process at work.
#[derive(Debug)]
pub struct Process {
    pub replica: Replica,
    pub instance: Instance,
    /// As it was when the last turn ended.
    pub status: GroupStatus,
    pub standing: Standing,
    pub armed: Option<Time>,
    pub session: Option<SessionIndex>,
    pub reign: Option<ReignIndex>,
    pub open: BTreeMap<HostOp, Open>,
    pub commands: BTreeMap<CommandId, (Command, Time)>,
    /// The last of each kind, as told to the logical unit or by it.
    pub marks: BTreeMap<MarkKey, u64>,
}

impl Process {
    pub fn new(replica: Replica, instance: Instance, now: Instant) -> Process {
        Process {
            status: replica.status(now),
            replica,
            instance,
            standing: Standing::Waiting,
            armed: None,
            session: None,
            reign: None,
            open: BTreeMap::new(),
            commands: BTreeMap::new(),
            marks: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
pub struct Node {
    /// `None`: it does not run.
    pub process: Option<Process>,
    /// Counts its processes: what belongs to a former one is of no interest.
    pub incarnation: u32,
    pub disk: Disk,
    pub store: Store,
    pub maps: Maps,
    pub journal: Journal,
    pub aside: Aside,
    /// When its device was last told to have failed.
    pub failed: Moment,
    /// When it first acknowledged a write without the other, since it last did not.
    pub alone_since: Option<Time>,
    /// When it last heard its owner say that it goes on together with it, or last had all that it lacked.
    pub renewed: Time,
    /// When its last process, and its disk's cache, were lost.
    pub restarted: Moment,
    pub lost_power: Moment,
    /// Its last process had it on record that the other lacks acknowledged writes, or may lack them.
    pub left_alone: bool,
    /// When its copy was last known to be whole beside the other's: whatever was acknowledged until then is here.
    pub whole: Moment,
    /// What it last said of its copy as a replica.
    pub copy: Option<DiskState>,
    /// Since when its process has been told by heartbeats, none of them missing for long, that the other is Primary; and the last.
    pub rival: Option<(Time, Time)>,
    /// An operator promoted its process with force.
    pub is_overruled: bool,
    /// When it last was Primary with a copy that, as a replica, it had said to be no good.
    pub forced: Moment,
    /// When the operator last removed its record.
    pub removed: Moment,
}

impl Node {
    /// Blocks, and blocks in a region of the map.
    pub fn new(volumes: &[u64], region: u64) -> Node {
        Node {
            process: None,
            incarnation: 0,
            disk: Disk::new(volumes),
            store: Store::default(),
            maps: Maps::new(volumes, region),
            journal: Journal::default(),
            aside: Aside::default(),
            failed: Moment(0),
            alone_since: None,
            renewed: 0,
            restarted: Moment(0),
            lost_power: Moment(0),
            left_alone: false,
            whole: Moment(0),
            copy: None,
            rival: None,
            is_overruled: false,
            forced: Moment(0),
            removed: Moment(0),
        }
    }

    pub fn is_active(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.standing == Standing::Active)
    }

    pub fn status(&self) -> Option<&GroupStatus> {
        self.process.as_ref().map(|process| &process.status)
    }
}
