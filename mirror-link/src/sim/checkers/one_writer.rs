//! I4: one owner writes, in an epoch that is nobody else's and durable.

use super::Checker;
use crate::replica::io::{LocalAction, Standing};
use crate::sim::Time;
use crate::sim::disk::{ZEROES, stamps};
use crate::sim::history::{Reign, ReignIndex};
use crate::sim::scenario::NAMES;
use crate::sim::world::World;
use crate::wire::message::Role;

impl World {
    /// While a node serves, nothing gets onto its disk but what its own hosts wrote in that reign.
    pub(in crate::sim) fn check_one_writer(&mut self, node: usize, action: &LocalAction) {
        let LocalAction::Write { data, extent, .. } = action else { return };
        let Some(process) = &self.nodes[node].process else { return };
        let Some(reign) = process.reign.filter(|_| process.standing == Standing::Active) else { return };
        let foreign =
            stamps(data).into_iter().find(|&stamp| stamp == ZEROES || self.history.write(stamp).reign != reign);
        if let Some(stamp) = foreign {
            let text = format!("{} reigns and writes {stamp} of another reign at {extent}", NAMES[node]);
            self.violate(Checker::OneWriter, text);
        }
    }

    /// Nobody begins to serve out of reach of an owner whose heartbeats come, unless an operator insists.
    pub(super) fn check_rival(&mut self, node: usize) {
        let at = &self.nodes[node];
        let out_of_reach = at.process.as_ref().is_some_and(|process| process.session.is_none());
        let is_rival = self.nodes[1 - node].status().is_some_and(|status| status.role == Role::Primary);
        let heard = at.rival.filter(|(_, last)| self.now < last + self.scenario.detection);
        // A record takes its time; what was decided before the first of them came is nobody's fault.
        let long_since = heard.is_some_and(|(since, _)| self.now > since + self.scenario.store.high + DECISION);
        if is_rival && out_of_reach && long_since && !at.is_overruled {
            let text = format!("{} serves while heartbeats say that {} is Primary", NAMES[node], NAMES[1 - node]);
            self.violate(Checker::OneWriter, text);
        }
    }

    pub(in crate::sim) fn check_epoch(&mut self, reign: ReignIndex) {
        let reigns = &self.history.reigns;
        let new = &reigns[reign];
        // Whose record the operator removed begins anew, as a copy that nobody knows.
        let forgotten = |other: &Reign| other.node == new.node && other.began < self.nodes[new.node].removed;
        let others = || reigns.iter().enumerate().filter(|(at, other)| *at != reign && !forgotten(other));
        if let Some((rival, _)) = others().find(|(_, rival)| rival.epoch == new.epoch) {
            let text = format!("{} reigns in epoch {}, as reign {rival} did", NAMES[new.node], new.epoch);
            return self.violate(Checker::OneWriter, text);
        }
        if others().any(|(_, own)| own.node == new.node && own.epoch > new.epoch) {
            let text = format!("{} reigns in epoch {} after a later one", NAMES[new.node], new.epoch);
            self.violate(Checker::OneWriter, text);
        }
    }

    /// Hosts are served only once the record says who serves them.
    pub(super) fn check_epoch_is_durable(&mut self, node: usize) {
        let epoch = self.process(node).status.epoch;
        let durable = self.nodes[node].store.durable.as_ref();
        if durable.is_none_or(|record| record.epoch < epoch || record.role != Role::Primary) {
            let found = durable.map(|record| (record.role, record.epoch));
            let text = format!("{} serves in epoch {epoch}, its record says {found:?}", NAMES[node]);
            self.violate(Checker::OneWriter, text);
        }
    }
}

/// From the last look at things to the record of what follows.
const DECISION: Time = 300_000;
