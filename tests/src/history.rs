//! What hosts did to a volume, and what may be read from it afterwards: judged from what they saw alone.
//!
//! ```text
//!   write 1  ├──────────┤                      issued, acknowledged
//!   write 2        ├────────────── †           under way at the crash
//!   write 3                ├─────┤
//!   may be read there: 3, or 2, which may come after it; not 1, which was acknowledged before 3 was issued
//! ```
//!
//! Each write is a version, and each block of it says which: what is read is a version, or garbage.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

pub const BLOCK: usize = 512;

/// In the order in which hosts saw things happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Of a block; 0 as nobody ever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

const NEVER_WRITTEN: Version = Version(0);

/// What is owed after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Everything that was acknowledged, and what a host has read.
    Acknowledged,
    /// What was acknowledged with FUA or before a SYNCHRONIZE CACHE, and dependence.
    Durable,
    /// Dependence alone: where a write is, everything is that was acknowledged before it was issued.
    Dependence,
}

#[derive(Clone, Debug)]
struct Write {
    blocks: Range<u32>,
    issued: Moment,
    /// `None`: under way, or it failed: it may be there or not.
    ended: Option<Moment>,
    is_durable: bool,
}

/// A host read that version.
#[derive(Clone, Copy, Debug)]
struct Seen {
    version: Version,
    begun: Moment,
    ended: Moment,
}

/// Of one volume, since it was last settled.
#[derive(Debug)]
pub struct History {
    /// In each block's stamp, so that another volume's block is not taken for one of this.
    salt: u32,
    now: u64,
    base: Vec<Version>,
    /// The version before that of the first write.
    settled: Version,
    writes: Vec<Write>,
    /// By block, indices of writes.
    covering: BTreeMap<u32, Vec<usize>>,
    seen: BTreeMap<u32, Vec<Seen>>,
    mixed: u64,
}

impl History {
    /// Nothing is written yet.
    pub fn new(blocks: u32, salt: u32) -> History {
        History {
            salt,
            now: 0,
            base: vec![NEVER_WRITTEN; blocks as usize],
            settled: NEVER_WRITTEN,
            writes: Vec::new(),
            covering: BTreeMap::new(),
            seen: BTreeMap::new(),
            mixed: 0,
        }
    }

    pub fn capacity(&self) -> u32 {
        self.base.len() as u32
    }

    /// To be called before the command is sent.
    pub fn begin(&mut self) -> Moment {
        self.now += 1;
        Moment(self.now)
    }

    /// A write begins; to be called before the command is sent.
    pub fn write(&mut self, blocks: Range<u32>) -> Version {
        let issued = self.begin();
        for block in blocks.clone() {
            self.covering.entry(block).or_default().push(self.writes.len());
        }
        self.writes.push(Write { blocks, issued, ended: None, is_durable: false });
        Version(self.settled.0 + self.writes.len() as u64)
    }

    /// Its host was told GOOD.
    pub fn acknowledge(&mut self, version: Version, is_durable: bool) {
        let now = self.begin();
        let write = &mut self.writes[(version.0 - self.settled.0 - 1) as usize];
        (write.ended, write.is_durable) = (Some(now), is_durable);
    }

    /// A SYNCHRONIZE CACHE ended well.
    pub fn flushed(&mut self, begun: Moment) {
        for write in self.writes.iter_mut().filter(|write| write.ended.is_some_and(|ended| ended < begun)) {
            write.is_durable = true;
        }
    }

    /// A host has read this; or why it may not have.
    pub fn read(&mut self, begun: Moment, first: u32, data: &[u8]) -> Result<(), String> {
        let ended = self.begin();
        let owed = |write: &Write| write.ended.is_some_and(|ended| ended < begun);
        for (block, data) in (first..).zip(data.chunks(BLOCK)) {
            match self.version(block, data) {
                Ok(version) => {
                    self.judge_block(block, version, begun, &owed, true)?;
                    self.seen.entry(block).or_default().push(Seen { version, begun, ended });
                }
                Err(garbage) if !self.is_mixed(block, data, begun) => return Err(garbage),
                Err(_) => self.mixed += 1,
            }
        }
        Ok(())
    }

    /// Blocks of which a host has read a part before a write of another, and a part after it. No standard forbids it, and a
    /// file's page cache does it: it copies into a page while another copies out of it.
    pub fn mixed(&self) -> u64 {
        self.mixed
    }

    /// Blocks that anybody wrote since the volume was settled, as ranges.
    pub fn touched(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for &block in self.covering.keys() {
            match ranges.last_mut() {
                Some(last) if last.end == block => last.end += 1,
                _ => ranges.push(block..block + 1),
            }
        }
        ranges
    }

    /// Nobody writes any more, and this is read from all that was touched.
    pub fn judge(&self, shown: &BTreeMap<u32, Version>, promise: Promise) -> Result<(), String> {
        let untold = self.covering.keys().find(|block| !shown.contains_key(block));
        assert_eq!(untold, None, "judged without having been read");
        let newest = shown.values().filter_map(|&version| self.get(version)).map(|write| write.issued).max();
        let precedes = |write: &Write| write.ended.is_some_and(|ended| newest.is_some_and(|newest| ended < newest));
        let owed = |write: &Write| match promise {
            Promise::Acknowledged => write.ended.is_some(),
            Promise::Durable => write.is_durable || precedes(write),
            Promise::Dependence => precedes(write),
        };
        let judged = |(&block, &version): (&u32, &Version)| {
            let with_seen = promise == Promise::Acknowledged;
            self.judge_block(block, version, Moment(u64::MAX), &owed, with_seen).err()
        };
        let faults: Vec<String> = shown.iter().filter_map(judged).collect();
        if faults.is_empty() {
            return Ok(());
        }
        let told = faults.iter().take(FAULTS_TOLD_MAX).cloned().collect::<Vec<_>>().join("\n");
        Err(format!("{} of {} blocks are not as {promise:?} has it:\n{told}", faults.len(), shown.len()))
    }

    /// Writes that were acknowledged, and are not there and not overwritten: what an asynchronous copy lacked.
    pub fn undone(&self, shown: &BTreeMap<u32, Version>) -> usize {
        let ended = |version| self.get(version).map_or(Some(SETTLED), |write| write.ended);
        let is_undone = |write: &&Write| {
            let mut versions = write.blocks.clone().filter_map(|block| shown.get(&block));
            write.ended.is_some() && versions.any(|&shown| ended(shown).is_some_and(|ended| ended < write.issued))
        };
        self.writes.iter().filter(is_undone).count()
    }

    /// What is there now is what was there before all that follows.
    pub fn settle(&mut self, shown: &BTreeMap<u32, Version>) {
        shown.iter().for_each(|(&block, &version)| self.base[block as usize] = version);
        self.settled.0 += self.writes.len() as u64;
        self.writes.clear();
        self.covering.clear();
        self.seen.clear();
    }

    /// All blocks, of a settled volume; or in which the image differs.
    pub fn judge_image(&self, image: &[u8]) -> Result<(), String> {
        assert!(self.writes.is_empty(), "settled first");
        if image.len() != self.base.len() * BLOCK {
            return Err(format!("the image has {} bytes", image.len()));
        }
        let differs = |&(block, data): &(u32, &[u8])| data != self.stamp(block, self.base[block as usize]);
        let differing: Vec<_> = (0..).zip(image.chunks(BLOCK)).filter(differs).collect();
        let Some((block, data)) = differing.first() else { return Ok(()) };
        let shows = self.version(*block, data).map_or_else(|garbage| garbage, |version| format!("{version:?}"));
        Err(format!(
            "{} blocks differ from what hosts read, {block} is the first: it is {shows}, they read {:?}",
            differing.len(),
            self.base[*block as usize]
        ))
    }

    /// What a write of that version carries.
    pub fn data(&self, blocks: Range<u32>, version: Version) -> Vec<u8> {
        blocks.flat_map(|block| self.stamp(block, version)).collect()
    }

    /// Of the blocks from `first` on, or which is garbage.
    pub fn versions(&self, first: u32, data: &[u8]) -> Result<Vec<Version>, String> {
        (first..).zip(data.chunks(BLOCK)).map(|(block, data)| self.version(block, data)).collect()
    }

    fn stamp(&self, block: u32, version: Version) -> [u8; BLOCK] {
        let mut stamp = [0; BLOCK];
        if version != NEVER_WRITTEN {
            stamp[..8].copy_from_slice(&version.0.to_le_bytes());
            stamp[8..12].copy_from_slice(&block.to_le_bytes());
            stamp[12..UNIT].copy_from_slice(&self.salt.to_le_bytes());
            (UNIT..BLOCK).step_by(UNIT).for_each(|at| stamp.copy_within(..UNIT, at));
        }
        stamp
    }

    fn version(&self, block: u32, data: &[u8]) -> Result<Version, String> {
        let (number, _) = data.split_first_chunk().ok_or_else(|| format!("block {block} is cut short"))?;
        let version = Version(u64::from_le_bytes(*number));
        match data == self.stamp(block, version) {
            true => Ok(version),
            false => Err(format!("block {block} is garbage, torn or another's: it begins {:02x?}", &data[..2 * UNIT])),
        }
    }

    /// Since the volume was settled.
    fn get(&self, version: Version) -> Option<&Write> {
        self.writes.get(version.0.checked_sub(self.settled.0 + 1)? as usize)
    }

    /// May it be there, for somebody who looks at `at`?
    fn judge_block(
        &self,
        block: u32,
        shown: Version,
        at: Moment,
        owed: &dyn Fn(&Write) -> bool,
        with_seen: bool,
    ) -> Result<(), String> {
        let ended = match self.get(shown) {
            Some(write) if write.blocks.contains(&block) => write.ended,
            None if shown == self.base[block as usize] => Some(SETTLED),
            _ => return Err(format!("block {block} is {shown:?}, which {}", self.origin(block, shown))),
        };
        // What is under way may take effect at any time.
        let Some(ended) = ended else { return Ok(()) };
        let covering = self.covering.get(&block).into_iter().flatten().map(|&index| (index, &self.writes[index]));
        let newest = covering.filter(|(_, write)| owed(write)).max_by_key(|(_, write)| write.issued);
        if let Some((index, newest)) = newest.filter(|(_, newest)| ended < newest.issued) {
            let version = Version(self.settled.0 + index as u64 + 1);
            let (shown, newest) = (self.describe(shown), describe(newest));
            return Err(format!("block {block} is {shown}; {version:?} is owed: {newest}"));
        }
        let earlier = self.seen.get(&block).into_iter().flatten().filter(|seen| with_seen && seen.ended < at);
        for seen in earlier.filter(|seen| seen.version != shown) {
            // A read that began after one of two had ended, and shows the other, tells which is the later.
            let issued = self.get(seen.version).map_or(SETTLED, |write| write.issued);
            if ended < seen.begun || ended < issued {
                let (shown, before) = (self.describe(shown), self.describe(seen.version));
                return Err(format!("block {block} is {shown}; a host had read {before}, {seen:?}"));
            }
        }
        Ok(())
    }

    /// Each byte is of what was there when the read began, or of a write that was under way since.
    fn is_mixed(&self, block: u32, data: &[u8], begun: Moment) -> bool {
        let owed = |write: &Write| write.ended.is_some_and(|ended| ended < begun);
        let indices = self.covering.get(&block).into_iter().flatten();
        let versions = indices.map(|&index| Version(self.settled.0 + index as u64 + 1));
        let stamps: Vec<_> = versions
            .chain([self.base[block as usize]])
            .filter(|&version| self.judge_block(block, version, begun, &owed, true).is_ok())
            .map(|version| self.stamp(block, version))
            .collect();
        data.iter().enumerate().all(|(at, byte)| stamps.iter().any(|stamp| stamp[at] == *byte))
    }

    fn origin(&self, block: u32, version: Version) -> String {
        match self.get(version) {
            Some(write) => format!("was not written there: {}", describe(write)),
            None if version <= self.settled => {
                format!("is of an earlier time; it had been {:?}", self.base[block as usize])
            }
            None => "nobody wrote".to_owned(),
        }
    }

    fn describe(&self, version: Version) -> String {
        let mut text = format!("{version:?}");
        match self.get(version) {
            Some(write) => write!(text, ", {}", describe(write)),
            None => write!(text, " of before"),
        }
        .expect("a String takes all");
        text
    }
}

fn describe(write: &Write) -> String {
    let Write { blocks, issued, ended, is_durable } = write;
    let durable = if *is_durable { ", durable" } else { "" };
    match ended {
        Some(ended) => format!("of blocks {blocks:?}, issued at {}, acknowledged at {}{durable}", issued.0, ended.0),
        None => format!("of blocks {blocks:?}, issued at {}, not acknowledged", issued.0),
    }
}

/// Before all moments.
const SETTLED: Moment = Moment(0);

/// Bytes of a stamp, which is repeated through the block.
const UNIT: usize = 16;

/// Lines.
const FAULTS_TOLD_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks 0 to 7, with these versions shown in 0 and on.
    fn shown<const N: usize>(versions: [Version; N]) -> BTreeMap<u32, Version> {
        (0..).zip(versions).collect()
    }

    fn written(history: &mut History, blocks: Range<u32>) -> Version {
        let version = history.write(blocks);
        history.acknowledge(version, false);
        version
    }

    fn history() -> History {
        History::new(8, 1)
    }

    const ZERO: Version = NEVER_WRITTEN;

    #[test]
    fn what_was_acknowledged_and_is_not_there_is_lost() {
        let mut history = history();
        let one = written(&mut history, 0..2);
        let two = written(&mut history, 1..2);
        history.judge(&shown([one, two]), Promise::Acknowledged).expect("as it was");
        for wrong in [[ZERO, two], [one, one], [one, ZERO]] {
            let lost = history.judge(&shown(wrong), Promise::Acknowledged).expect_err("lost");
            assert!(lost.contains("is owed"), "{lost}");
        }
    }

    #[test]
    fn what_was_under_way_may_be_there_or_not_in_any_part() {
        let mut history = history();
        let before = written(&mut history, 0..2);
        let first = history.write(0..2);
        let second = history.write(0..2);
        for right in [[before, before], [first, before], [second, first]] {
            history.judge(&shown(right), Promise::Acknowledged).expect("none of the two was acknowledged");
        }
        // The first may be the later one, though the second is acknowledged.
        history.acknowledge(second, false);
        history.judge(&shown([first, second]), Promise::Acknowledged).expect("they overlapped");
        history.judge(&shown([before, second]), Promise::Acknowledged).expect_err("one of the two is there");
    }

    #[test]
    fn an_asynchronous_copy_may_be_old_but_not_out_of_order() {
        let mut history = history();
        let one = written(&mut history, 0..1);
        let two = written(&mut history, 1..2);
        let third = history.write(2..3);
        for (right, undone) in
            [([ZERO, ZERO, ZERO], 2), ([one, ZERO, ZERO], 1), ([one, two, ZERO], 0), ([one, two, third], 0)]
        {
            history.judge(&shown(right), Promise::Dependence).expect("a prefix");
            assert_eq!(history.undone(&shown(right)), undone);
        }
        for wrong in [[ZERO, two, ZERO], [one, ZERO, third], [ZERO, ZERO, third]] {
            history.judge(&shown(wrong), Promise::Dependence).expect_err("out of order");
        }
    }

    #[test]
    fn what_was_flushed_is_owed_though_the_rest_is_not() {
        let mut history = history();
        let one = written(&mut history, 0..1);
        let begun = history.begin();
        let two = written(&mut history, 1..2);
        history.flushed(begun);
        let third = history.write(2..3);
        history.acknowledge(third, true);
        history.judge(&shown([one, two, third]), Promise::Durable).expect("all of it");
        history.judge(&shown([ZERO, ZERO, ZERO]), Promise::Durable).expect_err("one was flushed");
        history.judge(&shown([one, ZERO, ZERO]), Promise::Durable).expect_err("FUA");
        history.judge(&shown([one, ZERO, third]), Promise::Durable).expect_err("two was acknowledged before");
        history.settle(&shown([one, two, third]));
        let fourth = written(&mut history, 0..1);
        history.judge(&shown([one]), Promise::Durable).expect("not flushed");
        history.judge(&shown([one]), Promise::Acknowledged).expect_err("acknowledged");
        history.judge(&shown([fourth]), Promise::Acknowledged).expect("as it was");
    }

    #[test]
    fn what_a_host_has_read_stays() {
        let mut history = history();
        let one = written(&mut history, 0..1);
        let second = history.write(0..1);
        let read = |history: &mut History, version| {
            let (begun, data) = (history.begin(), history.data(0..1, version));
            history.read(begun, 0, &data)
        };
        read(&mut history, one).expect("not yet");
        read(&mut history, second).expect("it is there");
        read(&mut history, one).expect_err("gone again");
        history.judge(&shown([one]), Promise::Acknowledged).expect_err("gone again");
        history.judge(&shown([second]), Promise::Acknowledged).expect("stays");
    }

    #[test]
    fn a_read_that_shows_what_was_overwritten_is_wrong() {
        let mut history = history();
        let one = written(&mut history, 0..1);
        let begun = history.begin();
        let two = written(&mut history, 0..1);
        let data = history.data(0..1, one);
        history.read(begun, 0, &data).expect("it began before");
        let begun = history.begin();
        history.read(begun, 0, &data).expect_err("stale");
        history.read(begun, 0, &history.data(0..1, two)).expect("the last");
    }

    #[test]
    fn a_block_may_be_mixed_only_of_what_was_under_way_while_it_was_read() {
        let mut history = history();
        let before = written(&mut history, 0..1);
        let [one, two] = [(); 2].map(|()| history.write(0..1));
        let [before, one, two] = [before, one, two].map(|version| history.data(0..1, version));
        let mixed = |first: &[u8], second: &[u8]| [&first[..100], &second[100..]].concat();
        let begun = history.begin();
        for (first, second) in [(&one, &before), (&before, &two), (&two, &one)] {
            history.read(begun, 0, &mixed(first, second)).expect("under way");
        }
        assert_eq!(history.mixed(), 3);
        history.read(begun, 0, &mixed(&one, &[7; BLOCK])).expect_err("garbage");
        let three = written(&mut history, 0..1);
        let (begun, three) = (history.begin(), history.data(0..1, three));
        history.read(begun, 0, &mixed(&three, &one)).expect("one may be the later");
        history.read(begun, 0, &mixed(&three, &before)).expect_err("overwritten for long");
        history.versions(0, &mixed(&three, &one)).expect_err("nothing is under way after a crash");
    }

    #[test]
    fn garbage_and_what_is_another_block_s_is_found() {
        let mut history = history();
        let one = written(&mut history, 0..2);
        let mut data = history.data(0..1, one);
        assert_eq!(history.versions(0, &data), Ok(vec![one]));
        history.versions(1, &data).expect_err("another block's");
        History::new(8, 2).versions(0, &data).expect_err("another volume's");
        data[BLOCK - 1] ^= 1;
        history.versions(0, &data).expect_err("torn");
        let of_elsewhere = written(&mut history, 4..5);
        let all = [one, of_elsewhere, ZERO, ZERO, of_elsewhere];
        history.judge(&shown(all), Promise::Dependence).expect_err("nobody wrote it there");
    }

    #[test]
    fn one_corrupted_block_of_an_image_is_found() {
        let mut history = history();
        let one = written(&mut history, 0..2);
        history.settle(&shown([one, one]));
        let mut image = history.data(0..2, one);
        image.resize(8 * BLOCK, 0);
        history.judge_image(&image).expect("as it was");
        for at in [0, 2 * BLOCK - 1, 5 * BLOCK] {
            let mut corrupted = image.clone();
            corrupted[at] ^= 1;
            history.judge_image(&corrupted).expect_err("one bit");
        }
        // An older version in one block of one copy.
        let two = written(&mut history, 1..2);
        history.settle(&BTreeMap::from([(1, two)]));
        let differs = history.judge_image(&image).expect_err("the replica lacks it");
        assert!(differs.starts_with("1 blocks differ"), "{differs}");
    }
}
