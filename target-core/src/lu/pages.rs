//! What the logical unit says of itself in pages, and what of it initiators can set. The shapes are `scsi`'s.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answers::cut;
use super::attention::Attention;
use super::device_error::Failure;
use super::media::Outcome;
use super::options::{LuOptions, TargetPort};
use super::persist::{RecordKind, StateError, StateStore, UnitName};
use super::state::ItlCore;
use super::statistics::Counter;
use super::twin::{Designation, Kind};
use super::unit::LogicalUnit;
use crate::block::{BlockCount, Payload};
use crate::scsi::alua;
use crate::scsi::identifying::{self, InformationReport, InformationType};
use crate::scsi::inquiry::{ScsiVersion, StandardInquiry};
use crate::scsi::log::{LogSenseOptions, LogSource, Space, Transfers};
use crate::scsi::mode::{Medium, ModePages, ModeSelected, ModeSenseOptions, SavedModePages};
use crate::scsi::request::{BufferMode, Request};
use crate::scsi::sense::{Asc, Sense};
use crate::scsi::timestamp::{self, TimestampOrigin};
use crate::scsi::vpd::{Identity, PortInfo, Provisioning, VitalProductData};
use crate::scsi::{buffer, diagnostic};

/// What can be set, but for reservations.
#[derive(Debug)]
pub(super) struct Pages {
    modes: ModePages,
    /// WCE by default.
    write_cache: bool,
    information: Information,
    /// SET TIMESTAMP: the timestamp set, in milliseconds, and when.
    timestamp: Option<(u64, Instant)>,
    /// Data buffer of WRITE BUFFER. Nothing until it is first written.
    buffer: Vec<u8>,
}

/// Identifying information, as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Information {
    binary: Vec<u8>,
    text: Vec<u8>,
}

impl Information {
    fn of(&mut self, kind: InformationType) -> &mut Vec<u8> {
        match kind {
            InformationType::Binary => &mut self.binary,
            InformationType::Text => &mut self.text,
        }
    }
}

impl Pages {
    pub fn restore(options: &LuOptions, store: &StateStore, name: &UnitName) -> Result<Pages, StateError> {
        let saved: SavedModePages = store.read(name, RecordKind::ModePages)?.unwrap_or_default();
        Ok(Pages {
            modes: ModePages::restored(options.write_cache, &saved),
            write_cache: options.write_cache,
            information: store.read(name, RecordKind::IdentifyingInformation)?.unwrap_or_default(),
            timestamp: None,
            buffer: Vec::new(),
        })
    }

    /// Logical unit reset: what was not saved is as it was at power on.
    pub fn reset(&mut self) {
        self.modes.reset();
    }

    pub fn modes(&self) -> &ModePages {
        &self.modes
    }

    pub fn set_modes(&mut self, current: &SavedModePages, saved: &SavedModePages) {
        self.modes = ModePages::resumed(self.write_cache, saved, current);
    }

    pub fn information(&self) -> &Information {
        &self.information
    }

    pub fn set_information(&mut self, information: Information) {
        self.information = information;
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

    fn timestamp(&self) -> [u8; 12] {
        match self.timestamp {
            Some((set_ms, since)) => {
                timestamp::report(TimestampOrigin::SetTimestamp, set_ms + since.elapsed().as_millis() as u64)
            }
            None => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                timestamp::report(TimestampOrigin::Outside, now.as_millis() as u64)
            }
        }
    }
}

/// What of a parameter list's length can be refused before the list is asked for.
pub(super) fn check_list_length(request: Request) -> Result<(), Sense> {
    match request {
        Request::WriteBuffer { mode: BufferMode::EchoBuffer, parameter_list_length, .. } => {
            buffer::check_echo_write(parameter_list_length)
        }
        Request::WriteBuffer { buffer_id, offset, parameter_list_length, .. } => {
            buffer::check_data_write(buffer_id, offset, parameter_list_length)
        }
        Request::SetIdentifyingInformation { information_type, parameter_list_length } => {
            identifying::check_length(InformationType::new(information_type)?, parameter_list_length)
        }
        Request::SendDiagnostic { self_test_code, parameter_list_length, .. } => {
            diagnostic::check(self_test_code, parameter_list_length)
        }
        _ => Ok(()),
    }
}

impl LogicalUnit {
    fn medium(&self) -> Medium {
        Medium {
            blocks: self.device.capacity().0,
            block_length: self.device.block_length().bytes(),
            write_protected: self.is_read_only(),
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
        let (Designation { serial, naa }, ports) = {
            let state = self.state.lock();
            (state.designation.clone(), state.target_ports.clone())
        };
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
    pub(super) fn page(&self, core: &ItlCore, request: Request) -> Outcome {
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
            Request::LogSense { control, page, subpage, parameter_pointer, allocation_length } => {
                let options = LogSenseOptions { control, page, subpage, parameter_pointer };
                Ok(cut(self.log().sense(&options)?, allocation_length))
            }
            Request::ReportTargetPortGroups { extended_header, allocation_length } => {
                let state = self.state.lock();
                let groups = state.port_groups.report(&state.target_ports);
                Ok(cut(alua::report_target_port_groups(&groups, extended_header), allocation_length))
            }
            Request::ReportIdentifyingInformation { information_type, allocation_length } => {
                let data = match InformationReport::new(information_type)? {
                    InformationReport::Supported => identifying::report_supported(),
                    InformationReport::Information(kind) => {
                        identifying::report(self.state.lock().pages.information.of(kind))
                    }
                };
                Ok(cut(data, allocation_length))
            }
            Request::ReportTimestamp { allocation_length } => {
                Ok(cut(self.state.lock().pages.timestamp().into(), allocation_length))
            }
            Request::ReadBuffer { mode, buffer_id, offset, allocation_length } => {
                Ok(cut(self.read_buffer(core, mode, buffer_id, offset)?, allocation_length))
            }
            // `answers` and `parameters` have the others; a request here was routed wrongly by us.
            _ => Err(Sense::invalid_opcode().into()),
        }
    }

    fn log(&self) -> LogSource {
        let statistics = &self.statistics;
        let transfers = |commands: &Counter, bytes: &Counter| Transfers {
            commands: commands.get(),
            bytes: bytes.get(),
            errors: None,
        };
        let space = |used: BlockCount| Space { capacity: self.device.capacity().0, used: used.0 };
        LogSource {
            block_length: self.device.block_length().bytes(),
            read: transfers(&statistics.reads, &statistics.read),
            write: transfers(&statistics.writes, &statistics.written),
            space: self.device.used().filter(|_| self.options.thin).map(space),
        }
    }

    fn read_buffer(&self, core: &ItlCore, mode: BufferMode, buffer_id: u8, offset: u32) -> Result<Vec<u8>, Sense> {
        match mode {
            BufferMode::Descriptor => Ok(buffer::descriptor(buffer_id).into()),
            BufferMode::EchoBufferDescriptor => Ok(buffer::echo_descriptor().into()),
            BufferMode::Data => {
                buffer::check_data_read(buffer_id, offset)?;
                let mut data = self.state.lock().pages.buffer.clone();
                data.resize(buffer::DATA_BUFFER_BYTES as usize, 0);
                Ok(data.split_off(offset as usize))
            }
            // SPC-5 §6.20.8: without a WRITE BUFFER before it by this nexus, COMMAND SEQUENCE ERROR.
            BufferMode::EchoBuffer => {
                let echo = self.state.lock().member(core).and_then(|member| member.echo.clone());
                echo.map(Into::into).ok_or(Sense::illegal_request(Asc::COMMAND_SEQUENCE_ERROR))
            }
        }
    }

    /// Commands that set one.
    pub(super) async fn set_page(self: &Arc<LogicalUnit>, core: &ItlCore, request: Request, list: Bytes) -> Outcome {
        match request {
            Request::ModeSelect { long_header, page_format, save_pages, .. } => {
                self.mode_select(core, &list, long_header, page_format, save_pages).await?;
            }
            Request::SetTargetPortGroups { .. } => self.set_target_port_groups(core, &list)?,
            Request::SetIdentifyingInformation { information_type, .. } => {
                self.set_information(core, InformationType::new(information_type)?, &list).await?;
            }
            Request::SetTimestamp { .. } => {
                if let Some(timestamp_ms) = timestamp::parse(&list)? {
                    let mut state = self.state.lock();
                    state.pages.timestamp = Some((timestamp_ms, Instant::now()));
                    state.raise_others(core, Attention::TimestampChanged);
                }
            }
            // The default self-test: the device answers.
            Request::SendDiagnostic { .. } => {}
            Request::WriteBuffer { mode: BufferMode::EchoBuffer, .. } => {
                if let Some(member) = self.state.lock().member(core) {
                    member.echo = Some(list);
                }
            }
            Request::WriteBuffer { offset, .. } => {
                let (at, pages) = (offset as usize, &mut self.state.lock().pages);
                let end = at + list.len();
                if pages.buffer.len() < end {
                    pages.buffer.resize(end, 0);
                }
                pages.buffer[at..end].copy_from_slice(&list);
            }
            _ => return Err(Sense::invalid_opcode().into()),
        }
        Ok(Payload::default())
    }

    async fn mode_select(
        self: &Arc<LogicalUnit>,
        core: &ItlCore,
        list: &[u8],
        long_header: bool,
        page_format: bool,
        save_pages: bool,
    ) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        let medium = self.medium();
        let saved = {
            let mut state = self.state.lock();
            state.port_groups.is_served()?;
            let ModeSelected { pages, changed, save } =
                state.pages.modes.select(list, long_header, page_format, save_pages, &medium)?;
            state.pages.modes = pages;
            if changed {
                state.raise_others(core, Attention::ModeParametersChanged);
            }
            self.settle(&state);
            save.then(|| state.pages.modes.saved())
        };
        if let Some(saved) = saved {
            self.keep(move |store, name| store.write(name, RecordKind::ModePages, &saved)).await?;
        }
        self.tell(Kind::ModePages).await
    }

    /// Explicit asymmetric access: taken over at once, there is nothing to wait for. Others learn by 2Ah/06h.
    fn set_target_port_groups(&self, core: &ItlCore, list: &[u8]) -> Result<(), Sense> {
        let mut state = self.state.lock();
        let wanted = alua::parse_set_target_port_groups(list, &state.port_groups.numbers())?;
        let changed = state.port_groups.set(&wanted)?;
        if changed {
            state.raise_others(core, Attention::AsymmetricAccessChanged);
        }
        self.settle(&state);
        Ok(())
    }

    async fn set_information(
        self: &Arc<LogicalUnit>,
        core: &ItlCore,
        kind: InformationType,
        list: &[u8],
    ) -> Result<(), Failure> {
        let bytes = identifying::parse(kind, list)?.to_vec();
        let _turn = self.turn.lock().await;
        let mut information = self.state.lock().pages.information.clone();
        *information.of(kind) = bytes;
        let kept = information.clone();
        self.keep(move |store, name| store.write(name, RecordKind::IdentifyingInformation, &kept)).await?;
        if let Err(sense) = self.take_information(core, information) {
            self.take_back(Kind::Information).await;
            return Err(sense.into());
        }
        self.tell(Kind::Information).await
    }

    fn take_information(&self, core: &ItlCore, information: Information) -> Result<(), Sense> {
        let mut state = self.state.lock();
        state.port_groups.is_served()?;
        state.pages.information = information;
        state.raise_others(core, Attention::IdentifyingInformationChanged);
        Ok(())
    }

    /// Make it durable, or say that it is not.
    async fn keep(
        self: &Arc<LogicalUnit>,
        work: impl FnOnce(&StateStore, &UnitName) -> Result<(), StateError> + Send + 'static,
    ) -> Result<(), Sense> {
        self.with_store(work).await.map_err(|error| {
            tracing::error!(lu = %self.options.name, %error, "not recorded");
            Sense::hardware_error()
        })
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
