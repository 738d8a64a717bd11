//! Runs sanitize and format operations: a task of its own, that outlives the command, the nexus, resets, and by the state
//! store the program.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use mirror_link::replica::io::Standing;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::device_error::Failure;
use super::media::{Outcome, later};
use super::operation::{Condition, Kind, Plan};
use super::patience::patiently;
use super::persist::RecordKind;
use super::twin;
use super::unit::LogicalUnit;
use crate::block::{Allocation, BlockCount, BlockError, Durability, Eventually, Extent, Lba, Payload};
use crate::lu::command::CommandComplete;
use crate::scsi::request::SanitizeAction;
use crate::scsi::sense::{Asc, Sense};

/// A sanitize is watched by polling every few seconds; one that is over before anybody looked cannot be told from one
/// that never began, nor aborted by mistake be noticed. Large media take longer than this anyway.
const OVERWRITE_DURATION_MIN: Duration = Duration::from_secs(8);

/// Blocks erased at a time, in bytes: progress is told, and a stop is noticed, between.
const ERASE_BYTES: u64 = 1 << 30;
const OVERWRITE_BYTES: u64 = 1 << 20;

/// How long to wait where the peer is waited for.
const PEER_PAUSE: Duration = Duration::from_millis(500);

/// Why an operation ended early.
enum Ended {
    Failed(BlockError),
    /// The logical unit is gone from the configuration, or the peer serves it now and goes on with it; its record stays.
    Abandoned,
}

impl From<BlockError> for Ended {
    fn from(error: BlockError) -> Ended {
        match error {
            BlockError::Fenced => Ended::Abandoned,
            error => Ended::Failed(error),
        }
    }
}

pub(super) fn sanitize(
    unit: Arc<LogicalUnit>,
    action: SanitizeAction,
    immediate: bool,
    unrestricted_exit: bool,
    list: Bytes,
) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        let kind = match action {
            SanitizeAction::Overwrite => {
                let plan = Plan::overwrite(&list, unit.device.block_length(), unrestricted_exit)?;
                return start(&unit, plan, immediate, Some((action, unrestricted_exit))).await;
            }
            SanitizeAction::BlockErase => Kind::BlockErase,
            SanitizeAction::CryptographicErase => Kind::CryptographicErase,
            SanitizeAction::ExitFailureMode => return exit_failure_mode(&unit).await,
        };
        start(&unit, Plan::sanitize(kind, unrestricted_exit), immediate, Some((action, unrestricted_exit))).await
    })
}

pub(super) fn format(unit: Arc<LogicalUnit>, list: Option<Bytes>, long_list: bool) -> Eventually<CommandComplete> {
    later(unit.clone(), async move {
        let (plan, immediate) = Plan::format(list.as_deref(), long_list, unit.device.block_length())?;
        start(&unit, plan, immediate, None).await
    })
}

/// Begin, in a task that an abort of the command does not reach; GOOD once it is sure to finish, or has.
async fn start(
    unit: &Arc<LogicalUnit>,
    plan: Plan,
    immediate: bool,
    sanitize: Option<(SanitizeAction, bool)>,
) -> Outcome {
    let progress = Arc::new(AtomicU16::new(0));
    let before = {
        let mut state = unit.state.lock();
        match sanitize {
            Some((action, unrestricted_exit)) => state.condition.accepts(action, unrestricted_exit)?,
            None => state.condition.readiness()?,
        }
        let running = Condition::Running { plan: plan.clone(), progress: progress.clone() };
        let before = std::mem::replace(&mut state.condition, running);
        state.operating = true;
        unit.settle(&state);
        before
    };
    let (begun, has_begun) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    tokio::spawn({
        let unit = unit.clone();
        async move {
            if let Err(failure) = record(&unit, Some(&plan)).await {
                tracing::error!(lu = %unit.options.name, ?failure, "sanitize or format not started");
                unit.end_operation(before);
                return drop(begun.send(Err(failure)));
            }
            drop(begun.send(Ok(())));
            // Writes that were let in before are done, and later ones are refused.
            drop(unit.gate.alone().await);
            let weak = Arc::downgrade(&unit);
            drop(unit);
            drop(done.send(run(weak, plan, progress).await));
        }
    });
    let lost = |_| Failure::from(Sense::hardware_error());
    has_begun.await.map_err(lost)??;
    if !immediate {
        is_done.await.map_err(lost)??;
    }
    Ok(Payload::default())
}

/// Go on with what a stop of the program, or of the peer, interrupted: from the beginning, as nothing says how far it came.
pub(super) fn resume(unit: &Arc<LogicalUnit>) {
    let (plan, progress) = {
        let mut state = unit.state.lock();
        let Condition::Running { plan, progress } = &state.condition else { return };
        let found = (plan.clone(), progress.clone());
        // Which node does it is not decided yet, or it is done already.
        if state.port_groups.standing() != Standing::Active || std::mem::replace(&mut state.operating, true) {
            return;
        }
        found
    };
    tracing::warn!(lu = %unit.options.name, "an interrupted sanitize or format operation starts again");
    let unit = Arc::downgrade(unit);
    tokio::spawn(async move { drop(run(unit, plan, progress).await) });
}

async fn run(weak: Weak<LogicalUnit>, plan: Plan, progress: Arc<AtomicU16>) -> Result<(), Sense> {
    let ended = passes(&weak, &plan, &progress).await;
    let Some(unit) = weak.upgrade() else { return Err(Sense::hardware_error()) };
    match ended {
        Ok(()) => {
            // Until the record is gone the operation is not over: it would start again.
            if let Err(failure) = record(&unit, None).await {
                tracing::error!(lu = %unit.options.name, ?failure, "sanitize or format finished, but may be repeated");
            }
            unit.end_operation(Condition::Idle);
            Ok(())
        }
        Err(Ended::Abandoned) => {
            unit.state.lock().operating = false;
            // The peer may have given it back already.
            resume(&unit);
            Err(Sense::not_ready(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE))
        }
        Err(Ended::Failed(error)) if !plan.is_sanitize() => {
            tracing::error!(lu = %unit.options.name, %error, "format failed");
            unit.end_operation(Condition::Idle);
            unit.tell_soon(twin::Kind::Operation);
            Err(Sense::hardware_error())
        }
        Err(Ended::Failed(error)) => {
            tracing::error!(lu = %unit.options.name, %error, "sanitize failed");
            let unrestricted_exit = plan.unrestricted_exit;
            if let Err(failure) = record(&unit, Some(&Plan { failed: true, ..plan })).await {
                tracing::error!(lu = %unit.options.name, ?failure, "the failure of sanitize was not recorded");
            }
            unit.end_operation(Condition::Failed { unrestricted_exit });
            Err(Sense::sanitize_failed())
        }
    }
}

async fn passes(weak: &Weak<LogicalUnit>, plan: &Plan, progress: &AtomicU16) -> Result<(), Ended> {
    let block_length = weak.upgrade().ok_or(Ended::Abandoned)?.device.block_length();
    let patterns = plan.patterns(block_length).expect("a plan is checked before it is one");
    if patterns.is_empty() {
        sweep(weak, progress, (0, 1), Fill::Nothing, Duration::ZERO).await?;
    }
    let count = patterns.len() as u64;
    for (pass, block) in patterns.iter().enumerate() {
        let data = block.repeat((OVERWRITE_BYTES >> block_length.shift()) as usize).into();
        let pace = if plan.is_sanitize() { OVERWRITE_DURATION_MIN / count as u32 } else { Duration::ZERO };
        sweep(weak, progress, (pass as u64, count), Fill::Data(data), pace).await?;
    }
    match plan.is_sanitize() {
        true => other_copy(weak).await,
        false => Ok(()),
    }
}

/// A medium is not sanitized while its data is on another: where the peer is away the operation goes on until it has come
/// back and has followed.
async fn other_copy(weak: &Weak<LogicalUnit>) -> Result<(), Ended> {
    let mut told = false;
    loop {
        {
            let unit = weak.upgrade().ok_or(Ended::Abandoned)?;
            if unit.counterpart.as_ref().is_none_or(|counterpart| counterpart.is_alike()) {
                return Ok(());
            }
            if unit.state.lock().port_groups.standing() != Standing::Active {
                return Err(Ended::Abandoned);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(lu = %unit.options.name, "sanitized here; it ends once the peer's copy is sanitized too");
            }
        }
        tokio::time::sleep(PEER_PAUSE).await;
    }
}

/// What the blocks are after a pass.
enum Fill {
    /// Unmapped, or zero.
    Nothing,
    /// `OVERWRITE_BYTES` of data, over and over.
    Data(Bytes),
}

impl Fill {
    fn piece_bytes(&self) -> u64 {
        match self {
            Fill::Nothing => ERASE_BYTES,
            Fill::Data(_) => OVERWRITE_BYTES,
        }
    }

    async fn fill(&self, unit: &LogicalUnit, piece: Extent) -> Result<(), BlockError> {
        match self {
            Fill::Nothing if unit.options.thin => unit.device.unmap(piece).await,
            Fill::Nothing => unit.device.write_zeroes(piece, Allocation::Keep, Durability::Cached).await,
            Fill::Data(data) => {
                let data = data.slice(..piece.byte_length(unit.device.block_length()) as usize);
                unit.device.write(piece, data.into(), Durability::Cached).await
            }
        }
    }
}

/// Fill every piece, then flush; not in less time than `duration_min`.
async fn sweep(
    weak: &Weak<LogicalUnit>,
    progress: &AtomicU16,
    (pass, passes): (u64, u64),
    fill: Fill,
    duration_min: Duration,
) -> Result<(), Ended> {
    let unit = weak.upgrade().ok_or(Ended::Abandoned)?;
    let capacity = unit.device.capacity();
    let pieces = BlockCount(fill.piece_bytes() >> unit.device.block_length().shift());
    drop(unit);
    let whole = Extent::new(Lba(0), capacity, capacity).expect("the whole capacity fits the capacity");
    let began = Instant::now();
    for piece in whole.pieces(pieces) {
        {
            let unit = weak.upgrade().ok_or(Ended::Abandoned)?;
            patiently(|| fill.fill(&unit, piece), || false).await?;
        }
        let done = piece.end().0 as f64 / capacity.0 as f64;
        progress.store(((pass as f64 + done) / passes as f64 * 65535.0) as u16, Ordering::Relaxed);
        tokio::time::sleep_until(began + duration_min.mul_f64(done)).await;
    }
    let unit = weak.upgrade().ok_or(Ended::Abandoned)?;
    Ok(patiently(|| unit.device.flush(), || false).await?)
}

async fn exit_failure_mode(unit: &Arc<LogicalUnit>) -> Outcome {
    unit.state.lock().condition.accepts(SanitizeAction::ExitFailureMode, false)?;
    record(unit, None).await?;
    unit.end_operation(Condition::Idle);
    Ok(Payload::default())
}

/// What is under way, for the next start of the program and for the peer. A format ends with the program.
async fn record(unit: &Arc<LogicalUnit>, plan: Option<&Plan>) -> Result<(), Failure> {
    let _turn = unit.turn.lock().await;
    let kept = plan.filter(|plan| plan.is_sanitize()).cloned();
    let recorded = unit.with_store(move |store, name| match kept {
        Some(plan) => store.write(name, RecordKind::Sanitize, &plan),
        None => store.remove(name, RecordKind::Sanitize),
    });
    if let Err(error) = recorded.await {
        tracing::error!(lu = %unit.options.name, %error, "not recorded");
        return Err(Sense::hardware_error().into());
    }
    unit.tell_this(twin::Kind::Operation, twin::told_operation(plan)).await
}

impl LogicalUnit {
    fn end_operation(&self, condition: Condition) {
        let mut state = self.state.lock();
        state.condition = condition;
        state.operating = false;
        self.settle(&state);
    }
}
