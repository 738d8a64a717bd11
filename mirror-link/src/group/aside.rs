//! Before a resync overwrites a copy: the whole of it by reflink where its file system can, and the blocks that the source may
//! lack in an undo store. After it: the clone is removed, and of the undo store what turned out to be alike.
//!
//! Nothing here can fail a resync: what can't be kept is told, and the resync goes on.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::Group;
use super::keepers::Signals;
use super::zeroes::all_zero;
use crate::block::{BlockDevice, BlockError};
use crate::config::GroupConfig;
use crate::extent::{BlockCount, Extent, Lba};
use crate::ids::VolumeIndex;
use crate::replica::io::{Input, KeepAside, Why};
use crate::store::snapshot::{self, Snapshot};
use crate::store::undo::{self, Header, Piece, Undo, UndoError, Writer};
use crate::store::{Place, StoreError};

#[derive(Debug)]
pub(super) enum Order {
    Keep(Box<KeepAside>),
    /// The copy is UpToDate by a resync.
    Settle,
}

pub(super) async fn keep_asides(
    group: Weak<Group>,
    signals: Arc<Signals>,
    place: Arc<Place>,
    config: GroupConfig,
    devices: Vec<Arc<dyn BlockDevice>>,
) {
    let keeper = Arc::new(Keeper { group: group.clone(), place, config, devices });
    loop {
        let Some(orders) = group.upgrade().map(|group| std::mem::take(&mut group.core.lock().asides)) else { return };
        if orders.is_empty() {
            signals.asides.notified().await;
            continue;
        }
        for order in orders {
            match order {
                Order::Keep(keep) => {
                    let resync = keep.copy.resync;
                    let keeper = keeper.clone();
                    let kept = spawn_blocking(move || Handle::current().block_on(keeper.keep(&keep))).await;
                    let Some(group) = group.upgrade() else { return };
                    if let Err(error) = kept {
                        tracing::error!(group = %group.config.name, %error, "what a resync overwrites could not be put aside");
                    }
                    group.input(Input::Kept { resync });
                }
                Order::Settle => {
                    let keeper = keeper.clone();
                    // Tried again when the next resync is done.
                    spawn_blocking(move || Handle::current().block_on(keeper.settle())).await.ok();
                }
            }
        }
    }
}

struct Keeper {
    group: Weak<Group>,
    place: Arc<Place>,
    config: GroupConfig,
    devices: Vec<Arc<dyn BlockDevice>>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Undo(#[from] UndoError),
    #[error("{0} can't be read: {1}")]
    Device(Arc<str>, BlockError),
    #[error("the process ends")]
    Ends,
}

impl Keeper {
    async fn keep(&self, keep: &KeepAside) {
        if self.config.aside.snapshot {
            self.snapshot(keep);
        }
        if self.config.aside.undo_max == 0 || keep.copy.why == Why::Behind || keep.pieces.is_empty() {
            return;
        }
        let group = &self.config.name;
        match self.put_aside(keep).await {
            Ok(None) => (),
            Ok(Some((path, left_out_bytes))) => {
                let why = told(keep.copy.why);
                tracing::warn!(
                    %group, path = %path.display(), generation = %keep.copy.generation,
                    "{why}: before the resync, blocks that this node may have written alone were put aside"
                );
                if left_out_bytes > 0 {
                    tracing::error!(
                        %group, left_out_bytes,
                        "not all of them: what was left out is more than `undo.max` leaves room for, and is overwritten"
                    );
                }
            }
            Err(Failure::Ends) => (),
            Err(error) => tracing::error!(
                %group, %error,
                "what this node wrote alone could not be put aside, and is overwritten by the resync all the same"
            ),
        }
    }

    /// `None`: it was done before.
    async fn put_aside(&self, keep: &KeepAside) -> Result<Option<(PathBuf, u64)>, Failure> {
        self.expire()?;
        let directory = self.place.path();
        if undo::of_resync(directory, &keep.copy)?.is_some() {
            return Ok(None);
        }
        let room = self.config.aside.undo_max.saturating_sub(undo::brief(directory)?.1);
        let mut writer = Writer::create(directory, &self.header(keep))?;
        // Of data: zeroes take next to nothing.
        let (mut stored, mut left_out) = (0, keep.left_out_bytes);
        for &(volume, extent) in &keep.pieces {
            for part in parts(extent, self.block_bytes(volume)) {
                let bytes = part.blocks().0 * self.block_bytes(volume);
                if stored + bytes > room {
                    left_out += bytes;
                    continue;
                }
                let data = self.read(volume, part).await?;
                stored += data.as_ref().map_or(0, |data| data.len() as u64);
                let at = part.lba().0 * self.block_bytes(volume);
                writer.append(volume.0, at, bytes as u32, data.as_deref())?;
            }
        }
        let sealed = writer.seal(left_out)?;
        Ok(Some((sealed, left_out)))
    }

    fn header(&self, keep: &KeepAside) -> Header {
        let volumes = self.config.volumes.iter().map(|volume| undo::Volume {
            name: volume.name.clone(),
            block_bytes: volume.block_length.bytes(),
            bytes: volume.capacity.0 << volume.block_length.shift(),
        });
        Header {
            group: self.config.name.to_string(),
            volumes: volumes.collect(),
            copy: keep.copy,
            taken: undo::now(),
            settled: false,
        }
    }

    fn expire(&self) -> Result<(), UndoError> {
        for name in undo::expire(self.place.path(), self.config.aside.undo_keep)? {
            tracing::info!(group = %self.config.name, name, "an undo store has been kept for `undo.keep`, and is removed");
        }
        Ok(())
    }

    fn block_bytes(&self, volume: VolumeIndex) -> u64 {
        u64::from(self.config.volumes[usize::from(volume.0)].block_length.bytes())
    }

    /// `None`: zeroes.
    async fn read(&self, volume: VolumeIndex, extent: Extent) -> Result<Option<BytesMut>, Failure> {
        if self.group.strong_count() == 0 {
            return Err(Failure::Ends);
        }
        let device = &self.devices[usize::from(volume.0)];
        if device.is_unmapped(extent).await.unwrap_or(false) {
            return Ok(None);
        }
        let length = extent.byte_length(device.block_length()) as usize;
        let read = device.read(extent, BytesMut::with_capacity(length)).await;
        let name = || self.config.volumes[usize::from(volume.0)].name.clone();
        let bytes = read.map_err(|error| Failure::Device(name(), error))?;
        Ok((!all_zero(&bytes)).then_some(bytes))
    }

    // The whole copy.

    fn snapshot(&self, keep: &KeepAside) {
        let group = &self.config.name;
        let (directory, copy) = (self.place.path(), keep.copy);
        let make = || {
            let former = snapshot::load(directory)?;
            if let Some(former) = former {
                if former.resync == copy.resync {
                    return Ok(ControlFlow::Break(()));
                }
                snapshot::remove(directory, &former)?;
            }
            let mut made =
                Snapshot { resync: copy.resync, generation: copy.generation, taken: undo::now(), files: Vec::new() };
            for device in &self.devices {
                match device.clone_beside(snapshot::SUFFIX) {
                    Ok(path) => made.files.push(path),
                    Err(error) => {
                        snapshot::remove(directory, &made)?;
                        return Ok(ControlFlow::Continue(Err((device.origin().object, error))));
                    }
                }
            }
            snapshot::save(directory, &made).inspect_err(|_| drop(snapshot::remove(directory, &made)))?;
            Ok(ControlFlow::Continue(Ok(made)))
        };
        let made: Result<_, StoreError> = make();
        match made {
            Ok(ControlFlow::Break(())) => (),
            Ok(ControlFlow::Continue(Ok(made))) => tracing::info!(
                %group, files = ?made.files, generation = %made.generation,
                "before the resync its files were cloned: a whole copy is there until this one is UpToDate again"
            ),
            Ok(ControlFlow::Continue(Err((object, error)))) if can_not(&error) => tracing::info!(
                %group,
                "{object} can't be cloned where it lies (reflink): while the resync lasts there is no whole copy on this node"
            ),
            Ok(ControlFlow::Continue(Err((object, error)))) => tracing::error!(
                %group, %error,
                "{object} could not be cloned: while the resync lasts there is no whole copy on this node"
            ),
            Err(error) => tracing::error!(
                %group, %error,
                "no clone of the copy could be kept: while the resync lasts there is no whole copy on this node"
            ),
        }
    }

    // Afterwards.

    async fn settle(&self) {
        let group = &self.config.name;
        let directory = self.place.path();
        let remove = || {
            let found = snapshot::load(directory)?;
            found.map_or(Ok(false), |snapshot| snapshot::remove(directory, &snapshot).map(|()| true))
        };
        match remove() {
            Ok(true) => tracing::info!(%group, "the copy is whole again: its clone of before the resync is removed"),
            Ok(false) => (),
            Err(error) => tracing::error!(%group, %error, "the clone of before the resync could not be removed"),
        }
        let found = undo::all(directory).map_err(Failure::from);
        let unsettled = found.map(|found| found.into_iter().flatten().filter(|undo| !undo.header.settled).collect());
        let settled = match unsettled {
            Ok(unsettled) => self.settle_all(unsettled).await,
            Err(error) => Err(error),
        };
        if let Err(error) = settled
            && !matches!(error, Failure::Ends)
        {
            tracing::error!(%group, %error, "an undo store still holds blocks that the copy has as well");
        }
    }

    async fn settle_all(&self, unsettled: Vec<Undo>) -> Result<(), Failure> {
        let group = &self.config.name;
        for undo in unsettled {
            // Of volumes that were of other sizes then: nobody can compare.
            let is_of_these = undo.header.volumes.len() == self.config.volumes.len();
            if undo.is_torn || !is_of_these {
                continue;
            }
            match self.without_what_is_alike(&undo).await? {
                (0, _) => tracing::info!(
                    %group, name = undo.name,
                    "nothing was lost: all that this node had written alone is in the copy as it is now"
                ),
                (bytes, ranges) => tracing::warn!(
                    %group, name = undo.name, bytes, ranges,
                    "{}: what this node had written alone is no longer in the copy; lunmirrorctl undo list {group} shows it",
                    told(undo.header.copy.why)
                ),
            }
        }
        Ok(())
    }

    /// What is left of it: bytes, ranges.
    async fn without_what_is_alike(&self, undo: &Undo) -> Result<(u64, u64), Failure> {
        let header = Header { settled: true, ..undo.header.clone() };
        let mut writer = Writer::create(self.place.path(), &header)?;
        let (mut bytes, mut ranges, mut end) = (0, 0, None);
        for piece in &undo.pieces {
            let volume = VolumeIndex(piece.volume);
            let damaged = || UndoError::Damaged { path: undo.path.clone(), cause: "a piece's data is damaged".into() };
            let then = undo.read(piece)?.ok_or_else(damaged)?;
            let Some(extent) = self.extent(piece) else { continue };
            let now = self.read(volume, extent).await?.unwrap_or_else(|| BytesMut::zeroed(then.len()));
            for (at, run) in differing(&then, &now, self.block_bytes(volume) as usize) {
                let at = piece.at + at as u64;
                let data = (!all_zero(run)).then_some(run);
                writer.append(piece.volume, at, run.len() as u32, data)?;
                bytes += run.len() as u64;
                ranges += u64::from(end != Some((piece.volume, at)));
                end = Some((piece.volume, at + run.len() as u64));
            }
        }
        if bytes == 0 && undo.left_out_bytes == 0 {
            undo::remove(self.place.path(), &undo.name)?;
            return Ok((0, 0));
        }
        let left_out = undo.left_out_bytes;
        writer.seal(left_out)?;
        Ok((bytes, ranges))
    }

    fn extent(&self, piece: &Piece) -> Option<Extent> {
        let volume = self.config.volumes.get(usize::from(piece.volume))?;
        let shift = volume.block_length.shift();
        Extent::new(Lba(piece.at >> shift), BlockCount(u64::from(piece.bytes) >> shift), volume.capacity).ok()
    }
}

/// Runs of blocks that are not the same in both: where, and what `then` has there.
fn differing<'a>(then: &'a [u8], now: &[u8], block: usize) -> Vec<(usize, &'a [u8])> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (at, (then, now)) in then.chunks(block).zip(now.chunks(block)).enumerate() {
        match runs.last_mut() {
            _ if then == now => (),
            Some((_, end)) if *end == at * block => *end += then.len(),
            _ => runs.push((at * block, at * block + then.len())),
        }
    }
    runs.into_iter().map(|(at, end)| (at, &then[at..end])).collect()
}

/// In parts of at most `PART` bytes.
fn parts(extent: Extent, block_bytes: u64) -> impl Iterator<Item = Extent> {
    let (step, end) = (PART / block_bytes, extent.end().0);
    (extent.lba().0..end).step_by(step as usize).map(move |lba| {
        let blocks = BlockCount(step.min(end - lba));
        Extent::new(Lba(lba), blocks, BlockCount(end)).expect("a part of an extent")
    })
}

fn told(why: Why) -> &'static str {
    match why {
        Why::SplitBrain => "the other copy was chosen in a split brain",
        Why::Behind | Why::RolledBack => "rolled back to the other node's copy",
    }
}

/// No fault of anybody's: another file system, or no file.
fn can_not(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let raw = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == io::ErrorKind::Unsupported
        || matches!(raw, Some(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS))
}

/// Read at a time.
const PART: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_differ_are_found_in_runs() {
        let then = [[1; 4], [2; 4], [3; 4], [4; 4]].concat();
        let now = [[1; 4], [0; 4], [0; 4], [4; 4]].concat();
        assert_eq!(differing(&then, &now, 4), [(4, &then[4..12])]);
        assert!(differing(&then, &then, 4).is_empty());
        assert_eq!(differing(&then, &[0; 16], 4).len(), 1);
    }

    #[test]
    fn an_extent_is_read_in_parts() {
        let extent = Extent::new(Lba(5), BlockCount(1030), BlockCount(9999)).unwrap();
        let found: Vec<_> = parts(extent, 512).map(|part| (part.lba().0, part.blocks().0)).collect();
        assert_eq!(found, [(5, 512), (517, 512), (1029, 6)]);
    }
}
