//! What the running daemon serves: volumes opened and made logical units, targets, and who sees which.
//!
//! A [`Catalog`] never changes; a reload makes a new one that shares the units that stay, and everybody moves over to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use iscsi_proto::types::Lun;
use mirror_link::group::Group;
use mirror_link::ids::Instance;
use mirror_link::replica::io::Command;

use super::config::{Config, GroupName, IscsiName, LunMap, TargetConfig, VolumeConfig, VolumeName};
use super::mirrored;
use super::opening::{self, Opened};
use super::ports::TargetPorts;
use crate::block::{self, BlockDevice};
use crate::lu::LogicalUnit;
use crate::lu::inventory::LunInventory;
use crate::lu::nexus::RelativeTargetPort;
use crate::lu::options::TargetPort;
use crate::lu::persist::{StateError, StateStore};

/// A volume that is open.
#[derive(Debug)]
pub struct Volume {
    pub name: VolumeName,
    pub config: VolumeConfig,
    /// What hosts write to.
    pub device: Arc<dyn BlockDevice>,
    /// The store on this node: `device` itself, or what it mirrors.
    pub local: Arc<dyn BlockDevice>,
    /// `None`: on this node alone.
    pub group: Option<Arc<Group>>,
    pub unit: Arc<LogicalUnit>,
}

/// See the module.
#[derive(Debug)]
pub struct Catalog {
    pub config: Config,
    /// Which run of the program this is, to peers.
    instance: Instance,
    volumes: BTreeMap<VolumeName, Arc<Volume>>,
    groups: BTreeMap<GroupName, Arc<Group>>,
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
    pub fn of_volume(name: &VolumeName, cause: impl fmt::Display) -> Fault {
        Fault { place: format!("volumes.{name}"), cause: cause.to_string() }
    }
}

impl From<(String, &'static str)> for Fault {
    fn from((place, cause): (String, &'static str)) -> Fault {
        Fault { place, cause: cause.into() }
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
    /// Mirroring goes on by other rules.
    pub groups: Vec<GroupName>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (what, names) in [
            ("volumes added", &self.added),
            ("volumes removed", &self.removed),
            ("volumes resized", &self.resized),
            ("mirroring changed", &self.groups),
        ] {
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
    /// Opens every volume, and starts the groups of those that are mirrored.
    pub async fn open(config: Config, instance: Instance) -> Result<Catalog, CatalogFaults> {
        let ports = TargetPorts::load(&StateStore::directory(&config.state_dir), &config.targets)?;
        let names = config.volumes.keys().cloned().collect();
        let Opened { config, volumes, groups } = opening::open(config, names, instance).await?;
        let catalog = Catalog { config, instance, volumes, groups, ports };
        catalog.tell_target_ports();
        Ok(catalog)
    }

    /// A catalog for `config` that shares what stays. Refused whole where any part can't be had: growing a volume comes when
    /// nothing but another growth can fail, and groups are told last.
    pub async fn reopen(&self, config: Config) -> Result<(Catalog, Changes), CatalogFaults> {
        let mut changes = Changes::default();
        let mut faults: Vec<Fault> = mirrored::fixed(&self.config, &config).into_iter().map(Fault::from).collect();
        let mut volumes = BTreeMap::new();
        let mut to_open = Vec::new();
        for (name, wanted) in &config.volumes {
            let Some(open) = self.volumes.get(name) else {
                to_open.push(Arc::clone(name));
                changes.added.push(Arc::clone(name));
                continue;
            };
            match live_change(&open.config, wanted) {
                Ok(None) if open.config == *wanted => drop(volumes.insert(Arc::clone(name), Arc::clone(open))),
                Ok(None) => drop(volumes.insert(Arc::clone(name), open.configured(wanted))),
                Ok(Some(_)) => changes.resized.push(Arc::clone(name)),
                Err(cause) => faults.push(Fault::of_volume(name, cause)),
            }
        }
        if !faults.is_empty() {
            return Err(CatalogFaults(faults));
        }
        let ports = TargetPorts::load(&StateStore::directory(&config.state_dir), &config.targets)?;
        let Opened { config, volumes: opened, .. } = opening::open(config, to_open, self.instance).await?;
        volumes.extend(opened);
        for name in &changes.resized {
            let (open, wanted) = (&self.volumes[name], &config.volumes[name]);
            let blocks = wanted.size.map(|bytes| block::BlockCount(bytes >> wanted.block_size.shift()));
            match open.device.resize(blocks).await {
                Ok(_) => open.unit.capacity_changed(),
                Err(error) => faults.push(Fault::of_volume(name, error)),
            }
            volumes.insert(Arc::clone(name), open.configured(wanted));
        }
        if !faults.is_empty() {
            return Err(CatalogFaults(faults));
        }
        changes.groups = self.change_groups(&config).await?;
        changes.removed = self.volumes.keys().filter(|name| !config.volumes.contains_key(*name)).cloned().collect();
        changes.targets = changed_targets(&self.config.targets, &config.targets);
        let (instance, groups) = (self.instance, self.groups.clone());
        let catalog = Catalog { config, instance, volumes, groups, ports };
        catalog.tell_target_ports();
        Ok((catalog, changes))
    }

    /// Have the groups do as `config` says where that is something else than before.
    async fn change_groups(&self, config: &Config) -> Result<Vec<GroupName>, CatalogFaults> {
        let mut changed = BTreeSet::new();
        for (name, open) in &self.volumes {
            let wanted = config.volumes.get(name).and_then(|volume| volume.mirror.as_ref());
            let (Some(group), Some(old), Some(new)) = (&open.group, &open.config.mirror, wanted) else { continue };
            if !changed.contains(&new.group) {
                obey(name, group, mirrored::changes(old, new), &mut changed).await?;
            }
        }
        Ok(changed.into_iter().collect())
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
                        group: FIRST_TARGET_PORT_GROUP,
                        target_name: name.shared(),
                        portal_group: *tag,
                    })
                }));
            }
        }
        for (name, volume) in &self.volumes {
            let mut ports = ports.remove(name).unwrap_or_default();
            let group = target_port_group(&self.config.node, &volume.config);
            ports.iter_mut().for_each(|port| port.group = group);
            volume.unit.set_target_ports(ports);
        }
    }

    pub fn target(&self, name: &IscsiName) -> Option<&TargetConfig> {
        self.config.targets.get(name)
    }

    /// The port of `target` in the portal group of that tag; 0, which is reserved, where there is none.
    pub fn target_port(&self, target: &IscsiName, tag: u16) -> RelativeTargetPort {
        self.ports.get(target, tag).unwrap_or(RelativeTargetPort(0))
    }

    pub fn groups(&self) -> &BTreeMap<GroupName, Arc<Group>> {
        &self.groups
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

impl Volume {
    /// The same volume, with what is not the device's.
    fn configured(&self, config: &VolumeConfig) -> Arc<Volume> {
        Arc::new(Volume {
            name: Arc::clone(&self.name),
            config: config.clone(),
            device: Arc::clone(&self.device),
            local: Arc::clone(&self.local),
            group: self.group.clone(),
            unit: Arc::clone(&self.unit),
        })
    }
}

/// `Ok(Some(bytes))`: grow to that. `Err`: can't be done while the volume is open. Mirroring has rules of its own.
fn live_change(open: &VolumeConfig, wanted: &VolumeConfig) -> Result<Option<u64>, String> {
    if (VolumeConfig { size: wanted.size, mirror: wanted.mirror.clone(), ..open.clone() }) != *wanted {
        return Err("only `size` can change while the volume is served; to change more, remove the volume, \
                    reload, add it again, and reload"
            .into());
    }
    match (open.size, wanted.size) {
        (old, new) if old == new => Ok(None),
        (_, Some(_)) if wanted.mirror.is_some() => Err("a mirrored volume does not grow while it is served: stop the \
                    target on both nodes, change `size` on both, and start them again"
            .into()),
        (Some(old), Some(new)) if new > old => Ok(Some(new)),
        (Some(old), Some(new)) => Err(format!("the size can't shrink from {old} to {new} bytes; a volume only grows")),
        _ => Err("the size can't be removed; name the size the volume has".into()),
    }
}

/// One group's commands; `changed` notes that there were any.
async fn obey(
    volume: &VolumeName,
    group: &Arc<Group>,
    commands: Vec<Command>,
    changed: &mut BTreeSet<GroupName>,
) -> Result<(), CatalogFaults> {
    for command in commands {
        if let Err(refusal) = group.command(command).await {
            let cause = format!("{refusal}; what was changed of it stays so until the next reload");
            return Err(CatalogFaults(vec![Fault { place: format!("volumes.{volume}.mirror"), cause }]));
        }
        changed.insert(group.config().name.clone());
    }
    Ok(())
}

fn changed_targets(old: &BTreeMap<IscsiName, TargetConfig>, new: &BTreeMap<IscsiName, TargetConfig>) -> Vec<IscsiName> {
    let mut names: Vec<IscsiName> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| old.get(name) != new.get(name));
    names
}

/// TARGET PORT GROUP of all ports of this node (SPC-5 §5.18): they share one asymmetric access state. The peer's ports are
/// another group of the same logical unit, so it needs another number: hosts keep one state for each.
fn target_port_group(node: &str, volume: &VolumeConfig) -> u16 {
    match &volume.mirror {
        Some(mirror) if *mirror.peer < *node => FIRST_TARGET_PORT_GROUP + 1,
        _ => FIRST_TARGET_PORT_GROUP,
    }
}

const FIRST_TARGET_PORT_GROUP: u16 = 1;
