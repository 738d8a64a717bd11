//! From a configuration to a group at work.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::time::Instant;

use parking_lot::{Mutex, ReentrantMutex};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::api::reads;
use super::core::Core;
use super::digest::DIGESTS_MAX;
use super::keepers::{self, Signals};
use super::local::Devices;
use super::restore::{restore, restore_map};
use super::unfinished::{self, Unfinished};
use super::{Group, Observer, aside};
use crate::block::BlockDevice;
use crate::config::{GroupConfig, VolumeSpec};
use crate::ids::{GroupName, Instance, NodeName};
use crate::replica::io::{Left, Record};
use crate::replica::{self, Replica};
use crate::store::{Journal, MapFile, Place, RecordStore, StoreError};
use crate::wire::datagram::GroupTag;
use crate::wire::message::{DiskState, Role};

/// Why a group could not start.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("group {group}: {source}")]
    Store { group: GroupName, source: StoreError },
    #[error("group {group}: volume {volume}: {cause}")]
    Volume { group: GroupName, volume: Arc<str>, cause: String },
    #[error("group {group}: {cause}")]
    Process { group: GroupName, cause: String },
}

/// What is kept in files, opened.
struct Files {
    records: RecordStore,
    left: Option<Left>,
    map_file: MapFile,
    journal_file: Journal,
    place: Arc<Place>,
    /// No resync of this copy is under way.
    is_done: bool,
}

impl Group {
    /// Restore the record (or make the first) and start. `devices` in order of volume index. Runs on the calling runtime,
    /// and ends with the last `Arc`.
    pub async fn start(
        config: GroupConfig,
        node: NodeName,
        instance: Instance,
        state_dir: &Path,
        devices: Vec<Arc<dyn BlockDevice>>,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<Group>, GroupError> {
        check_devices(&config, &devices)?;
        let files = open(&config, state_dir, &devices).await?;
        let seed = getrandom::u64().map_err(|error| GroupError::Process {
            group: config.name.clone(),
            cause: format!("the kernel gives no random numbers: {error}"),
        })?;
        let now = Instant::now();
        let replica = Replica::new(config.clone(), node, instance, seed, files.left, now);
        let group = Arc::new(Group {
            tag: GroupTag::of(&config.name),
            config: config.clone(),
            place: files.place.clone(),
            core: Mutex::new(Core::new(replica, now)),
            reads: AtomicU8::new(reads::LOOK_CLOSER),
            times_reads: AtomicBool::new(false),
            devices: Devices::new(devices.clone()),
            digests: Arc::new(Semaphore::new(DIGESTS_MAX)),
            observer,
            observing: ReentrantMutex::new(()),
            signals: Arc::new(Signals::default()),
            unfinished: Arc::new(Unfinished::default()),
            runtime: Handle::current(),
        });
        if files.is_done {
            // Should the last process have ended before it was seen to.
            group.core.lock().asides.push(aside::Order::Settle);
        }
        let (weak, signals) = (Arc::downgrade(&group), &group.signals);
        group.runtime.spawn(keepers::keep_records(weak.clone(), signals.clone(), files.records));
        group.runtime.spawn(keepers::keep_map(weak.clone(), signals.clone(), files.map_file));
        group.runtime.spawn(keepers::keep_journal(weak.clone(), signals.clone(), files.journal_file));
        let kept = aside::keep_asides(weak.clone(), signals.clone(), files.place, config, devices);
        group.runtime.spawn(kept);
        group.runtime.spawn(keepers::keep_time(weak.clone(), signals.clone()));
        group.runtime.spawn(unfinished::finish(weak, group.unfinished.clone()));
        group.turn(|_| (), |_, ()| ());
        Ok(group)
    }
}

/// The devices are what the replica will take them for.
fn check_devices(config: &GroupConfig, devices: &[Arc<dyn BlockDevice>]) -> Result<(), GroupError> {
    assert_eq!(config.volumes.len(), devices.len(), "the caller has a device for each volume");
    for (volume, device) in config.volumes.iter().zip(devices) {
        if let Some(cause) = unfit(volume, &**device) {
            return Err(GroupError::Volume { group: config.name.clone(), volume: volume.name.clone(), cause });
        }
    }
    Ok(())
}

fn unfit(volume: &VolumeSpec, device: &dyn BlockDevice) -> Option<String> {
    let (length, capacity) = (device.block_length(), device.capacity());
    if length != volume.block_length {
        let (found, wanted) = (length.bytes(), volume.block_length.bytes());
        return Some(format!("its blocks have {found} bytes, {wanted} are configured; give it the same `block_size`"));
    }
    if capacity < volume.capacity {
        let (found, wanted) = (capacity.0, volume.capacity.0);
        return Some(format!("it has {found} blocks, {wanted} are configured; enlarge it or give a smaller `size`"));
    }
    device.capabilities().read_only.then(|| "it is read-only, and a mirror must write it; remove `read_only`".into())
}

async fn open(config: &GroupConfig, state_dir: &Path, devices: &[Arc<dyn BlockDevice>]) -> Result<Files, GroupError> {
    let (config, state_dir, devices) = (config.clone(), state_dir.to_owned(), devices.to_vec());
    let group = config.name.clone();
    let opened = spawn_blocking(move || {
        let of_store = |source| GroupError::Store { group: config.name.clone(), source };
        let place = Place::claim(&state_dir, &config.name).map_err(of_store)?;
        let (records, recorded) = restore(&place, &config, &devices)?;
        let (map_file, map, is_of_these_volumes) =
            restore_map(&place, &config, recorded.is_some()).map_err(of_store)?;
        // Of another reign, of other volumes, or of a copy that is no good: nothing is to be sent.
        let is_fit = |record: &&Record| !matches!(record.disk, DiskState::Failed | DiskState::Inconsistent);
        let reigned = recorded.as_ref().map(|(record, _)| record).filter(|record| record.role == Role::Primary);
        let reigned = reigned.filter(is_fit).filter(|_| is_of_these_volumes);
        let (journal_file, journal) = match reigned {
            Some(record) => {
                let writes_max = replica::journal::writes_max(config.queue.memory);
                Journal::open(&place, config.queue.spill, record.epoch, writes_max).map_err(of_store)?
            }
            None => (Journal::new(&place, config.queue.spill).map_err(of_store)?, None),
        };
        let left = recorded.map(|(record, has_cache)| Left { record, map, journal, has_cache });
        let is_done = left
            .as_ref()
            .is_none_or(|left| left.record.role == Role::Secondary && left.record.disk != DiskState::Inconsistent);
        Ok(Files { records, left, map_file, journal_file, place, is_done })
    });
    match opened.await {
        Ok(opened) => opened,
        Err(error) => Err(GroupError::Process { group, cause: format!("its files could not be opened: {error}") }),
    }
}
