//! From configured volumes to open devices, groups at work and logical units.
//!
//! ```text
//!   devices ──► groups (started: they restore their records) ──► logical units, over the device or over its mirror
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mirror_link::config::{GroupConfig, VolumeSpec};
use mirror_link::group::{Group, GroupError};
use mirror_link::ids::{Instance, VolumeIndex};
use uuid::Uuid;

use super::catalog::{CatalogFaults, Fault, Volume};
use super::config::{self, Config, GroupName, VolumeConfig, VolumeName};
use super::front::Front;
use super::identity;
use super::mirrored::{self, VolumeGroup};
use crate::block::{self, BlockDevice};
use crate::lu::LogicalUnit;
use crate::lu::options::LuOptions;
use crate::lu::persist::{Identity, StateError, StateStore, UnitName};
use crate::volume::MirroredVolume;

/// Threads that open volumes: opening waits for disks (a first start makes one record a volume, and syncs it).
const OPENERS: usize = 16;

type Devices = BTreeMap<VolumeName, Arc<dyn BlockDevice>>;

/// What is open.
#[derive(Debug)]
pub struct Opened {
    pub config: Config,
    pub volumes: BTreeMap<VolumeName, Arc<Volume>>,
    pub groups: BTreeMap<GroupName, Arc<Group>>,
}

/// Open the volumes of these names, and start the groups that they make: all, or none.
pub async fn open(config: Config, names: Vec<VolumeName>, instance: Instance) -> Result<Opened, CatalogFaults> {
    let volumes = config.volumes.iter().filter(|(name, _)| names.contains(name));
    let wanted = mirrored::groups(volumes).map_err(|disagreements| {
        CatalogFaults(disagreements.iter().map(|each| Fault::of_volume(&each.volume, each)).collect())
    })?;
    let config = Arc::new(config);
    let devices = in_parallel(&config, &names, |config, name| {
        block::open(&store_spec(&config.volumes[name])).map_err(|error| Fault::of_volume(name, error))
    })
    .await?;
    let devices: Arc<Devices> = Arc::new(devices);
    let mut groups = Groups::default();
    for (name, group) in &wanted {
        if let Err(fault) = groups.start(&config, name, group, instance, &devices).await {
            groups.end().await;
            return Err(CatalogFaults(vec![fault]));
        }
    }
    let state = StateStore::directory(&config.state_dir);
    let places = groups.places.clone();
    let made = in_parallel(&config, &names, move |config, name| {
        make_unit(config, name, devices[name].clone(), places.get(name), &state)
    })
    .await;
    let volumes: BTreeMap<VolumeName, Arc<Volume>> = match made {
        Ok(volumes) => volumes,
        Err(faults) => {
            groups.end().await;
            return Err(faults);
        }
    };
    for (name, group) in &wanted {
        let units: Vec<_> = group.volumes.iter().map(|volume| Arc::clone(&volumes[volume].unit)).collect();
        groups.fronts[name].attach(&units);
    }
    let config = Arc::try_unwrap(config).expect("the openers have ended");
    Ok(Opened { config, volumes, groups: groups.started })
}

/// Groups as they are started.
#[derive(Default)]
struct Groups {
    started: BTreeMap<GroupName, Arc<Group>>,
    fronts: BTreeMap<GroupName, Arc<Front>>,
    places: BTreeMap<VolumeName, (Arc<Group>, VolumeIndex)>,
}

impl Groups {
    async fn start(
        &mut self,
        config: &Config,
        name: &GroupName,
        group: &VolumeGroup,
        instance: Instance,
        devices: &Devices,
    ) -> Result<(), Fault> {
        let front = Front::new(name.clone());
        let of_group: Vec<_> = group.volumes.iter().map(|volume| devices[volume].clone()).collect();
        let spec = |(volume, device): (&VolumeName, &Arc<dyn BlockDevice>)| VolumeSpec {
            name: volume.clone(),
            block_length: device.block_length(),
            capacity: device.capacity(),
        };
        let group_config = GroupConfig {
            name: name.clone(),
            peer: group.mirror.peer.clone(),
            volumes: group.volumes.iter().zip(&of_group).map(spec).collect(),
            first_role: group.mirror.first_role,
            policy: group.mirror.policy,
            queue: group.mirror.queue,
            map: group.mirror.map,
            scrub: group.mirror.scrub,
            initial_sync: group.mirror.initial_sync,
            aside: group.mirror.aside,
            lease: config.peers[&group.mirror.peer].heartbeat.timeout,
        };
        let node = config.node.as_str().into();
        let started = Group::start(group_config, node, instance, &config.state_dir, of_group, front.clone())
            .await
            .map_err(|error| fault_of_group(name, error))?;
        for (index, volume) in (0..).map(VolumeIndex).zip(&group.volumes) {
            self.places.insert(volume.clone(), (started.clone(), index));
        }
        self.fronts.insert(name.clone(), front);
        self.started.insert(name.clone(), started);
        Ok(())
    }

    /// What was begun comes to nothing after all.
    async fn end(self) {
        for group in self.started.into_values() {
            if let Err(refusal) = group.command(mirror_link::replica::io::Command::Shutdown).await {
                tracing::error!(group = %group.config().name, %refusal, "a group did not end in good order");
            }
        }
    }
}

fn fault_of_group(name: &GroupName, error: GroupError) -> Fault {
    match error {
        GroupError::Volume { volume, cause, .. } => Fault::of_volume(&volume, cause),
        error @ GroupError::Store { .. } => Fault { place: "state_dir".into(), cause: error.to_string() },
        GroupError::Process { cause, .. } => Fault { place: format!("group {name}"), cause },
    }
}

/// Do it for each name, on a few threads; all of it, or every fault.
async fn in_parallel<T: Send + 'static>(
    config: &Arc<Config>,
    names: &[VolumeName],
    open: impl Fn(&Config, &VolumeName) -> Result<T, Fault> + Clone + Send + 'static,
) -> Result<BTreeMap<VolumeName, T>, CatalogFaults> {
    let share = names.len().div_ceil(OPENERS).max(1);
    let mut openers = Vec::new();
    for share in names.chunks(share) {
        let (config, share, open) = (Arc::clone(config), share.to_vec(), open.clone());
        openers.push(tokio::task::spawn_blocking(move || {
            share.into_iter().map(|name| open(&config, &name).map(|opened| (name, opened))).collect::<Vec<_>>()
        }));
    }
    let mut opened = BTreeMap::new();
    let mut faults = Vec::new();
    for opener in openers {
        for result in opener.await.expect("opening a volume does not panic and is not cancelled") {
            match result {
                Ok((name, one)) => drop(opened.insert(name, one)),
                Err(fault) => faults.push(fault),
            }
        }
    }
    match faults.is_empty() {
        true => Ok(opened),
        false => Err(CatalogFaults(faults)),
    }
}

fn store_spec(volume: &VolumeConfig) -> block::StoreSpec {
    block::StoreSpec {
        store: match &volume.store {
            config::Store::File { path, direct_io } => block::Store::File { path: path.clone(), direct_io: *direct_io },
            config::Store::Device { path, .. } => block::Store::Device { path: path.clone() },
            config::Store::Memory => block::Store::Memory,
            config::Store::Null => block::Store::Null,
        },
        size: volume.size,
        block_length: volume.block_size,
        read_only: volume.read_only,
        thin: volume.thin.unwrap_or(true),
    }
}

fn make_unit(
    config: &Config,
    name: &VolumeName,
    local: Arc<dyn BlockDevice>,
    place: Option<&(Arc<Group>, VolumeIndex)>,
    state: &StateStore,
) -> Result<Arc<Volume>, Fault> {
    let volume = &config.volumes[name];
    let fault = |cause: &dyn fmt::Display| Fault::of_volume(name, cause);
    let options = lu_options(config, name, state).map_err(|error| fault(&error))?;
    let options = LuOptions { thin: options.thin && local.capabilities().unmap, ..options };
    let (device, group, unit) = match place {
        None => (local.clone(), None, LogicalUnit::new(options, local.clone(), state.clone())),
        Some((group, index)) => {
            let mirrored = Arc::new(MirroredVolume::new(group.clone(), *index, local.clone()));
            let unit = LogicalUnit::mirrored(options, mirrored.clone(), mirrored.clone(), state.clone());
            (mirrored as Arc<dyn BlockDevice>, Some(group.clone()), unit)
        }
    };
    let unit = unit.map_err(|error| fault(&error))?;
    Ok(Arc::new(Volume { name: Arc::clone(name), config: volume.clone(), device, local, group, unit }))
}

fn lu_options(config: &Config, name: &VolumeName, state: &StateStore) -> Result<LuOptions, StateError> {
    let volume = &config.volumes[name];
    let fresh = || {
        let mirror = volume.mirror.as_ref();
        let pair = mirror.and_then(|mirror| Some((mirror, config.peers.get(&mirror.peer)?)));
        match pair {
            Some((mirror, peer)) => identity::of_pair(&peer.secret, mirror, name),
            None => Identity { uuid: Uuid::new_v4() },
        }
    };
    let identity = match volume.identity.uuid {
        Some(uuid) => Identity { uuid },
        None => state.identity(&UnitName::new(name), fresh)?,
    };
    let plain = LuOptions::new(name, identity);
    let given = &volume.identity;
    Ok(LuOptions {
        serial: given.serial.clone(),
        naa: given.naa.map(|naa| naa.as_bytes().to_vec()),
        vendor: given.vendor.clone().unwrap_or(plain.vendor),
        product: given.product.clone().unwrap_or(plain.product),
        revision: given.revision.clone().unwrap_or(plain.revision),
        scsi_version: volume.scsi_version as u8,
        physical_block_exponent: (volume.physical_block_size / volume.block_size.bytes()).trailing_zeros() as u8,
        rotation_rate: match volume.rotation {
            config::Rotation::NotReported => 0,
            config::Rotation::NonRotating => 1,
            config::Rotation::Rpm(rpm) => rpm,
        },
        thin: volume.thin.unwrap_or(true),
        removable: volume.removable,
        read_only: volume.read_only,
        write_cache: volume.write_cache,
        long_cdbs: volume.long_cdbs,
        identity: plain.identity,
        name: plain.name,
        lowest_aligned: plain.lowest_aligned,
    })
}
