//! The journal as it lies, read further than the daemon reads it: also behind what is damaged, where the header still says how
//! long that is.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Fault, note, unreadable};
use crate::ids::OwnerEpoch;
use crate::replica::journal::longest_run;
use crate::store::Kept;
use crate::store::journal::{JOURNAL, segment_numbers, segment_path};
use crate::wire::message::{DiskState, Frame, GroupFrame, Message, Op, OpFrame, Role};
use crate::wire::{self, Part, WireError};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalDump {
    /// Of all its segments.
    pub bytes: u64,
    /// What a node that starts with these files sends in order. `None`: nothing is whole, or it was not Primary.
    pub left: Option<LeftDump>,
    /// By number.
    pub segments: Vec<SegmentDump>,
}

/// The longest unbroken run of the record's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftDump {
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentDump {
    pub number: u64,
    /// Its file has so many.
    pub bytes: u64,
    pub end: SegmentEnd,
    /// It ends there for its reader: all frames before are whole.
    pub ends_at: u64,
    /// So many.
    pub frames: u64,
    /// The least and the greatest number of their writes.
    pub writes: Option<(u64, u64)>,
    /// Whole ones behind the end, of no use.
    pub frames_behind: u64,
    /// In the order of their places; a torn end is none of them.
    pub damaged: Vec<FrameDump>,
    /// All that could be found, damaged or not. `None`: nobody asked.
    pub listed: Option<Vec<FrameDump>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentEnd {
    /// Where the file ends.
    Whole,
    /// The file ends within a frame: it was being written when the node went down, or is just now.
    Torn,
    Damaged,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameDump {
    /// In the file.
    pub at: u64,
    /// Header, body and payload, as far as they are there.
    pub bytes: u64,
    pub state: FrameState,
    /// What is wrong with it.
    pub cause: Option<String>,
    /// `None`: it is not to be believed, or is no element of a stream.
    pub write: Option<WriteDump>,
}

/// The first of its parts whose CRC32C is not that of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameState {
    Whole,
    /// Nobody knows what follows, nor where.
    HeaderDamaged,
    BodyDamaged,
    PayloadDamaged,
    /// Its checksums are right, and it is nothing that a journal has.
    Foreign,
    /// The file ends before it does.
    CutOff,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteDump {
    pub epoch: u64,
    pub number: u64,
    /// It follows all up to this one, and those of `besides`.
    pub after: u64,
    pub besides: Vec<u64>,
    pub op: WrittenOp,
    /// In order of the group's volumes; with the name that the record has for it.
    pub volume: Option<u16>,
    pub volume_name: Option<Arc<str>>,
    pub lba: Option<u64>,
    pub blocks: Option<u64>,
    pub payload_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenOp {
    Write,
    WriteZeroes,
    Unmap,
    Flush,
    Mark,
    Void,
    ResyncDone,
    Verify,
}

/// `None`: there is none, or it can't be read, which is noted.
pub(super) fn read(group: &Path, record: Option<&Kept>, listed: bool, faults: &mut Vec<Fault>) -> Option<JournalDump> {
    let directory = group.join(JOURNAL);
    let numbers = match segment_numbers(&directory) {
        Ok(numbers) => numbers,
        Err(error) => return note(faults, unreadable(&directory, &error)),
    };
    let mut reign = Reign::of(record);
    let mut segments = Vec::new();
    for number in numbers {
        let path = segment_path(&directory, number);
        match Reading::open(&path, listed)
            .and_then(|reading| reading.map(|it| it.segment(number, &mut reign)).transpose())
        {
            Ok(segment) => segments.extend(segment),
            Err(error) => faults.push(unreadable(&path, &error)),
        }
    }
    if segments.is_empty() {
        return None;
    }
    for segment in segments.iter().filter(|segment| segment.end == SegmentEnd::Damaged) {
        faults.push(damaged(segment_path(&directory, segment.number), segment));
    }
    let gap = segments.windows(2).find(|pair| pair[1].number != pair[0].number + 1);
    if let Some([before, after]) = gap {
        let error =
            format!("{}: segments {} to {} are missing", directory.display(), before.number + 1, after.number - 1);
        faults.push(Fault { error, remedy: format!("look for them; without them nothing of it is used: {UNUSED}") });
    }
    let left = reign.left().filter(|_| gap.is_none());
    Some(JournalDump { bytes: segments.iter().map(|segment| segment.bytes).sum(), left, segments })
}

fn damaged(path: PathBuf, segment: &SegmentDump) -> Fault {
    let cause = segment.damaged.first().and_then(|frame| frame.cause.as_deref()).unwrap_or("it is no frame");
    let error = format!("{}: damaged at byte {}: {cause}", path.display(), segment.ends_at);
    let remedy = "look at the disk that state_dir is on, unless the machine lost power: of what was not committed then, part may be \
                  there. What follows in the segment is not used";
    Fault { error, remedy: format!("{remedy}: {UNUSED}") }
}

/// Whose writes would be used, and which were found.
struct Reign {
    epoch: Option<OwnerEpoch>,
    names: Option<Arc<[crate::store::copies::Copy]>>,
    found: BTreeSet<u64>,
}

impl Reign {
    fn of(record: Option<&Kept>) -> Reign {
        let is_fit = |kept: &&Kept| {
            let (role, disk) = (kept.record.role, kept.record.disk);
            role == Role::Primary && !matches!(disk, DiskState::Failed | DiskState::Inconsistent)
        };
        Reign {
            epoch: record.filter(is_fit).map(|kept| kept.record.epoch),
            names: record.and_then(|kept| kept.copies.clone()),
            found: BTreeSet::new(),
        }
    }

    fn left(&self) -> Option<LeftDump> {
        let (first, end) = longest_run(self.found.iter().copied());
        let epoch = self.epoch.filter(|_| end > first)?;
        Some(LeftDump { epoch: epoch.0, first, last: end - 1 })
    }

    fn write(&self, frame: &OpFrame) -> WriteDump {
        let place = frame.op.place();
        let volume = match &frame.op {
            Op::Mark { volume, .. } => Some(*volume),
            _ => place.map(|(volume, _)| volume),
        };
        let name = |volume: u16| Some(self.names.as_ref()?.get(usize::from(volume))?.name.clone());
        WriteDump {
            epoch: frame.epoch.0,
            number: frame.seq.0,
            after: frame.after.0,
            besides: frame.odep.iter().map(|seq| seq.0).collect(),
            op: written(&frame.op),
            volume: volume.map(|volume| volume.0),
            volume_name: volume.and_then(|volume| name(volume.0)),
            lba: place.map(|(_, range)| range.lba.0),
            blocks: place.map(|(_, range)| range.blocks.0),
            payload_bytes: frame.op.payload_bytes(),
        }
    }
}

fn written(op: &Op) -> WrittenOp {
    match op {
        Op::Write { .. } => WrittenOp::Write,
        Op::WriteZeroes { .. } => WrittenOp::WriteZeroes,
        Op::Unmap { .. } => WrittenOp::Unmap,
        Op::Flush => WrittenOp::Flush,
        Op::Mark { .. } => WrittenOp::Mark,
        Op::Void => WrittenOp::Void,
        Op::ResyncDone { .. } => WrittenOp::ResyncDone,
        Op::Verify { .. } => WrittenOp::Verify,
    }
}

struct Reading {
    file: File,
    bytes: u64,
    listed: bool,
}

/// What lies at a place of a segment.
enum Found {
    End,
    /// So many bytes, and no more.
    Torn(FrameDump),
    Frame(FrameDump, Option<OpFrame>),
}

impl Reading {
    /// `None`: it was removed in the meantime.
    fn open(path: &Path, listed: bool) -> io::Result<Option<Reading>> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let file = file?;
                Ok(Some(Reading { bytes: file.metadata()?.len(), file, listed }))
            }
        }
    }

    fn segment(mut self, number: u64, reign: &mut Reign) -> io::Result<SegmentDump> {
        let mut segment = SegmentDump {
            number,
            bytes: 0,
            end: SegmentEnd::Whole,
            ends_at: 0,
            frames: 0,
            writes: None,
            frames_behind: 0,
            damaged: Vec::new(),
            listed: self.listed.then(Vec::new),
        };
        let mut at = 0;
        loop {
            let (dump, frame) = match self.next(at, reign)? {
                Found::End => break,
                // One that a daemon is just writing is longer by now.
                Found::Torn(_) if self.has_grown()? => continue,
                Found::Torn(dump) => {
                    if segment.end == SegmentEnd::Whole {
                        segment.end = SegmentEnd::Torn;
                    }
                    segment.listed.iter_mut().for_each(|listed| listed.push(dump.clone()));
                    break;
                }
                Found::Frame(dump, frame) => (dump, frame),
            };
            segment.listed.iter_mut().for_each(|listed| listed.push(dump.clone()));
            at += dump.bytes;
            let is_last = dump.state == FrameState::HeaderDamaged;
            match frame {
                Some(frame) if segment.end == SegmentEnd::Whole => {
                    let writes = segment.writes.get_or_insert((frame.seq.0, frame.seq.0));
                    *writes = (writes.0.min(frame.seq.0), writes.1.max(frame.seq.0));
                    if reign.epoch == Some(frame.epoch) {
                        reign.found.insert(frame.seq.0);
                    }
                    (segment.frames, segment.ends_at) = (segment.frames + 1, at);
                }
                Some(_) => segment.frames_behind += 1,
                None => {
                    segment.end = SegmentEnd::Damaged;
                    segment.damaged.push(dump);
                }
            }
            if is_last {
                break;
            }
        }
        segment.bytes = self.bytes;
        Ok(segment)
    }

    fn has_grown(&mut self) -> io::Result<bool> {
        let before = std::mem::replace(&mut self.bytes, self.file.metadata()?.len());
        Ok(self.bytes > before)
    }

    fn next(&self, at: u64, reign: &Reign) -> io::Result<Found> {
        let rest = self.bytes.saturating_sub(at);
        if rest == 0 {
            return Ok(Found::End);
        }
        let dump = |bytes, state, cause| FrameDump { at, bytes, state, cause, write: None };
        let torn = |expected: usize| {
            let cause = format!("the file ends after {rest} of its {expected} bytes");
            Found::Torn(dump(rest, FrameState::CutOff, Some(cause)))
        };
        let head = self.read(at, rest.min(HEAD as u64) as usize)?;
        let length = match wire::frame_length(&head) {
            Ok(Some(length)) => length,
            Ok(None) => return Ok(torn(HEAD)),
            Err(error) => {
                let state = FrameState::HeaderDamaged;
                return Ok(Found::Frame(dump(rest, state, Some(error.to_string())), None));
            }
        };
        if length as u64 > rest {
            return Ok(torn(length));
        }
        let (frame, error) = wire::inspect(&self.read(at, length)?);
        let frame = match frame {
            Some(Frame::Group(GroupFrame { message: Message::Op(frame), .. })) => Some(frame),
            _ => None,
        };
        let (state, cause) = match error {
            None if frame.is_some() => (FrameState::Whole, None),
            None => (FrameState::Foreign, Some("it is no element of a stream of writes".to_owned())),
            Some(error) => (state(&error), Some(error.to_string())),
        };
        let write = frame.as_ref().map(|frame| reign.write(frame));
        let dump = FrameDump { write, ..dump(length as u64, state, cause) };
        Ok(Found::Frame(dump, frame.filter(|_| state == FrameState::Whole)))
    }

    /// Less where the file has become shorter.
    fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        let mut done = 0;
        while done < bytes {
            match self.file.read_at(&mut buffer[done..], at + done as u64)? {
                0 => break,
                more => done += more,
            }
        }
        buffer.truncate(done);
        Ok(buffer)
    }
}

fn state(error: &WireError) -> FrameState {
    match error {
        WireError::Damaged { part: Part::Header, .. } | WireError::Foreign { .. } => FrameState::HeaderDamaged,
        WireError::Damaged { part: Part::Body(_), .. } => FrameState::BodyDamaged,
        WireError::Damaged { part: Part::Payload(_), .. } | WireError::Undecompressed { .. } => {
            FrameState::PayloadDamaged
        }
        WireError::Version { .. } | WireError::Misbehaved { .. } | WireError::Broken => FrameState::Foreign,
    }
}

/// A frame's header, bytes: less tells nothing.
const HEAD: usize = 44;
const UNUSED: &str = "those writes are sent as blocks, of which the map speaks, and not in their order";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::block::Payload;
    use crate::extent::{BlockCount, Lba};
    use crate::ids::{Generation, VolumeIndex, WriteSeq};
    use crate::replica::io::Record;
    use crate::store::copies::Copy;
    use crate::store::dump::{GroupDump, Listed, one};
    use crate::store::{Journal, Place, RecordStore};
    use crate::wire::message::Range;

    const EPOCH: OwnerEpoch = OwnerEpoch(5);
    /// Of a write of one block that follows another beside `after`.
    const FRAME: u64 = 44 + 48 + 8 + 512;

    struct Lying {
        state_dir: tempfile::TempDir,
        place: Arc<Place>,
    }

    impl Lying {
        /// A Primary's, whose journal has these writes.
        fn of(seqs: impl IntoIterator<Item = u64>) -> Lying {
            let state_dir = tempfile::tempdir().unwrap();
            let place = Place::claim(state_dir.path(), "db").unwrap();
            let mut journal = Journal::new(&place, 1 << 30).unwrap();
            seqs.into_iter().for_each(|seq| journal.append(&write(seq)).unwrap());
            let lying = Lying { state_dir, place };
            lying.record(Role::Primary);
            lying
        }

        fn record(&self, role: Role) {
            let record = Record {
                role,
                disk: DiskState::UpToDate,
                epoch: EPOCH,
                generation: Generation(9),
                history: Vec::new(),
                peer_outdated: true,
                clean: false,
                dirty_since: None,
                mode: crate::config::Mode::Async,
                lost_cache: false,
                counting: None,
                overwritten: None,
            };
            let copy = Copy { name: "data".into(), blocks: 9, label: None };
            RecordStore::new(&self.place).of([copy].into()).save(&record).unwrap();
        }

        fn segment(&self, number: u64) -> PathBuf {
            self.place.path().join(format!("journal/{number}"))
        }

        fn alter(&self, alter: impl FnOnce(&mut Vec<u8>)) {
            let mut bytes = fs::read(self.segment(0)).unwrap();
            alter(&mut bytes);
            fs::write(self.segment(0), bytes).unwrap();
        }

        fn found(&self) -> GroupDump {
            one(self.state_dir.path(), "db", Listed { writes: true, ..Listed::default() }).unwrap()
        }

        /// What a start makes of it, which changes it.
        fn taken_up(&self) -> Option<(u64, u64)> {
            let (_, left) = Journal::open(&self.place, 1 << 30, EPOCH, 1000).unwrap();
            left.map(|left| (left.first.0, left.first.0 + left.writes.len() as u64 - 1))
        }
    }

    fn write(seq: u64) -> OpFrame {
        let mut data = Payload::default();
        data.push(vec![seq as u8; 512].into());
        let range = Range { lba: Lba(10 * seq), blocks: BlockCount(1) };
        let op = Op::Write { volume: VolumeIndex(0), range, data, durable: false };
        OpFrame { epoch: EPOCH, seq: WriteSeq(seq), after: WriteSeq(seq - 1), odep: vec![WriteSeq(seq)].into(), op }
    }

    fn shape(segment: &SegmentDump) -> (SegmentEnd, u64, u64, u64) {
        (segment.end, segment.ends_at, segment.frames, segment.frames_behind)
    }

    /// Exactly what a start takes up is said to be left.
    fn agrees(lying: &Lying, found: &GroupDump) {
        let left = found.journal.as_ref().unwrap().left.map(|left| (left.first, left.last));
        assert_eq!(left, lying.taken_up());
    }

    #[test]
    fn a_whole_journal_is_shown_frame_by_frame() {
        let lying = Lying::of([7, 8, 9, 3]);
        let found = lying.found();
        assert_eq!(found.faults, []);
        let journal = found.journal.clone().unwrap();
        assert_eq!((journal.bytes, journal.left), (4 * FRAME, Some(LeftDump { epoch: 5, first: 7, last: 9 })));
        let [segment] = &journal.segments[..] else { panic!("one") };
        assert_eq!(shape(segment), (SegmentEnd::Whole, 4 * FRAME, 4, 0));
        assert_eq!((segment.writes, segment.damaged.len(), segment.bytes), (Some((3, 9)), 0, 4 * FRAME));
        let listed = segment.listed.as_ref().unwrap();
        assert!(listed.iter().all(|frame| (frame.state, frame.bytes) == (FrameState::Whole, FRAME)));
        let second = WriteDump {
            epoch: 5,
            number: 8,
            after: 7,
            besides: vec![8],
            op: WrittenOp::Write,
            volume: Some(0),
            volume_name: Some("data".into()),
            lba: Some(80),
            blocks: Some(1),
            payload_bytes: 512,
        };
        assert_eq!((listed[1].at, listed[1].write.as_ref()), (FRAME, Some(&second)));
        agrees(&lying, &found);
    }

    #[test]
    fn a_torn_end_is_no_fault_wherever_it_tears() {
        for (cut, at) in [(1, 4), (FRAME - 1, 4), (FRAME, 4), (FRAME + 500, 3), (FRAME + 570, 3)] {
            let lying = Lying::of(1..=5);
            lying.alter(|bytes| bytes.truncate((5 * FRAME - cut) as usize));
            let found = lying.found();
            let journal = found.journal.clone().unwrap();
            let end = if cut == FRAME { SegmentEnd::Whole } else { SegmentEnd::Torn };
            assert_eq!(shape(&journal.segments[0]), (end, at * FRAME, at, 0), "cut by {cut}");
            assert_eq!(journal.segments[0].bytes, 5 * FRAME - cut);
            assert_eq!((found.faults.len(), journal.left.map(|left| left.last)), (0, Some(at)));
            let listed = journal.segments[0].listed.as_ref().unwrap();
            assert_eq!(listed.len() as u64, at + u64::from(end == SegmentEnd::Torn));
            if let Some(torn) = listed.iter().find(|frame| frame.state == FrameState::CutOff) {
                assert!(torn.cause.as_ref().unwrap().starts_with("the file ends after "), "{torn:?}");
            }
            agrees(&lying, &found);
        }
    }

    #[test]
    fn what_is_damaged_is_named_by_its_part_and_read_behind_where_that_can_be() {
        let expected = [
            // A byte of the third frame, what that is of, whether its write is known, frames behind.
            (20, FrameState::HeaderDamaged, None, 0),
            (44 + 9, FrameState::BodyDamaged, None, 2),
            (FRAME - 1, FrameState::PayloadDamaged, Some(3), 2),
        ];
        for (byte, state, number, behind) in expected {
            let lying = Lying::of(1..=5);
            lying.alter(|bytes| bytes[(2 * FRAME + byte) as usize] ^= 1);
            let found = lying.found();
            let journal = found.journal.clone().unwrap();
            assert_eq!(shape(&journal.segments[0]), (SegmentEnd::Damaged, 2 * FRAME, 2, behind), "{state:?}");
            let [damaged] = &journal.segments[0].damaged[..] else { panic!("{:?}", journal.segments) };
            assert_eq!((damaged.state, damaged.at), (state, 2 * FRAME));
            assert_eq!(damaged.write.as_ref().map(|write| write.number), number);
            assert_eq!(journal.left, Some(LeftDump { epoch: 5, first: 1, last: 2 }));
            let [fault] = &found.faults[..] else { panic!("{:?}", found.faults) };
            assert!(fault.error.contains("mirror/db/journal/0: damaged at byte 1224: "), "{fault:?}");
            assert!(fault.error.contains("was damaged on its way: expected CRC32C"), "{fault:?}");
            agrees(&lying, &found);
        }
        // As a file system leaves what was not committed.
        let lying = Lying::of(1..=2);
        lying.alter(|bytes| bytes.resize(9000, 0));
        let found = lying.found();
        assert_eq!(shape(&found.journal.as_ref().unwrap().segments[0]), (SegmentEnd::Damaged, 2 * FRAME, 2, 0));
        agrees(&lying, &found);
    }

    #[test]
    fn a_segment_that_is_missing_costs_all_of_it() {
        let lying = Lying::of(1..=3);
        fs::copy(lying.segment(0), lying.segment(2)).unwrap();
        let found = lying.found();
        assert_eq!(found.journal.as_ref().unwrap().left, None);
        assert!(found.faults[0].error.ends_with("journal: segments 1 to 1 are missing"), "{:?}", found.faults);
        agrees(&lying, &found);
    }

    #[test]
    fn only_a_primary_sends_it_and_an_empty_one_is_none() {
        let lying = Lying::of(1..=3);
        lying.record(Role::Secondary);
        let found = lying.found();
        assert_eq!(found.journal.as_ref().map(|journal| (journal.left, journal.segments[0].frames)), Some((None, 3)));
        let lying = Lying::of([]);
        assert_eq!((lying.found().journal, lying.found().faults.len()), (None, 0));
        fs::create_dir_all(lying.segment(0)).unwrap();
        let found = lying.found();
        assert_eq!((found.journal, found.faults.len()), (None, 1), "it is no file");
    }
}
