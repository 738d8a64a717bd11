//! Mirroring as those see it who show it and command it: how groups and peers stand, what they can be told.

pub use mirror_link::group::Group;
pub use mirror_link::ids::{Generation, OwnerEpoch, WriteSeq};
pub use mirror_link::link::status::{AddressStatus, PeerStatus, Phase, SlotState, SlotStatus, Verdict};
pub use mirror_link::replica::io::{Command, Done, Refusal, Standing};
pub use mirror_link::replica::status::{
    AsideStatus, Decision, DifferingRange, GroupStatus, HeldBack, LinkState, QueueStatus, ResyncStatus, Rpo,
    VerifyState, VerifyStatus, VolumeRpo,
};
pub use mirror_link::replica::what_if::WhatIf;
/// What lies in a state_dir of groups' files.
pub use mirror_link::store::{StoreError, dump, snapshot, undo};
pub use mirror_link::wire::message::{DiskState, Role};
