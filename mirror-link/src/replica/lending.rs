//! The replica lends its blocks to an owner whose own device failed. Pure.

use super::io::{Found, LocalAction, Misbehaviour, Output};
use super::local_work::LocalWork;
use super::machine::Replica;
use super::planted::Fault;
use super::receiver::misbehaved;
use super::through::{READ_BYTES_MAX, READS_MAX};
use crate::block::BlockError;
use crate::extent::Extent;
use crate::wire::message::{DiskState, Lent, Message, READ_MAX, Read, ReadDone, Role};

/// What the owner asked for in this session: at most [`READS_MAX`] reads of [`READ_BYTES_MAX`] together. Where there is no room
/// for one more the owner has given up some of these, and asks again.
#[derive(Clone, Debug, Default)]
pub(super) struct Lending {
    /// Until what precedes it is applied.
    waiting: Vec<Asked>,
    /// On their way from the device, by the number of the local work.
    under_way: Vec<(u64, Asked)>,
    last: u64,
}

#[derive(Clone, Debug)]
struct Asked {
    read: Read,
    extent: Extent,
    bytes: u64,
}

impl Lending {
    /// Another session, or another stream: whoever still wants it asks again.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.under_way.clear();
    }

    fn take(&mut self, read: Read, extent: Extent, bytes: u64) {
        let reads = self.waiting.len() + self.under_way.len();
        if reads < READS_MAX && self.bytes() + bytes <= READ_BYTES_MAX {
            self.waiting.push(Asked { read, extent, bytes });
        }
    }

    fn knows(&self, id: u64) -> bool {
        self.all().any(|asked| asked.read.id == id)
    }

    fn bytes(&self) -> u64 {
        self.all().map(|asked| asked.bytes).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Asked> {
        self.waiting.iter().chain(self.under_way.iter().map(|(_, asked)| asked))
    }
}

impl Replica {
    pub(super) fn received_read(&mut self, read: Read) {
        let is_followed = self.role == Role::Secondary && self.receiver.has_begun();
        if !is_followed || read.epoch != self.receiver.epoch() || self.lending.knows(read.id) {
            return;
        }
        match self.check_read(&read) {
            Ok((extent, bytes)) => self.lending.take(read, extent, bytes),
            Err(how) => self.outputs.push_back(Output::Misbehaved(how)),
        }
    }

    fn check_read(&self, read: &Read) -> Result<(Extent, u64), Misbehaviour> {
        let Some(spec) = self.config.volumes.get(usize::from(read.volume.0)) else {
            let (most, volume) = (self.config.volumes.len(), read.volume);
            return Err(misbehaved(&format!("a volume below {most}"), format!("volume {volume}")));
        };
        let extent = Extent::new(read.range.lba, read.range.blocks, spec.capacity)
            .map_err(|error| misbehaved(&format!("blocks of volume {}", spec.name), error.to_string()))?;
        let bytes = extent.byte_length(spec.block_length);
        if extent.is_empty() || bytes > READ_MAX as u64 {
            return Err(misbehaved(&format!("a read of up to {READ_MAX} bytes"), format!("one of {bytes}")));
        }
        Ok((extent, bytes))
    }

    /// Read what has its precedents by now.
    pub(super) fn lend(&mut self) {
        let upto = self.receiver.applied_upto();
        let early = self.planted.has(Fault::LendEarly);
        let mut at = 0;
        while at < self.lending.waiting.len() {
            if self.lending.waiting[at].read.after.0 > upto && !early {
                at += 1;
                continue;
            }
            let asked = self.lending.waiting.swap_remove(at);
            if self.disk == DiskState::Failed {
                self.say_lent(asked.read, Lent::Failed);
                continue;
            }
            self.lending.last += 1;
            let number = self.lending.last;
            let io = LocalWork::Lend.io(self.run, number);
            let action = LocalAction::Read { volume: asked.read.volume, extent: asked.extent };
            self.lending.under_way.push((number, asked));
            self.outputs.push_back(Output::Local { io, action });
        }
    }

    pub(super) fn is_lending(&self) -> bool {
        !self.lending.waiting.is_empty()
    }

    /// A failure is told, and changes nothing else: what can still be read of the last good copy is to be read.
    pub(super) fn lent(&mut self, number: u64, result: Result<Found, BlockError>) {
        let Some(at) = self.lending.under_way.iter().position(|(under_way, _)| *under_way == number) else { return };
        let (_, Asked { read, .. }) = self.lending.under_way.swap_remove(at);
        let lent = match result {
            Ok(Found::Data(data)) => Lent::Data(data),
            Ok(Found::Zeroes) => Lent::Zeroes,
            // Nobody asked for one.
            Ok(Found::Digest(_)) => Lent::Failed,
            Err(error) => {
                self.outputs.push_back(Output::Event(super::io::Event::LocalFailed { error }));
                Lent::Failed
            }
        };
        self.say_lent(read, lent);
    }

    fn say_lent(&mut self, read: Read, lent: Lent) {
        let Some(slot) = self.meeting.any_slot() else { return };
        let done = ReadDone { epoch: read.epoch, id: read.id, lent };
        self.outputs.push_back(Output::Send { slot, message: Message::ReadDone(done) });
    }
}
