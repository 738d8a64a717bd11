//! Commands with a parameter list.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::attention::Attention;
use super::command::CommandComplete;
use super::device_error::Failure;
use super::media::later;
use super::persist::RecordKind;
use super::reservations::{Change, Persist, PersistentReserveOut, Refusal, Surroundings};
use super::state::{ItlCore, State};
use super::twin::{self, Kind};
use super::unit::LogicalUnit;
use crate::block::{Eventually, Payload};
use crate::scsi::request::{PrOut, Request};
use crate::scsi::sense::{Asc, Sense};

/// `length` is PARAMETER LIST LENGTH; fewer bytes came only if the initiator said it would send fewer.
pub(super) fn execute(
    unit: Arc<LogicalUnit>,
    core: Arc<ItlCore>,
    request: Request,
    length: u32,
    data: Payload,
) -> Eventually<CommandComplete> {
    unit.statistics.others.add(1);
    if data.len() != u64::from(length) {
        return Eventually::Now(unit.refuse(Sense::parameter_list_length_error()));
    }
    let list = data.contiguous();
    if let Request::PersistentReserveOut { action, scope, kind, .. } = request {
        let command = PersistentReserveOut { action, scope, kind };
        return Eventually::later(async move {
            match persistent_reserve_out(&unit, core, command, list).await {
                Ok(data) => CommandComplete::data(data),
                Err(Unchanged::Refused(refusal)) => unit.refusal(Err(refusal)),
                Err(Unchanged::Failed(failure)) => unit.complete(Err(failure)),
            }
        });
    }
    later(unit.clone(), async move { unit.set_page(&core, request, list).await })
}

/// Why reservations stay as they are.
enum Unchanged {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Unchanged {
    fn from(refusal: Refusal) -> Unchanged {
        Unchanged::Refused(refusal)
    }
}

impl From<Failure> for Unchanged {
    fn from(failure: Failure) -> Unchanged {
        Unchanged::Failed(failure)
    }
}

/// Change the reservations; then, for PREEMPT AND ABORT, wait until the others' tasks are aborted. An abort of the command
/// may end that wait, not the change: two sessions that preempt each other would wait for one another for ever.
async fn persistent_reserve_out(
    unit: &Arc<LogicalUnit>,
    core: Arc<ItlCore>,
    command: PersistentReserveOut,
    list: Bytes,
) -> Result<Payload, Unchanged> {
    let change = change_reservations(unit.clone(), core, command, list);
    let answers = match command.action {
        PrOut::PreemptAndAbort => tokio::spawn(change).await.map_err(|_| Failure::from(Sense::hardware_error()))??,
        _ => change.await?,
    };
    for answer in answers {
        // Nobody answers for a session that is gone.
        answer.await.ok();
    }
    Ok(Payload::default())
}

/// Propose, make durable, tell the peer, take over, tell the others, order aborted what PREEMPT AND ABORT aborts.
async fn change_reservations(
    unit: Arc<LogicalUnit>,
    core: Arc<ItlCore>,
    command: PersistentReserveOut,
    list: Bytes,
) -> Result<Vec<oneshot::Receiver<()>>, Unchanged> {
    // One of the tasks to be aborted may be a PERSISTENT RESERVE OUT that waits for its turn: nobody waits for it here.
    let _turn = unit.turn.lock().await;
    let propose = |state: &State| {
        let target_ports: Vec<_> = state.target_ports.iter().map(|port| port.relative).collect();
        let initiator_ports = state.initiator_ports();
        let surroundings = Surroundings { target_ports: &target_ports, initiator_ports: &initiator_ports };
        state.reservations.persistent_reserve_out(&core.nexus.name, command, &list, surroundings)
    };
    let mut change = propose(&unit.state.lock())?;
    let persist = std::mem::take(&mut change.effects.persist);
    let durable = match persist {
        Persist::Nothing => Ok(()),
        Persist::Write(record) => {
            unit.with_store(move |store, name| store.write(name, RecordKind::Reservations, &record)).await
        }
        Persist::Remove => unit.with_store(|store, name| store.remove(name, RecordKind::Reservations)).await,
    };
    if let Err(error) = durable {
        tracing::error!(lu = %unit.options.name, %error, "reservations not recorded; PERSISTENT RESERVE OUT refused");
        return Err(Failure::from(Sense::hardware_error()).into());
    }
    let told = twin::told_reservations(&change.next, &unit.state.lock());
    let done = unit.tell_this(Kind::Reservations, told).await;
    let done = done.and_then(|()| take_over(&unit, &core, propose, change).map_err(Failure::from));
    if done.is_err() {
        // Recorded it is, and told it may be: neither is so.
        unit.take_back(Kind::Reservations).await;
    }
    Ok(done?)
}

/// What was made durable and told takes effect; gives the answers of those whose tasks are to be aborted.
fn take_over(
    unit: &LogicalUnit,
    core: &ItlCore,
    propose: impl Fn(&State) -> Result<Change, Refusal>,
    change: Change,
) -> Result<Vec<oneshot::Receiver<()>>, Sense> {
    let mut state = unit.state.lock();
    // If the peer serves now, what it makes of it is its own to tell.
    state.port_groups.is_served()?;
    // A nexus may have been lost, and its RESERVE with it, while the record was written: propose again on what is now.
    let Change { next, effects } = propose(&state).unwrap_or(change);
    state.reservations = next;
    for (name, asc) in effects.unit_attentions {
        state.raise_named(&name, attention(asc));
    }
    unit.settle(&state);
    let aborted = state
        .members
        .values()
        .filter(|member| member.core.id != core.id && effects.abort.contains(&member.core.nexus.name));
    Ok(aborted.map(|member| member.orders.abort_tasks()).collect())
}

fn attention(asc: Asc) -> Attention {
    match asc {
        Asc::RESERVATIONS_PREEMPTED => Attention::ReservationsPreempted,
        Asc::REGISTRATIONS_PREEMPTED => Attention::RegistrationsPreempted,
        _ => Attention::ReservationsReleased,
    }
}
