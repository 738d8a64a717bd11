//! Faults that the simulator plants, to prove that its checkers catch them, and what it makes smaller than it is. Without the
//! feature `sim` there is none of it.

/// What a replica does wrong once it is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Hosts see GOOD before the peer has what the mode promises.
    AckEarly,
    /// The receiver applies a write before those that it overlaps.
    IgnoreOdep,
    /// The receiver applies a write before those that had been acknowledged when it was issued.
    IgnoreAfter,
    /// The receiver obeys a former owner: in whatever session its writes come, and while this node reigns itself.
    AcceptOldEpoch,
    /// The owner goes on alone without having recorded that the peer is outdated.
    SkipDegradeRule,
    /// A range counts as alike before the peer has it.
    ClearBitEarly,
    /// The owner writes overlapping writes in whatever order.
    LocalIgnoresOdep,
    /// What was sent on a slot that is lost is not sent again.
    ForgetSlotResend,
    /// A duplicate is applied once more.
    ApplyTwice,
    /// A spilled write is forgotten.
    DropSpill,
    /// Reads do not wait for writes that a failover would undo.
    ReadThrough,
    /// Hosts are served before the new epoch is durable.
    EpochNotDurable,
    /// A promotion applies received writes whose precedents never came.
    PromoteKeepsUnclosed,
    /// A resync reads a range while writes to it are under way, and does not order itself among them.
    ResyncReadsThrough,
    /// A replica that restarts is believed to hold what it had applied and not made durable.
    TrustVolatile,
    /// Heartbeats are not listened to.
    IgnoreBeats,
    /// Hosts write to regions that are not on record as hot.
    SkipActivity,
    /// Regions cool without what was written there being on the medium.
    CoolUnflushed,
    /// Regions cool without a record of what the peer lacks of them.
    CoolForgetful,
    /// What a peer that crashed as owner may have written is not asked for.
    IgnoreSuspects,
    /// A replica forgets where its copy may differ before what it was sent is on its medium.
    ForgetEarly,
    /// An owner that lost its cache goes on as if it had not.
    TrustOwnCache,
    /// A replica reigns without having flushed what it received.
    PromoteUnflushed,
    /// A verify reads a range while writes to it are under way, and does not order itself among them.
    VerifyReadsThrough,
    /// A resync that compares takes every piece for alike.
    CompareBlind,
    /// What a former run journalled is sent as if no write depended on another.
    JournalUnordered,
    /// Hosts are told of what the peer alone has before it is on record that the local device failed.
    FailedNotRecorded,
    /// Reads are served from the local device though it failed.
    ServeFailed,
    /// The peer reads for an owner whose device failed before what precedes that is applied.
    LendEarly,
    /// A resync begins before what it overwrites is put aside.
    OverwriteUnkept,
    /// A replica goes on saying that it is UpToDate when its owner is not heard.
    NeverLapse,
    /// Not all that the peer said counts in the decision.
    DecideOneSided,
    /// A Hello is answered with another, whatever it says.
    GreetForEver,
}

impl Fault {
    pub const ALL: [Fault; 33] = [
        Fault::AckEarly,
        Fault::IgnoreOdep,
        Fault::IgnoreAfter,
        Fault::AcceptOldEpoch,
        Fault::SkipDegradeRule,
        Fault::ClearBitEarly,
        Fault::LocalIgnoresOdep,
        Fault::ForgetSlotResend,
        Fault::ApplyTwice,
        Fault::DropSpill,
        Fault::ReadThrough,
        Fault::EpochNotDurable,
        Fault::PromoteKeepsUnclosed,
        Fault::ResyncReadsThrough,
        Fault::TrustVolatile,
        Fault::IgnoreBeats,
        Fault::SkipActivity,
        Fault::CoolUnflushed,
        Fault::CoolForgetful,
        Fault::IgnoreSuspects,
        Fault::ForgetEarly,
        Fault::TrustOwnCache,
        Fault::PromoteUnflushed,
        Fault::VerifyReadsThrough,
        Fault::CompareBlind,
        Fault::JournalUnordered,
        Fault::FailedNotRecorded,
        Fault::ServeFailed,
        Fault::LendEarly,
        Fault::OverwriteUnkept,
        Fault::NeverLapse,
        Fault::DecideOneSided,
        Fault::GreetForEver,
    ];
}

/// What is planted now.
#[derive(Clone, Debug, Default)]
pub(super) struct Planted {
    #[cfg(feature = "sim")]
    faults: Vec<Fault>,
    /// No fault: so few bytes under way on a slot suffice for the next write to look for another.
    #[cfg(feature = "sim")]
    pub spread_bytes: Option<u64>,
}

impl Planted {
    #[cfg(feature = "sim")]
    pub fn plant(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    #[cfg(feature = "sim")]
    #[inline]
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    #[cfg(feature = "sim")]
    #[inline]
    pub fn spread_bytes(&self) -> Option<u64> {
        self.spread_bytes
    }

    #[cfg(not(feature = "sim"))]
    #[inline(always)]
    pub fn spread_bytes(&self) -> Option<u64> {
        None
    }

    #[cfg(not(feature = "sim"))]
    #[inline(always)]
    pub fn has(&self, _: Fault) -> bool {
        false
    }
}
