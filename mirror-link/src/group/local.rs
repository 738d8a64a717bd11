//! What a replica wants done on the local devices.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::block::{Allocation, BlockDevice, BlockError, Durability, Eventually, Io};
use crate::ids::VolumeIndex;
use crate::replica::io::LocalAction;

/// The group's devices in order of volume index.
#[derive(Debug)]
pub(super) struct Devices(Vec<Arc<dyn BlockDevice>>);

impl Devices {
    pub fn new(devices: Vec<Arc<dyn BlockDevice>>) -> Devices {
        Devices(devices)
    }

    pub fn get(&self, volume: VolumeIndex) -> Result<&Arc<dyn BlockDevice>, BlockError> {
        self.0.get(usize::from(volume.0)).ok_or(BlockError::OutOfRange)
    }

    /// Anything but `LocalAction::Read` and `Digest`, which have another answer.
    pub fn change(&self, action: LocalAction) -> Io<()> {
        match action {
            LocalAction::Write { volume, extent, data, durability } => {
                self.on(volume, |device| device.write(extent, data, durability))
            }
            LocalAction::WriteZeroes { volume, extent, allocation, durability } => {
                self.on(volume, |device| device.write_zeroes(extent, allocation, durability))
            }
            // Where the owner's device gives space back and ours can't: both read as zeroes afterwards.
            LocalAction::Unmap { volume, extent } => self.on(volume, |device| match device.capabilities().unmap {
                true => device.unmap(extent),
                false => device.write_zeroes(extent, Allocation::MayRelease, Durability::Cached),
            }),
            LocalAction::Flush { volume: Some(volume) } => self.on(volume, |device| device.flush()),
            LocalAction::Flush { volume: None } => self.flush(),
            LocalAction::Read { volume, extent } | LocalAction::Digest { volume, extent } => {
                debug_assert!(false, "a read of {extent} on volume {volume} changes nothing");
                Eventually::Now(Ok(()))
            }
        }
    }

    pub fn begin_anew(&self) {
        self.0.iter().for_each(|device| device.begin_anew());
    }

    fn on(&self, volume: VolumeIndex, act: impl FnOnce(&dyn BlockDevice) -> Io<()>) -> Io<()> {
        match self.get(volume) {
            Ok(device) => act(&**device),
            Err(error) => Eventually::Now(Err(error)),
        }
    }

    /// Every volume, all at once; the first failure counts.
    fn flush(&self) -> Io<()> {
        let (mut result, mut later) = (Ok(()), Vec::new());
        for device in &self.0 {
            match device.flush() {
                Eventually::Now(flushed) => result = result.and(flushed),
                Eventually::Later(future) => later.push(future),
            }
        }
        if later.is_empty() {
            return Eventually::Now(result);
        }
        Eventually::later(async move { join_all(later).await.into_iter().fold(result, Result::and) })
    }
}
