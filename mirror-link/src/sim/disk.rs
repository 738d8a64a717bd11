//! A node's volumes: each block holds the stamp of the write that put it there.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};

use super::rng::{Rng, mix};
use crate::block::{BlockError, Durability, Payload};
use crate::extent::{BlockCount, BlockLength, Extent, Lba};
use crate::ids::VolumeIndex;
use crate::replica::io::{Found, LocalAction, LocalIo};
use crate::wire::message::Digest;

/// Which write: its number in the history. Blocks carry it in their first eight bytes.
pub type Stamp = u64;

/// Never written, or zeroed since.
pub const ZEROES: Stamp = 0;

/// Stamps by volume and block.
pub type Image = Vec<Vec<Stamp>>;

pub const BLOCK: BlockLength = BlockLength::B512;

/// The data of a write.
pub fn stamped(stamps: &[Stamp]) -> Payload {
    let length = BLOCK.bytes() as usize;
    let mut bytes = BytesMut::with_capacity(stamps.len() * length);
    for &stamp in stamps {
        bytes.put_u64(stamp);
        bytes.put_bytes(0, length - 8);
    }
    bytes.into()
}

pub fn stamps(data: &Payload) -> Vec<Stamp> {
    let whole: Bytes = data.contiguous();
    whole
        .chunks(BLOCK.bytes() as usize)
        .map(|block| Stamp::from_be_bytes(block[..8].try_into().expect("a block is longer than a stamp")))
        .collect()
}

/// Of blocks with these stamps.
pub fn digest(stamps: &[Stamp]) -> Digest {
    if stamps.iter().all(|&stamp| stamp == ZEROES) {
        return Digest::ZEROES;
    }
    // No stamp undoes what came before it, nor the number of blocks.
    let word = stamps.iter().fold(mix(!(stamps.len() as u64)), |word, &stamp| mix(word.rotate_left(9) ^ mix(!stamp)));
    let mut digest = Digest::ZEROES;
    digest.0[..8].copy_from_slice(&word.to_be_bytes());
    digest
}

#[derive(Debug)]
enum Action {
    Write {
        at: Place,
        stamps: Vec<Stamp>,
        durability: Durability,
    },
    Flush {
        upto: u64,
    },
    /// As blocks, or as their digest.
    Read {
        at: Place,
        found: Option<Vec<Stamp>>,
        digests: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub volume: usize,
    pub lba: usize,
    pub blocks: usize,
}

impl Place {
    pub fn new(volume: VolumeIndex, extent: Extent) -> Place {
        Place { volume: volume.0.into(), lba: extent.lba().0 as usize, blocks: extent.blocks().0 as usize }
    }

    /// On a volume of so many blocks.
    pub fn extent(self, capacity: usize) -> Extent {
        let capacity = BlockCount(capacity as u64);
        Extent::new(Lba(self.lba as u64), BlockCount(self.blocks as u64), capacity).expect("hosts know the capacity")
    }
}

/// What an action that ended is answered with.
#[derive(Debug)]
pub enum Answer {
    Done(Result<(), BlockError>),
    Read(Result<Found, BlockError>),
}

/// Written and not flushed, in order of completion.
#[derive(Debug)]
struct Cached {
    number: u64,
    volume: usize,
    block: usize,
    stamp: Stamp,
}

#[derive(Debug)]
pub struct Disk {
    pub image: Image,
    durable: Image,
    cached: Vec<Cached>,
    number: u64,
    under_way: BTreeMap<LocalIo, Action>,
    /// So many of the next actions fail; `u32::MAX`: all.
    pub broken: u32,
    /// Some action did.
    pub has_failed: bool,
}

impl Disk {
    pub fn new(volumes: &[u64]) -> Disk {
        let image: Image = volumes.iter().map(|&blocks| vec![ZEROES; blocks as usize]).collect();
        Disk {
            durable: image.clone(),
            image,
            cached: Vec::new(),
            number: 0,
            under_way: BTreeMap::new(),
            broken: 0,
            has_failed: false,
        }
    }

    /// The next action fails.
    pub fn strikes(&mut self) -> bool {
        let strikes = self.broken > 0;
        self.has_failed |= strikes;
        if strikes && self.broken != u32::MAX {
            self.broken -= 1;
        }
        strikes
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub fn stamps(&self, at: Place) -> &[Stamp] {
        &self.image[at.volume][at.lba..at.lba + at.blocks]
    }

    /// What it will hold once everything under way is done, where nothing under way overlaps.
    pub fn settled(&self) -> Image {
        let mut image = self.image.clone();
        for action in self.under_way.values() {
            if let Action::Write { at, stamps, .. } = action {
                image[at.volume][at.lba..at.lba + at.blocks].copy_from_slice(stamps);
            }
        }
        image
    }

    /// Some blocks of it may show at once, whatever `end` says later.
    pub fn begin(&mut self, io: LocalIo, action: LocalAction, rng: &mut Rng) {
        let digests = matches!(action, LocalAction::Digest { .. });
        let action = match action {
            LocalAction::Write { volume, extent, data, durability } => {
                Action::Write { at: Place::new(volume, extent), stamps: stamps(&data), durability }
            }
            LocalAction::WriteZeroes { volume, extent, durability, .. } => {
                zeroes(Place::new(volume, extent), durability)
            }
            LocalAction::Unmap { volume, extent } => zeroes(Place::new(volume, extent), Durability::Cached),
            LocalAction::Flush { .. } => Action::Flush { upto: self.number },
            LocalAction::Read { volume, extent } | LocalAction::Digest { volume, extent } => {
                let at = Place::new(volume, extent);
                Action::Read { at, found: rng.coin().then(|| self.stamps(at).to_vec()), digests }
            }
        };
        if let Action::Write { at, stamps, .. } = &action {
            assert_eq!(at.blocks, stamps.len(), "the data is as long as the extent");
            if rng.permille(200) {
                self.put_some(*at, stamps, rng);
            }
        }
        let former = self.under_way.insert(io, action);
        assert!(former.is_none(), "{io:?} is asked for once");
    }

    pub fn end(&mut self, io: LocalIo, error: Option<BlockError>, rng: &mut Rng) -> Option<Answer> {
        let action = self.under_way.remove(&io)?;
        Some(match (action, error) {
            (Action::Read { .. }, Some(error)) => Answer::Read(Err(error)),
            (Action::Read { at, found, digests }, None) => {
                let stamps = found.unwrap_or_else(|| self.stamps(at).to_vec());
                if digests {
                    return Some(Answer::Read(Ok(Found::Digest(digest(&stamps)))));
                }
                let data = stamps.iter().any(|&stamp| stamp != ZEROES);
                Answer::Read(Ok(if data { Found::Data(stamped(&stamps)) } else { Found::Zeroes }))
            }
            (Action::Write { at, stamps, .. }, Some(error)) => {
                self.put_some(at, &stamps, rng);
                Answer::Done(Err(error))
            }
            (Action::Write { at, stamps, durability }, None) => {
                (at.lba..).zip(&stamps).for_each(|(block, &stamp)| self.put(at.volume, block, stamp));
                if durability == Durability::Durable {
                    self.harden(|cached| {
                        cached.volume == at.volume && (at.lba..at.lba + at.blocks).contains(&cached.block)
                    });
                }
                Answer::Done(Ok(()))
            }
            (Action::Flush { .. }, Some(error)) => Answer::Done(Err(error)),
            (Action::Flush { upto }, None) => {
                self.harden(|cached| cached.number <= upto);
                Answer::Done(Ok(()))
            }
        })
    }

    /// Blocks become others without having been written.
    pub fn corrupt(&mut self, volume: usize, block: usize, stamp: Stamp) {
        self.image[volume][block] = stamp;
        self.durable[volume][block] = stamp;
    }

    /// Another one in its place.
    pub fn replace(&mut self) {
        assert!(self.is_idle(), "nothing is under way on it");
        self.image.iter_mut().chain(&mut self.durable).for_each(|volume| volume.fill(ZEROES));
        self.cached.clear();
    }

    /// The process dies: what was under way is done in part, what was done stays.
    pub fn process_dies(&mut self, rng: &mut Rng) {
        for action in std::mem::take(&mut self.under_way).into_values() {
            if let Action::Write { at, stamps, .. } = action {
                self.put_some(at, &stamps, rng);
            }
        }
    }

    /// The machine dies: any part of what was not flushed is lost.
    pub fn power_fails(&mut self, rng: &mut Rng) {
        self.process_dies(rng);
        self.cached.retain(|_| rng.coin());
        self.harden(|_| true);
        self.image = self.durable.clone();
    }

    fn put_some(&mut self, at: Place, stamps: &[Stamp], rng: &mut Rng) {
        for (block, &stamp) in (at.lba..).zip(stamps) {
            if rng.coin() {
                self.put(at.volume, block, stamp);
            }
        }
    }

    fn put(&mut self, volume: usize, block: usize, stamp: Stamp) {
        self.number += 1;
        self.image[volume][block] = stamp;
        self.cached.push(Cached { number: self.number, volume, block, stamp });
    }

    fn harden(&mut self, chosen: impl Fn(&Cached) -> bool) {
        let durable = &mut self.durable;
        self.cached.retain(|cached| {
            let chosen = chosen(cached);
            if chosen {
                durable[cached.volume][cached.block] = cached.stamp;
            }
            !chosen
        });
    }
}

fn zeroes(at: Place, durability: Durability) -> Action {
    Action::Write { at, stamps: vec![ZEROES; at.blocks], durability }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(lba: u64, blocks: u64) -> Extent {
        Extent::new(Lba(lba), BlockCount(blocks), BlockCount(8)).unwrap()
    }

    fn write(disk: &mut Disk, io: u64, lba: u64, stamps: &[Stamp], rng: &mut Rng) {
        let (volume, extent) = (VolumeIndex(0), extent(lba, stamps.len() as u64));
        let action = LocalAction::Write { volume, extent, data: stamped(stamps), durability: Durability::Cached };
        disk.begin(LocalIo(io), action, rng);
    }

    #[test]
    fn blocks_hold_the_stamps_of_their_writes() {
        let (mut disk, mut rng) = (Disk::new(&[8]), Rng::new(1));
        write(&mut disk, 1, 2, &[5, 6], &mut rng);
        assert_eq!(disk.settled()[0], [0, 0, 5, 6, 0, 0, 0, 0]);
        assert!(matches!(disk.end(LocalIo(1), None, &mut rng), Some(Answer::Done(Ok(())))));
        assert_eq!(disk.image, disk.settled());
        disk.begin(LocalIo(2), LocalAction::Read { volume: VolumeIndex(0), extent: extent(2, 1) }, &mut rng);
        let Some(Answer::Read(Ok(Found::Data(data)))) = disk.end(LocalIo(2), None, &mut rng) else { panic!("data") };
        assert_eq!(stamps(&data), [5]);
        disk.begin(LocalIo(3), LocalAction::Unmap { volume: VolumeIndex(0), extent: extent(0, 8) }, &mut rng);
        disk.end(LocalIo(3), None, &mut rng);
        disk.begin(LocalIo(4), LocalAction::Read { volume: VolumeIndex(0), extent: extent(0, 8) }, &mut rng);
        assert!(matches!(disk.end(LocalIo(4), None, &mut rng), Some(Answer::Read(Ok(Found::Zeroes)))));
    }

    #[test]
    fn power_takes_what_was_not_flushed_and_only_that() {
        let (mut lost, mut kept) = (false, false);
        for seed in 0..50 {
            let (mut disk, mut rng) = (Disk::new(&[8]), Rng::new(seed));
            write(&mut disk, 1, 0, &[1, 1], &mut rng);
            disk.end(LocalIo(1), None, &mut rng);
            disk.begin(LocalIo(2), LocalAction::Flush { volume: None }, &mut rng);
            write(&mut disk, 3, 1, &[3], &mut rng);
            disk.end(LocalIo(3), None, &mut rng);
            disk.end(LocalIo(2), None, &mut rng);
            disk.power_fails(&mut rng);
            assert_eq!(disk.image[0][0], 1);
            (lost, kept) = (lost || disk.image[0][1] == 1, kept || disk.image[0][1] == 3);
        }
        assert!(lost && kept);
    }

    #[test]
    fn a_process_that_dies_leaves_writes_in_part() {
        let (mut disk, mut rng) = (Disk::new(&[8]), Rng::new(3));
        write(&mut disk, 1, 0, &[1; 8], &mut rng);
        disk.process_dies(&mut rng);
        let written = disk.image[0].iter().filter(|&&stamp| stamp == 1).count();
        assert!(disk.is_idle() && written > 0 && written < 8);
    }
}
