//! The judges. They know hosts' histories, disks' images, durable records and what statuses claim; not how a replica works.

mod alike;
mod bounded;
mod closed;
mod fresh;
mod kept;
mod one_decision;
mod one_writer;
mod overwritten;
mod reads;
mod verified;

pub(super) use closed::closed_under_some;
pub(super) use one_decision::Exchange;

/// Who found it: the names of the invariants that it holds replicas to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checker {
    /// I1: at rest both copies are the same.
    Alike,
    /// I2: what was acknowledged, or read, is there after the loss of one node.
    Kept,
    /// As I2, of the logical unit's state.
    MarkKept,
    /// I2, asynchronously: no more is lost than was reported.
    Rpo,
    /// I5: what was acknowledged and the source lacks is put aside before a resync writes over it.
    Undo,
    /// I3: what was acknowledged before is there where what came after it is.
    Closed,
    /// A read shows what was acknowledged before it was asked, whichever copy it comes from.
    Reads,
    /// I4: one owner writes, in an epoch that is nobody else's and durable.
    OneWriter,
    /// I7: both make the same of the same two Hellos, and come to rest.
    OneDecision,
    /// A replica that its owner may have left behind does not go on saying that it is UpToDate.
    Fresh,
    /// I6: no more memory than was configured.
    Memory,
    /// I6: every request is answered, once and in time.
    Answers,
    /// I6: nothing goes round in circles.
    Pace,
    /// I6: once all is mended, the pair comes together.
    Settles,
    /// A verify finds what differs, and nothing else.
    Verified,
    /// What only a replica that is wrong does: sends where nobody listens, finds its own like misbehaving.
    Protocol,
}

#[derive(Clone, Debug)]
pub struct Violation {
    pub checker: Checker,
    pub text: String,
}
