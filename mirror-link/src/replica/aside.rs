//! A copy that was whole, before a resync makes it Inconsistent: what is to be kept of it is put aside first. Pure.
//!
//! ```text
//!   Begin ─► record: Inconsistent, and which copy is overwritten ─► put aside ─► record: it is ─► apply
//! ```
//!
//! Until the second record is durable nothing is written over the copy, so whoever finds the first one, after a crash, finds
//! the copy as it was. Behind the second nothing is put aside any more, however often the resync begins anew: what is there
//! then is neither the one copy nor the other.

use super::io::{KeepAside, Output, Overwritten, Why};
use super::machine::Replica;
use super::planted::Fault;
use super::records::Then;
use crate::ids::Generation;
use crate::wire::message::DiskState;

impl Replica {
    /// A resync begins. Of a copy that is Inconsistent already there is nothing to keep but what is still to be put aside.
    pub(super) fn see_what_is_overwritten(&mut self) {
        if self.disk == DiskState::Inconsistent {
            return;
        }
        let has_own = !self.suspects.is_empty() && self.config.aside.undo_max > 0;
        if !has_own && !self.config.aside.snapshot {
            self.overwritten = None;
            return;
        }
        let why = if has_own { Why::RolledBack } else { Why::Behind };
        let (generation, epoch) = (self.generation, self.epoch);
        if self.overwritten.is_none() {
            self.overwritten = Some(Overwritten { resync: self.draw(), generation, epoch, why });
        }
    }

    /// An operator chose the other copy. Of what generation this one was is soon forgotten.
    pub(super) fn loses_split_brain(&mut self) {
        let (generation, epoch) = (self.generation, self.epoch);
        self.overwritten = Some(Overwritten { resync: self.draw(), generation, epoch, why: Why::SplitBrain });
    }

    /// The record says which.
    pub(super) fn keep_aside(&mut self) {
        let Some(copy) = self.overwritten else { return self.store(Then::Ungate) };
        let (pieces, left_out_bytes) = self.suspects.first(self.config.aside.undo_max);
        self.outputs.push_back(Output::KeepAside(Box::new(KeepAside { copy, pieces, left_out_bytes })));
        if self.planted.has(Fault::OverwriteUnkept) {
            self.receiver.gated = false;
        }
    }

    pub(super) fn kept_aside(&mut self, resync: Generation) {
        if self.overwritten.take_if(|copy| copy.resync == resync).is_some() {
            self.store(Then::Ungate);
        }
    }
}
