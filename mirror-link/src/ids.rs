//! What nodes, groups, volumes, writes and their histories are known by.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A node's name, as in its YAML: 1 to [`NAME_MAX`] bytes.
pub type NodeName = Arc<str>;

/// A consistency group's name: the same on both nodes. A volume that names no group is a group of its own name.
pub type GroupName = Arc<str>;

/// Bytes in the name of a node, a group or a volume, as the wire carries it.
pub const NAME_MAX: usize = 223;

/// One run of a node's process. Random; another value means that everything kept in its memory is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance(pub u64);

/// A volume's place in its group, counted in the order of the volumes' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeIndex(pub u16);

/// What the sender of a frame calls the group; its Hello says which group that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(pub u16);

/// One of the connections to the peer, 0 to [`SLOTS_MAX`] - 1: an index of the local and of the mirror connection array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

/// The patent's n is at most this.
pub const SLOTS_MAX: usize = 64;

/// One time of being connected with the peer; random, chosen by the dialer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

/// Which reign over the group: grows by one whenever a node becomes Primary, durably, before its first write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnerEpoch(pub u64);

/// A write's place in its epoch, from 1. 0 precedes every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteSeq(pub u64);

impl OwnerEpoch {
    /// So many promotions no pair comes to: who tells of more is not to be believed.
    pub const MAX: OwnerEpoch = OwnerEpoch((1 << 45) - 1);
}

impl WriteSeq {
    /// 2^45 writes in an epoch: more than a century at ten thousand a second.
    pub const MAX: WriteSeq = WriteSeq((1 << 45) - 1);

    pub fn next(self) -> WriteSeq {
        WriteSeq(self.0 + 1)
    }
}

/// A version of a group's data: drawn anew when a node begins to write what its peer may lack.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Generation(pub u128);

impl From<Generation> for String {
    fn from(generation: Generation) -> String {
        generation.to_string()
    }
}

impl TryFrom<String> for Generation {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Generation, Self::Error> {
        u128::from_str_radix(&text, 16).map(Generation)
    }
}

impl Generation {
    /// Nothing was ever written under it: a group just created.
    pub const NONE: Generation = Generation(0);
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({self})")
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

macro_rules! plain_display {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

plain_display!(VolumeIndex, GroupIndex, Slot, OwnerEpoch, WriteSeq);
