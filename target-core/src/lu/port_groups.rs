//! Asymmetric access of the logical unit (SPC-5 §5.17): the state of each of its target port groups, as initiators set it,
//! and before that the standing of a mirrored volume: what this node does not serve it serves through no port.

use std::collections::BTreeMap;

use mirror_link::replica::io::Standing;

use super::nexus::RelativeTargetPort;
use super::options::TargetPort;
use crate::scsi::alua::{StateCause, TargetPortGroup, TargetPortGroupState};
use crate::scsi::opcodes::AsymmetricAccess;
use crate::scsi::sense::{Asc, Sense};

#[derive(Debug)]
pub(super) struct PortGroups {
    standing: Standing,
    groups: BTreeMap<u16, Access>,
}

#[derive(Clone, Copy, Debug)]
struct Access {
    state: TargetPortGroupState,
    cause: StateCause,
}

impl PortGroups {
    pub fn new(standing: Standing) -> PortGroups {
        PortGroups { standing, groups: BTreeMap::new() }
    }

    /// Groups that stay keep their state.
    pub fn set_groups(&mut self, groups: impl Iterator<Item = u16>) {
        let before = std::mem::take(&mut self.groups);
        let fresh = Access { state: TargetPortGroupState::ActiveOptimized, cause: StateCause::NoStatus };
        self.groups = groups.map(|group| (group, before.get(&group).copied().unwrap_or(fresh))).collect();
    }

    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// "Implicit": no initiator asked for it.
    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
        self.groups.values_mut().for_each(|access| access.cause = StateCause::Implicit);
    }

    /// SET TARGET PORT GROUPS. Answers whether it changed anything.
    pub fn set(&mut self, wanted: &[(u16, TargetPortGroupState)]) -> Result<bool, Sense> {
        // Which node serves is for the operator to say: a host that can't reach the other does not know that it is dead.
        if self.standing != Standing::Active && wanted.iter().any(|(_, state)| *state != TargetPortGroupState::Standby)
        {
            return Err(Sense::illegal_request(Asc::SET_TARGET_PORT_GROUPS_COMMAND_FAILED));
        }
        let mut changed = false;
        for (group, state) in wanted {
            let set = Access { state: *state, cause: StateCause::SetTargetPortGroups };
            changed |= self.groups.insert(*group, set).is_some_and(|before| before.state != *state);
        }
        Ok(changed)
    }

    pub fn numbers(&self) -> Vec<u16> {
        self.groups.keys().copied().collect()
    }

    pub fn all_active(&self) -> bool {
        self.is_served().is_ok()
            && self.groups.values().all(|access| refusal(access.state, AsymmetricAccess::Active).is_none())
    }

    /// Does this node serve the logical unit?
    pub fn is_served(&self) -> Result<(), Sense> {
        match self.standing {
            Standing::Active => Ok(()),
            Standing::Waiting => Err(Sense::not_ready(Asc::LOGICAL_UNIT_IS_IN_PROCESS_OF_BECOMING_READY)),
            Standing::Standby => Err(Sense::not_ready(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE)),
        }
    }

    /// Does a command that needs so much run through that port's group?
    pub fn permit(
        &self,
        ports: &[TargetPort],
        through: RelativeTargetPort,
        needed: AsymmetricAccess,
    ) -> Result<(), Sense> {
        if needed == AsymmetricAccess::Active {
            self.is_served()?;
        }
        let group = ports.iter().find(|port| port.relative == through).map(|port| port.group);
        let access = group.and_then(|group| self.groups.get(&group));
        access.and_then(|access| refusal(access.state, needed)).map_or(Ok(()), |asc| Err(Sense::not_ready(asc)))
    }

    /// As REPORT TARGET PORT GROUPS tells them.
    pub fn report(&self, ports: &[TargetPort]) -> Vec<TargetPortGroup> {
        let of = |group| ports.iter().filter(move |port| port.group == group).map(|port| port.relative.0).collect();
        let told = |(group, access): (&u16, &Access)| TargetPortGroup {
            group: *group,
            state: match self.standing {
                Standing::Standby => TargetPortGroupState::Standby,
                // It is not ready through any port, which is no matter of access.
                Standing::Waiting | Standing::Active => access.state,
            },
            preferred: false,
            cause: access.cause,
            ports: of(*group),
        };
        self.groups.iter().map(told).collect()
    }
}

/// Why a group in that state does not run a command that needs another (SPC-5 §5.17.2.4).
fn refusal(state: TargetPortGroupState, needed: AsymmetricAccess) -> Option<Asc> {
    match state {
        TargetPortGroupState::ActiveOptimized
        | TargetPortGroupState::ActiveNonOptimized
        | TargetPortGroupState::LogicalBlockDependent => None,
        TargetPortGroupState::Standby => (needed == AsymmetricAccess::Active)
            .then_some(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE),
        TargetPortGroupState::Unavailable | TargetPortGroupState::Offline => (needed != AsymmetricAccess::Unavailable)
            .then_some(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_UNAVAILABLE_STATE),
        TargetPortGroupState::Transitioning => (needed != AsymmetricAccess::Unavailable)
            .then_some(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_ASYMMETRIC_ACCESS_STATE_TRANSITION),
    }
}
