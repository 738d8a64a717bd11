//! What the logical unit says of itself in pages, and what of it initiators can set. The shapes are `scsi`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answers::cut;
use super::attention::Attention;
use super::media::Outcome;
use super::nexus::RelativeTargetPort;
use super::options::{LuOptions, TargetPort};
use super::persist::{RecordKind, StateError, StateStore, UnitName};
use super::state::ItlCore;
use super::unit::LogicalUnit;
use crate::block::{BlockDevice, Payload};
use crate::scsi::inquiry::{ScsiVersion, StandardInquiry};
use crate::scsi::mode::{Medium, ModePages, ModeSelected, ModeSenseOptions, SavedModePages};
use crate::scsi::opcodes::AsymmetricAccess;
use crate::scsi::request::Request;
use crate::scsi::sense::{Asc, Sense};
use crate::scsi::vpd::{Identity, PortInfo, Provisioning, VitalProductData};

/// What can be set, but for reservations.
#[derive(Debug)]
pub(super) struct Pages {
    modes: ModePages,
    /// Of each target port group.
    access: BTreeMap<u16, AccessState>,
}

/// ASYMMETRIC ACCESS STATE (SPC-5 §6.37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessState {
    ActiveOptimized = 0x0,
    ActiveNonOptimized = 0x1,
    Standby = 0x2,
    Unavailable = 0x3,
}

impl Pages {
    pub fn restore(
        options: &LuOptions,
        _device: &dyn BlockDevice,
        store: &StateStore,
        name: &UnitName,
    ) -> Result<Pages, StateError> {
        let saved: SavedModePages = store.read(name, RecordKind::ModePages)?.unwrap_or_default();
        Ok(Pages { modes: ModePages::restored(options.write_cache, &saved), access: BTreeMap::new() })
    }

    /// Logical unit reset: what was not saved is as it was at power on. Asymmetric access stays (SPC-5 §5.18.2.1).
    pub fn reset(&mut self) {
        self.modes.reset();
    }

    pub fn set_groups(&mut self, groups: impl Iterator<Item = u16>) {
        let before = std::mem::take(&mut self.access);
        let state = |group| before.get(&group).copied().unwrap_or(AccessState::ActiveOptimized);
        self.access = groups.map(|group| (group, state(group))).collect();
    }

    pub fn software_write_protect(&self) -> bool {
        self.modes.software_write_protect()
    }

    pub fn write_cache(&self) -> bool {
        self.modes.write_cache_enabled()
    }

    pub fn descriptor_sense(&self) -> bool {
        self.modes.descriptor_sense()
    }

    pub fn all_active(&self) -> bool {
        self.access.values().all(|state| state.is_active())
    }

    /// Does the command run through that port's group?
    pub fn asymmetric_access(
        &self,
        ports: &[TargetPort],
        through: RelativeTargetPort,
        needed: AsymmetricAccess,
    ) -> Result<(), Sense> {
        let group = ports.iter().find(|port| port.relative == through).map(|port| port.group);
        let state = group.and_then(|group| self.access.get(&group)).copied().unwrap_or(AccessState::ActiveOptimized);
        match (state, needed) {
            (AccessState::ActiveOptimized | AccessState::ActiveNonOptimized, _)
            | (AccessState::Standby, AsymmetricAccess::Standby | AsymmetricAccess::Unavailable)
            | (AccessState::Unavailable, AsymmetricAccess::Unavailable) => Ok(()),
            (AccessState::Standby, AsymmetricAccess::Active) => {
                Err(Sense::not_ready(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_STANDBY_STATE))
            }
            (AccessState::Unavailable, AsymmetricAccess::Active | AsymmetricAccess::Standby) => {
                Err(Sense::not_ready(Asc::LOGICAL_UNIT_NOT_ACCESSIBLE_TARGET_PORT_IN_UNAVAILABLE_STATE))
            }
        }
    }
}

impl AccessState {
    fn is_active(self) -> bool {
        matches!(self, AccessState::ActiveOptimized | AccessState::ActiveNonOptimized)
    }
}

impl LogicalUnit {
    fn medium(&self) -> Medium {
        Medium {
            blocks: self.device.capacity().0,
            block_length: self.device.block_length().bytes(),
            write_protected: self.options.read_only || self.device.capabilities().read_only,
        }
    }

    pub(super) fn inquiry(&self, core: &ItlCore, page_code: Option<u8>) -> Result<Vec<u8>, Sense> {
        let options = &self.options;
        let Some(page_code) = page_code else {
            return Ok(StandardInquiry {
                version: ScsiVersion::new(options.scsi_version).unwrap_or(ScsiVersion::Spc4),
                removable: options.removable,
                vendor: &options.vendor,
                product: &options.product,
                revision: &options.revision,
            }
            .encode());
        };
        let (serial, naa, ports) = (options.serial(), options.naa(), self.state.lock().target_ports.clone());
        let through = core.nexus.name.target_port;
        // A nexus that came before the ports were told is its own witness.
        let port = ports.iter().find(|port| port.relative == through).cloned().unwrap_or_else(|| TargetPort {
            relative: through,
            group: through.0,
            target_name: core.nexus.target_name.clone(),
            portal_group: core.nexus.portal_group,
        });
        let known: Vec<PortInfo> = ports.iter().map(port_info).collect();
        let own = [port_info(&port)];
        VitalProductData {
            identity: Identity {
                vendor: &options.vendor,
                product: &options.product,
                serial: &serial,
                naa: &naa,
                eui64: None,
            },
            port: own[0],
            ports: if known.is_empty() { &own } else { &known },
            limits: self.limits,
            provisioning: Provisioning { thin: options.thin, anchor: false },
            rotation_rate: options.rotation_rate,
            volatile_cache: self.device.capabilities().volatile_cache,
            management_addresses: &[],
        }
        .page(page_code)
    }

    /// Commands without Data-Out that read a page.
    pub(super) fn page(&self, _core: &ItlCore, request: Request) -> Outcome {
        match request {
            Request::ModeSense {
                long_header,
                disable_block_descriptors,
                long_lba_accepted,
                control,
                page,
                subpage,
                allocation_length,
            } => {
                let options = ModeSenseOptions {
                    long_header,
                    disable_block_descriptors,
                    long_lba_accepted,
                    control,
                    page,
                    subpage,
                };
                let data = self.state.lock().pages.modes.sense(&options, &self.medium())?;
                Ok(cut(data, allocation_length))
            }
            _ => Err(Sense::invalid_opcode()),
        }
    }

    /// Commands that set one.
    pub(super) async fn set_page(self: &Arc<LogicalUnit>, core: &ItlCore, request: Request, list: &[u8]) -> Outcome {
        match request {
            Request::ModeSelect { long_header, page_format, save_pages, .. } => {
                self.mode_select(core, list, long_header, page_format, save_pages).await
            }
            _ => Err(Sense::invalid_opcode()),
        }
    }

    async fn mode_select(
        self: &Arc<LogicalUnit>,
        core: &ItlCore,
        list: &[u8],
        long_header: bool,
        page_format: bool,
        save_pages: bool,
    ) -> Outcome {
        let medium = self.medium();
        let saved = {
            let mut state = self.state.lock();
            let ModeSelected { pages, changed, save } =
                state.pages.modes.select(list, long_header, page_format, save_pages, &medium)?;
            state.pages.modes = pages;
            if changed {
                state.raise_others(core, Attention::ModeParametersChanged);
            }
            self.settle(&state);
            save.then(|| state.pages.modes.saved())
        };
        if let Some(saved) = saved
            && let Err(error) =
                self.with_store(move |store, name| store.write(name, RecordKind::ModePages, &saved)).await
        {
            tracing::error!(lu = %self.options.name, %error, "mode pages not saved");
            return Err(Sense::hardware_error());
        }
        Ok(Payload::default())
    }
}

fn port_info(port: &TargetPort) -> PortInfo<'_> {
    PortInfo {
        relative: port.relative.0,
        group: port.group,
        target_name: &port.target_name,
        portal_group: port.portal_group,
    }
}
