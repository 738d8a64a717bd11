//! One segment: from so many bytes at a place of the source to a place of the destination.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::records::Record;
use super::{CopyDirectory, CopyEnd, EndRefusal, Purpose};
use crate::block::{BlockCount, BlockDevice, BlockError, BlockLength, Durability, Extent, Lba};
use crate::lu::nexus::NexusName;
use crate::lu::patience::patiently;
use crate::scsi::access::ReservationAccess;
use crate::scsi::copy::{Cscd, DESTINATION_LBA_AT, SOURCE_LBA_AT, Segment, SegmentExtent};
use crate::scsi::sense::{Asc, Sense, SenseKey, SenseKeySpecific};

/// A segment whose ends were found and whose ranges lie on them.
pub(super) struct SegmentCopy<'a> {
    segment: &'a Segment,
    nexus: &'a NexusName,
    source: Place,
    destination: Place,
    /// Bytes.
    length: u64,
}

/// A copy source or destination, and where on it.
struct Place {
    end: Arc<dyn CopyEnd>,
    device: Arc<dyn BlockDevice>,
    block_length: BlockLength,
    /// PAD of its CSCD descriptor.
    pad: bool,
    /// Bytes from LBA 0.
    at: u64,
}

impl<'a> SegmentCopy<'a> {
    pub fn resolve(
        segment: &'a Segment,
        cscds: &[Cscd],
        directory: &dyn CopyDirectory,
        nexus: &'a NexusName,
    ) -> Result<SegmentCopy<'a>, Sense> {
        let mut source = Place::find(cscds, segment.source, directory, segment.offset + SOURCE_ID_AT)?;
        let mut destination = Place::find(cscds, segment.destination, directory, segment.offset + DESTINATION_ID_AT)?;
        permit(&source, nexus, ReservationAccess::Read, segment.offset + SOURCE_ID_AT)?;
        permit(&destination, nexus, ReservationAccess::Write, segment.offset + DESTINATION_ID_AT)?;
        let (length, source_offset, destination_offset) = match segment.extent {
            SegmentExtent::Blocks { blocks, of_destination } => {
                let unit = if of_destination { destination.block_length } else { source.block_length };
                let length = u64::from(blocks) << unit.shift();
                source.check_exact(length, segment)?;
                destination.check_exact(length, segment)?;
                (length, 0, 0)
            }
            SegmentExtent::Bytes { bytes, source_offset, destination_offset } => {
                // So many bytes, no more: what they leave of a block stays as it is.
                destination.pad = false;
                (u64::from(bytes), source_offset, destination_offset)
            }
        };
        source.locate(segment.source_lba, source_offset, length, segment.offset + SOURCE_LBA_AT)?;
        destination.locate(segment.destination_lba, destination_offset, length, segment.offset + DESTINATION_LBA_AT)?;
        Ok(SegmentCopy { segment, nexus, source, destination, length })
    }

    pub async fn run(&self, record: &Record) -> Result<(), Sense> {
        let start = self.destination.at;
        let chunks = start / CHUNK_BYTES..(start + self.length).div_ceil(CHUNK_BYTES);
        let pieces = chunks.map(|chunk| {
            let begin = (chunk * CHUNK_BYTES).max(start) - start;
            let end = ((chunk + 1) * CHUNK_BYTES).min(start + self.length) - start;
            (begin, end - begin)
        });
        if self.moves_up_onto_itself() {
            for (from, length) in pieces.rev() {
                self.copy_piece(from, length, record).await?;
            }
        } else {
            for (from, length) in pieces {
                self.copy_piece(from, length, record).await?;
            }
        }
        if self.destination.end.write_through() && self.length > 0 {
            let flushed = patiently(|| self.destination.device.flush(), || record.is_cancelled()).await;
            flushed.map_err(|error| self.failed(error, DESTINATION_ID_AT))?;
        }
        Ok(())
    }

    /// Copied upwards, the first pieces would overwrite what the last ones read.
    fn moves_up_onto_itself(&self) -> bool {
        Arc::ptr_eq(&self.source.device, &self.destination.device)
            && self.source.at < self.destination.at
            && self.destination.at < self.source.at + self.length
    }

    /// One pass is held at a time: two copies that cross each other cannot wait for one another.
    async fn copy_piece(&self, from: u64, length: u64, record: &Record) -> Result<(), Sense> {
        if record.is_cancelled() {
            return Err(self.aborted(Asc::NO_ADDITIONAL_SENSE_INFORMATION, 0));
        }
        // Either may have changed since the last piece: preempted, ejected, write protected.
        let segment = self.segment.offset;
        permit(&self.source, self.nexus, ReservationAccess::Read, segment + SOURCE_ID_AT)?;
        let data = patiently(|| self.source.read(from, length), || record.is_cancelled()).await;
        let data = data.map_err(|error| self.failed(error, SOURCE_ID_AT))?;
        permit(&self.destination, self.nexus, ReservationAccess::Write, segment + DESTINATION_ID_AT)?;
        let written = patiently(|| self.destination.write(from, data.clone()), || record.is_cancelled()).await;
        written.map_err(|error| self.failed(error, DESTINATION_ID_AT))?;
        record.copied(length);
        Ok(())
    }

    fn aborted(&self, asc: Asc, byte: u16) -> Sense {
        copy_aborted(asc, self.segment.offset + byte)
    }

    /// The device below failed; `byte` is that of the segment descriptor which names it.
    fn failed(&self, error: BlockError, byte: u16) -> Sense {
        let asc = match error {
            BlockError::NoSpace => Asc::SPACE_ALLOCATION_FAILED_WRITE_PROTECT,
            BlockError::ReadOnly => Asc::WRITE_PROTECTED,
            BlockError::OutOfRange => Asc::NO_ADDITIONAL_SENSE_INFORMATION,
            BlockError::Medium | BlockError::Fenced | BlockError::Stalled | BlockError::Io(_) => {
                Asc::THIRD_PARTY_DEVICE_FAILURE
            }
        };
        self.aborted(asc, byte)
    }
}

impl Place {
    /// `id_at` is where in the parameter list the CSCD descriptor ID stands.
    fn find(cscds: &[Cscd], id: u16, directory: &dyn CopyDirectory, id_at: u16) -> Result<Place, Sense> {
        let Some(cscd) = cscds.get(usize::from(id)).filter(|cscd| !cscd.null) else {
            return Err(copy_aborted(Asc::UNREACHABLE_COPY_TARGET, id_at));
        };
        if cscd.device_type != DIRECT_ACCESS {
            return Err(copy_aborted(Asc::INCORRECT_COPY_TARGET_DEVICE_TYPE, cscd.offset + 1));
        }
        let Some(end) = directory.find(&cscd.designator) else {
            return Err(copy_aborted(Asc::COPY_TARGET_DEVICE_NOT_REACHABLE, cscd.offset + 8));
        };
        let device = end.device();
        let block_length = device.block_length();
        if cscd.block_length != 0 && cscd.block_length != block_length.bytes() {
            return Err(copy_aborted(Asc::INVALID_FIELD_IN_PARAMETER_LIST, cscd.offset + 29));
        }
        Ok(Place { end, device, block_length, pad: cscd.pad, at: 0 })
    }

    /// A segment in whole blocks of one end leaves part of a block at the other (§6.4.6.2, PAD and CAT): with PAD it is
    /// filled, or dropped; without it the segment is not exact.
    fn check_exact(&self, length: u64, segment: &Segment) -> Result<(), Sense> {
        match length.is_multiple_of(self.block_length.bytes().into()) || self.pad {
            true => Ok(()),
            false => Err(copy_aborted(Asc::UNEXPECTED_INEXACT_SEGMENT, segment.offset)),
        }
    }

    fn locate(&mut self, lba: u64, byte_offset: u16, length: u64, lba_at: u16) -> Result<(), Sense> {
        let beyond = || copy_aborted(Asc::NO_ADDITIONAL_SENSE_INFORMATION, lba_at);
        let capacity = self.device.capacity();
        if lba > capacity.0 {
            return Err(beyond());
        }
        self.at = (lba << self.block_length.shift()) + u64::from(byte_offset);
        self.extent(0, length).map(drop).ok_or_else(beyond)
    }

    /// The blocks that hold `length` bytes, `from` bytes into the segment.
    fn extent(&self, from: u64, length: u64) -> Option<Extent> {
        let (begin, end) = (self.at + from, self.at + from + length);
        let first = begin >> self.block_length.shift();
        let blocks = end.div_ceil(u64::from(self.block_length.bytes())) - first;
        Extent::new(Lba(first), BlockCount(blocks), self.device.capacity()).ok()
    }

    /// Bytes from the start of the block that `from` lies in.
    fn offset_in_block(&self, from: u64) -> usize {
        ((self.at + from) & u64::from(self.block_length.bytes() - 1)) as usize
    }

    async fn read(&self, from: u64, length: u64) -> Result<Bytes, BlockError> {
        let extent = self.extent(from, length).ok_or(BlockError::OutOfRange)?;
        let _pass = self.end.enter(extent, Purpose::Read).await;
        let blocks = self.read_blocks(extent).await?.freeze();
        let skip = self.offset_in_block(from);
        Ok(blocks.slice(skip..skip + length as usize))
    }

    async fn read_blocks(&self, extent: Extent) -> Result<BytesMut, BlockError> {
        let buffer = BytesMut::with_capacity(extent.byte_length(self.block_length) as usize);
        self.device.read(extent, buffer).await
    }

    async fn write(&self, from: u64, data: Bytes) -> Result<(), BlockError> {
        let extent = self.extent(from, data.len() as u64).ok_or(BlockError::OutOfRange)?;
        let skip = self.offset_in_block(from);
        let whole = extent.byte_length(self.block_length) as usize;
        if data.len() == whole {
            let _pass = self.end.enter(extent, Purpose::Write).await;
            return self.device.write(extent, data.into(), Durability::Cached).await;
        }
        if self.pad && skip == 0 {
            let mut padded = BytesMut::from(&data[..]);
            padded.resize(whole, 0);
            let _pass = self.end.enter(extent, Purpose::Write).await;
            return self.device.write(extent, padded.into(), Durability::Cached).await;
        }
        let _pass = self.end.enter(extent, Purpose::ReadModifyWrite).await;
        let mut blocks = self.read_blocks(extent).await?;
        blocks[skip..skip + data.len()].copy_from_slice(&data);
        self.device.write(extent, blocks.into(), Durability::Cached).await
    }
}

fn permit(place: &Place, nexus: &NexusName, access: ReservationAccess, id_at: u16) -> Result<(), Sense> {
    place.end.permit(nexus, access).map_err(|refusal| {
        let asc = match refusal {
            EndRefusal::NotReady => Asc::COPY_TARGET_DEVICE_NOT_REACHABLE,
            EndRefusal::ReservationConflict => Asc::THIRD_PARTY_DEVICE_FAILURE,
            EndRefusal::WriteProtected => Asc::WRITE_PROTECTED,
        };
        copy_aborted(asc, id_at)
    })
}

/// `byte` of the parameter list is at fault.
fn copy_aborted(asc: Asc, byte: u16) -> Sense {
    let specific = SenseKeySpecific::SegmentPointer { in_segment_descriptor: false, byte, bit: None };
    Sense { specific: Some(specific), ..Sense::new(SenseKey::CopyAborted, asc) }
}

/// Bytes moved at a time, and the most memory a copy holds: large enough to stream, small enough to let others in between.
/// A multiple of every block length, so that only a segment's ends can lie within a block.
const CHUNK_BYTES: u64 = 1 << 20;
const SOURCE_ID_AT: u16 = 4;
const DESTINATION_ID_AT: u16 = 6;
/// PERIPHERAL DEVICE TYPE 00h.
const DIRECT_ACCESS: u8 = 0;
