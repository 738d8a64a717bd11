//! The running daemon, as the admin interface sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use lunmirror::api::{About, Command, GroupReport, LunStatus, PeerStatus, VolumeStatus, WhatIf};
use target_core::Daemon;
use target_core::mirror::Group;
use target_core::target::catalog::{Catalog, Volume};
use target_core::target::config::{Config, Store, VolumeName};

use super::{Answer, Target};

pub struct Served {
    daemon: Arc<Daemon>,
    since: Instant,
}

impl Served {
    pub fn new(daemon: Arc<Daemon>) -> Served {
        Served { daemon, since: Instant::now() }
    }
}

impl Target for Served {
    fn about(&self) -> About {
        About {
            node: self.daemon.catalog().config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.since.elapsed().as_secs(),
            portals: self.daemon.portals(),
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        self.daemon.peers()
    }

    fn groups(&self) -> Vec<GroupReport> {
        self.daemon.groups().values().map(|group| report(group)).collect()
    }

    fn volumes(&self) -> Vec<VolumeStatus> {
        let catalog = self.daemon.catalog();
        catalog.volumes().map(|volume| volume_status(&catalog, volume)).collect()
    }

    fn what_if(&self, group: &str, what: WhatIf) -> Option<Vec<String>> {
        Some(self.daemon.groups().get(group)?.what_if(what))
    }

    fn command(&self, group: &str, command: Command) -> Option<Answer> {
        let group = self.daemon.groups().remove(group)?;
        Some(Box::pin(group.command(command)))
    }
}

fn report(group: &Group) -> GroupReport {
    let config = group.config();
    GroupReport {
        name: config.name.to_string(),
        peer: config.peer.to_string(),
        volumes: config.volumes.iter().map(|volume| volume.name.to_string()).collect(),
        status: group.status(),
    }
}

fn volume_status(catalog: &Catalog, volume: &Volume) -> VolumeStatus {
    let block_bytes = volume.device.block_length().bytes();
    VolumeStatus {
        name: volume.name.to_string(),
        store: match &volume.config.store {
            Store::File { path, .. } => format!("file {}", path.display()),
            Store::Device { path, .. } => format!("device {}", path.display()),
            Store::Memory => "memory".to_owned(),
            Store::Null => "null".to_owned(),
        },
        capacity_bytes: volume.device.capacity().0 * u64::from(block_bytes),
        block_bytes,
        luns: luns(&catalog.config, &volume.name),
        group: volume.group.as_ref().map(|group| group.config().name.to_string()),
    }
}

/// In the maps of targets and of their rules; each once.
fn luns(config: &Config, volume: &VolumeName) -> Vec<LunStatus> {
    let mut found = BTreeSet::new();
    for (name, target) in &config.targets {
        let maps = target.acl.iter().filter_map(|rule| rule.luns.as_ref()).chain([&target.luns]);
        let luns = maps.flatten().filter(|(_, mapped)| *mapped == volume).map(|(lun, _)| *lun);
        found.extend(luns.map(|lun| LunStatus { target: name.as_str().to_owned(), lun }));
    }
    found.into_iter().collect()
}
