//! READ and SYNCHRONIZE CACHE.

use std::sync::Arc;

use bytes::BytesMut;

use super::read_failed;
use crate::block::{Eventually, Extent};
use crate::lu::command::CommandComplete;
use crate::lu::device_error::{self, Direction, Failure};
use crate::lu::gate::Shared;
use crate::lu::unit::LogicalUnit;

pub(crate) fn read(unit: Arc<LogicalUnit>, extent: Extent, buffer: BytesMut) -> Eventually<CommandComplete> {
    unit.statistics.reads.add(1);
    unit.statistics.read.add(extent.byte_length(unit.device.block_length()));
    if extent.is_empty() {
        return Eventually::Now(CommandComplete::good());
    }
    // "An atomic write command … shall be … atomic with respect to … read operations" (SBC-4 §4.29): a read does not run beside
    // one.
    match unit.gate.try_share() {
        Some(pass) => read_inside(unit, pass, extent, buffer),
        None => Eventually::later(async move {
            let pass = unit.gate.share().await;
            read_inside(unit, pass, extent, buffer).await
        }),
    }
}

fn read_inside(unit: Arc<LogicalUnit>, pass: Shared, extent: Extent, buffer: BytesMut) -> Eventually<CommandComplete> {
    let data = unit.device.read(extent, buffer);
    data.map(move |data| {
        drop(pass);
        unit.complete(data.map(Into::into).map_err(read_failed(extent)))
    })
}

/// The whole cache: finer is not worth telling apart. IMMED: "return status as soon as the CDB has been validated".
pub(crate) fn synchronize(unit: Arc<LogicalUnit>, extent: Extent, immediate: bool) -> Eventually<CommandComplete> {
    let flushed = unit.device.flush();
    if !immediate {
        return flushed.map(move |done| unit.complete(done.map(|()| Default::default()).map_err(flush_failed(extent))));
    }
    if let Eventually::Later(flush) = flushed {
        tokio::spawn(async move {
            if let Err(error) = flush.await {
                tracing::error!(lu = %unit.options.name, %error, "flush failed behind an immediate SYNCHRONIZE CACHE");
            }
        });
    }
    Eventually::Now(CommandComplete::good())
}

pub(super) fn flush_failed(extent: Extent) -> impl Fn(crate::block::BlockError) -> Failure {
    move |error| device_error::failure(error, Direction::Write, extent)
}
