//! What the running daemon serves: volumes opened and made logical units, targets, and who sees which.
//!
//! A [`Catalog`] never changes; a reload makes a new one that shares the units that stay, and everybody moves over to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use iscsi_proto::types::Lun;
use uuid::Uuid;

use super::config::{self, Config, IscsiName, LunMap, TargetConfig, VolumeConfig, VolumeName};
use super::ports::TargetPorts;
use crate::block::{self, BlockDevice};
use crate::lu::LogicalUnit;
use crate::lu::inventory::LunInventory;
use crate::lu::nexus::RelativeTargetPort;
use crate::lu::options::{LuOptions, TargetPort};
use crate::lu::persist::{Identity, StateError, StateStore, UnitName};

/// A volume that is open.
#[derive(Debug)]
pub struct Volume {
    pub name: VolumeName,
    pub config: VolumeConfig,
    pub device: Arc<dyn BlockDevice>,
    pub unit: Arc<LogicalUnit>,
}

/// See the module.
#[derive(Debug)]
pub struct Catalog {
    pub config: Config,
    volumes: BTreeMap<VolumeName, Arc<Volume>>,
    ports: TargetPorts,
}

/// Why something can't be served. Names it, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {cause}")]
pub struct Fault {
    /// Where in the configuration, as a path.
    pub place: String,
    pub cause: String,
}

impl Fault {
    fn of_volume(name: &VolumeName, cause: impl fmt::Display) -> Fault {
        Fault { place: format!("volumes.{name}"), cause: cause.to_string() }
    }
}

/// All faults of one attempt: nothing was changed.
#[derive(Debug)]
pub struct CatalogFaults(pub Vec<Fault>);

impl From<StateError> for CatalogFaults {
    fn from(error: StateError) -> CatalogFaults {
        CatalogFaults(vec![Fault { place: "state_dir".into(), cause: error.to_string() }])
    }
}

impl fmt::Display for CatalogFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if at > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for CatalogFaults {}

/// What a reload changed, for the log and for those who must hear of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<VolumeName>,
    pub removed: Vec<VolumeName>,
    pub resized: Vec<VolumeName>,
    pub targets: Vec<IscsiName>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in
            [("volumes added", &self.added), ("volumes removed", &self.removed), ("volumes resized", &self.resized)]
        {
            if !names.is_empty() {
                parts.push(format!("{what}: {}", names.join(", ")));
            }
        }
        if !self.targets.is_empty() {
            let names: Vec<&str> = self.targets.iter().map(IscsiName::as_str).collect();
            parts.push(format!("targets changed: {}", names.join(", ")));
        }
        match parts.is_empty() {
            true => write!(f, "nothing changed"),
            false => write!(f, "{}", parts.join("; ")),
        }
    }
}

impl Catalog {
    /// Opens every volume.
    pub async fn open(config: Config) -> Result<Catalog, CatalogFaults> {
        let names = config.volumes.keys().cloned().collect();
        let (config, volumes) = open_volumes(config, names).await?;
        let ports = TargetPorts::load(&StateStore::directory(&config.state_dir), &config.targets)?;
        let catalog = Catalog { config, volumes, ports };
        catalog.tell_target_ports();
        Ok(catalog)
    }

    /// A catalog for `config` that shares what stays. Refused whole where any part can't be had; growing a volume comes
    /// last, when nothing else can fail.
    pub async fn reopen(&self, config: Config) -> Result<(Catalog, Changes), CatalogFaults> {
        let mut changes = Changes::default();
        let mut faults = Vec::new();
        let mut volumes = BTreeMap::new();
        let mut to_open = Vec::new();
        for (name, wanted) in &config.volumes {
            let Some(open) = self.volumes.get(name) else {
                to_open.push(Arc::clone(name));
                changes.added.push(Arc::clone(name));
                continue;
            };
            match live_change(&open.config, wanted) {
                Ok(None) => {
                    volumes.insert(Arc::clone(name), Arc::clone(open));
                }
                Ok(Some(_)) => changes.resized.push(Arc::clone(name)),
                Err(cause) => faults.push(Fault::of_volume(name, cause)),
            }
        }
        if !faults.is_empty() {
            return Err(CatalogFaults(faults));
        }
        let ports = TargetPorts::load(&StateStore::directory(&config.state_dir), &config.targets)?;
        let (config, opened) = open_volumes(config, to_open).await?;
        volumes.extend(opened);
        for name in &changes.resized {
            let (open, wanted) = (&self.volumes[name], &config.volumes[name]);
            let blocks = wanted.size.map(|bytes| block::BlockCount(bytes >> wanted.block_size.shift()));
            match open.device.resize(blocks).await {
                Ok(_) => open.unit.capacity_changed(),
                Err(error) => faults.push(Fault::of_volume(name, error)),
            }
            let volume = Volume {
                name: Arc::clone(name),
                config: wanted.clone(),
                device: Arc::clone(&open.device),
                unit: Arc::clone(&open.unit),
            };
            volumes.insert(Arc::clone(name), Arc::new(volume));
        }
        if !faults.is_empty() {
            return Err(CatalogFaults(faults));
        }
        changes.removed = self.volumes.keys().filter(|name| !config.volumes.contains_key(*name)).cloned().collect();
        changes.targets = changed_targets(&self.config.targets, &config.targets);
        let catalog = Catalog { config, volumes, ports };
        catalog.tell_target_ports();
        Ok((catalog, changes))
    }

    /// Every unit learns by which target ports it can be reached: one for each portal group of each target that has it.
    fn tell_target_ports(&self) {
        let mut ports: BTreeMap<&VolumeName, Vec<TargetPort>> = BTreeMap::new();
        for (name, target) in &self.config.targets {
            let maps = target.acl.iter().map(|rule| target.luns_under(rule));
            let volumes: BTreeSet<&VolumeName> = maps.flat_map(LunMap::values).collect();
            for volume in volumes {
                ports.entry(volume).or_default().extend(target.portal_groups.iter().filter_map(|tag| {
                    Some(TargetPort {
                        relative: self.ports.get(name, *tag)?,
                        group: TARGET_PORT_GROUP,
                        target_name: name.shared(),
                        portal_group: *tag,
                    })
                }));
            }
        }
        for (name, volume) in &self.volumes {
            volume.unit.set_target_ports(ports.remove(name).unwrap_or_default());
        }
    }

    pub fn target(&self, name: &IscsiName) -> Option<&TargetConfig> {
        self.config.targets.get(name)
    }

    /// The port of `target` in the portal group of that tag; 0, which is reserved, where there is none.
    pub fn target_port(&self, target: &IscsiName, tag: u16) -> RelativeTargetPort {
        self.ports.get(target, tag).unwrap_or(RelativeTargetPort(0))
    }

    pub fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.values()
    }

    /// The logical units behind a LUN map, in LUN order.
    pub fn inventory(&self, luns: &LunMap) -> LunInventory {
        let entries = luns
            .iter()
            .filter_map(|(lun, name)| {
                Some((u64::from_be_bytes(Lun::from_u16(*lun)?.0), Arc::clone(&self.volumes.get(name)?.unit)))
            })
            .collect();
        LunInventory::new(entries)
    }
}

/// `Ok(Some(bytes))`: grow to that. `Err`: can't be done while the volume is open.
fn live_change(open: &VolumeConfig, wanted: &VolumeConfig) -> Result<Option<u64>, String> {
    if open == wanted {
        return Ok(None);
    }
    if (VolumeConfig { size: wanted.size, ..open.clone() }) != *wanted {
        return Err("only `size` can change while the volume is served; to change more, remove the volume, \
                    reload, add it again, and reload"
            .into());
    }
    match (open.size, wanted.size) {
        (Some(old), Some(new)) if new > old => Ok(Some(new)),
        (Some(old), Some(new)) => Err(format!("the size can't shrink from {old} to {new} bytes; a volume only grows")),
        _ => Err("the size can't be removed; name the size the volume has".into()),
    }
}

fn changed_targets(old: &BTreeMap<IscsiName, TargetConfig>, new: &BTreeMap<IscsiName, TargetConfig>) -> Vec<IscsiName> {
    let mut names: Vec<IscsiName> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    names
}

/// TARGET PORT GROUP of all ports of this node (SPC-5 §5.18): they share one asymmetric access state.
const TARGET_PORT_GROUP: u16 = 1;

/// Threads that open volumes: opening waits for disks (a first start makes one record a volume, and syncs it).
const OPENERS: usize = 16;

type Opened = (Config, BTreeMap<VolumeName, Arc<Volume>>);

async fn open_volumes(config: Config, names: Vec<VolumeName>) -> Result<Opened, CatalogFaults> {
    let config = Arc::new(config);
    let share = names.len().div_ceil(OPENERS).max(1);
    let mut openers = Vec::new();
    for share in names.chunks(share) {
        let (config, share) = (Arc::clone(&config), share.to_vec());
        openers.push(tokio::task::spawn_blocking(move || {
            let state = StateStore::directory(&config.state_dir);
            share.iter().map(|name| open_volume(&config, name, &state)).collect::<Vec<_>>()
        }));
    }
    let mut opened = Vec::new();
    for opener in openers {
        opened.extend(opener.await.expect("opening a volume does not panic and is not cancelled"));
    }
    let config = Arc::try_unwrap(config).expect("the openers have ended");
    let mut volumes = BTreeMap::new();
    let mut faults = Vec::new();
    for result in opened {
        match result {
            Ok(volume) => {
                volumes.insert(Arc::clone(&volume.name), volume);
            }
            Err(fault) => faults.push(fault),
        }
    }
    match faults.is_empty() {
        true => Ok((config, volumes)),
        false => Err(CatalogFaults(faults)),
    }
}

fn open_volume(config: &Config, name: &VolumeName, state: &StateStore) -> Result<Arc<Volume>, Fault> {
    let volume = &config.volumes[name];
    let fault = |cause: &dyn fmt::Display| Fault::of_volume(name, cause);
    let spec = block::StoreSpec {
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
    };
    let device = block::open(&spec).map_err(|error| fault(&error))?;
    let options = lu_options(volume, name, state).map_err(|error| fault(&error))?;
    let options = LuOptions { thin: options.thin && device.capabilities().unmap, ..options };
    let unit = LogicalUnit::new(options, Arc::clone(&device), state.clone()).map_err(|error| fault(&error))?;
    Ok(Arc::new(Volume { name: Arc::clone(name), config: volume.clone(), device, unit }))
}

fn lu_options(volume: &VolumeConfig, name: &VolumeName, state: &StateStore) -> Result<LuOptions, StateError> {
    let identity = match volume.identity.uuid {
        Some(uuid) => Identity { uuid },
        None => state.identity(&UnitName::new(name), || Identity { uuid: Uuid::new_v4() })?,
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
