//! Records, maps and journals as people read them.

use std::fmt::Write;
use std::path::Path;

use lunmirror::api::shown::{bytes, word};
use target_core::mirror::dump::{
    DamagedPlace, FrameDump, FrameState, GroupDump, JournalDump, MapDump, Run, SegmentDump, SegmentEnd, VolumeDump,
};

use super::table::Table;

pub fn show(state_dir: &Path, groups: &[GroupDump]) -> String {
    match groups.is_empty() {
        true => format!("{} has no group\n", state_dir.display()),
        false => groups.iter().map(group).collect::<Vec<_>>().join("\n"),
    }
}

fn group(dump: &GroupDump) -> String {
    let mut text = format!("{}: {}\n", dump.group, dump.path.display());
    match &dump.record {
        Some(_) => text.push_str(&record(dump)),
        None if dump.faults.iter().any(|fault| fault.error.contains("/record.json: ")) => {
            text.push_str("  the record can't be read\n");
        }
        None => text.push_str("  there is no record\n"),
    }
    match &dump.map {
        Some(map) => text.push_str(&self::map(map)),
        None if dump.faults.iter().any(|fault| fault.error.contains("/map: ")) => {
            text.push_str("\n  the map can't be read\n");
        }
        None => text.push_str("\n  there is no map\n"),
    }
    match &dump.journal {
        Some(journal) => text.push_str(&self::journal(journal)),
        None if dump.faults.iter().any(|fault| fault.error.contains("/journal")) => {
            text.push_str("\n  the journal can't be read\n");
        }
        None => text.push_str("\n  the journal is empty\n"),
    }
    text
}

/// By the names that the file has.
fn record(dump: &GroupDump) -> String {
    let Some(kept) = &dump.record else { return String::new() };
    let record = &kept.record;
    let here = |text: String| format!("{text}, the machine has been up since");
    let boot = kept.boot.as_ref().map_or_else(|| "not kept".to_owned(), |boot| boot.to_string());
    let history: Vec<String> = record.history.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        ("role", format!("{:?}", record.role)),
        ("disk", format!("{:?}", record.disk)),
        ("epoch", record.epoch.to_string()),
        ("generation", record.generation.to_string()),
        ("history", if history.is_empty() { "none".to_owned() } else { history.join(" ") }),
        ("peer_outdated", yes(record.peer_outdated)),
        ("clean", yes(record.clean)),
        ("dirty_since", record.dirty_since.map_or_else(|| "nothing counted".to_owned(), |since| since.to_string())),
        ("mode", word(record.mode)),
        ("lost_cache", yes(record.lost_cache)),
        ("counting", record.counting.map_or_else(|| "none".to_owned(), |counting| counting.to_string())),
        ("boot", if kept.is_of_this_boot() { here(boot) } else { boot }),
    ];
    if let Some(former) = &dump.former {
        let record = &former.record;
        lines.push((
            "former",
            format!(
                "{:?} of epoch {}, generation {}: in force again with its data",
                record.role, record.epoch, record.generation
            ),
        ));
    }
    let mut text: String = lines.into_iter().map(|(name, what)| format!("  {name:<13}  {what}\n")).collect();
    let mut volumes = Table::new(["VOLUME", "BLOCKS", "LABEL"]);
    for copy in kept.copies.iter().flat_map(|copies| copies.iter()) {
        let label = copy.label.clone().unwrap_or_else(|| "-".to_owned());
        volumes.row([copy.name.to_string(), copy.blocks.to_string(), label]);
    }
    if !volumes.is_empty() {
        let _ = write!(text, "\n{}", volumes.indented());
    }
    text
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn map(map: &MapDump) -> String {
    let region = map.piece_bytes.saturating_mul(64);
    let mut text = format!(
        "\n  map {}: a bit stands for {}, a region for {}; {} pages\n",
        map.identity,
        bytes(map.piece_bytes),
        bytes(region),
        map.pages
    );
    let mut table = Table::new(["VOLUME", "SIZE", "REGIONS", "HOT", "DIRTY REGIONS", "DIRTY", "LOST PAGES", "WRITES"]);
    for (volume, number) in map.volumes.iter().zip(0..) {
        table.row([
            name(volume, number),
            bytes(volume.bytes),
            volume.regions.to_string(),
            volume.hot_regions.to_string(),
            volume.dirty_regions.to_string(),
            bytes(volume.dirty_bytes),
            volume.lost_pages.to_string(),
            volume.written.map_or_else(|| "-".to_owned(), |(least, greatest)| format!("{least} to {greatest}")),
        ]);
    }
    text.push_str(&table.indented());
    for damaged in map.damaged.iter().take(DAMAGED_SHOWN) {
        let _ = writeln!(text, "  {}", self::damaged(map, damaged));
    }
    if map.damaged.len() > DAMAGED_SHOWN {
        let _ = writeln!(text, "  and {} more, see --json", map.damaged.len() - DAMAGED_SHOWN);
    }
    for (volume, number) in map.volumes.iter().zip(0..) {
        for (what, runs) in [("hot", &volume.hot), ("dirty", &volume.dirty)] {
            let Some(runs) = runs.as_ref().filter(|runs| !runs.is_empty()) else { continue };
            let _ = writeln!(text, "\n  {what} in {}", name(volume, number));
            text.push_str(&self::runs(runs).indented());
        }
    }
    text
}

/// Where the record does not know it, by its place.
fn name(volume: &VolumeDump, number: usize) -> String {
    volume.name.as_ref().map_or_else(|| format!("number {number}"), ToString::to_string)
}

fn damaged(map: &MapDump, place: &DamagedPlace) -> String {
    let number = usize::from(place.volume);
    let of = map.volumes.get(number).map_or_else(String::new, |volume| format!(" of {}", name(volume, number)));
    let what = if place.is_lost { "the page is lost, and counts as all set" } else { "the other place stands" };
    let (kind, cause) = (word(place.kind), word(place.cause));
    format!("{kind} page {}{of}, place {} (byte {}): {cause}; {what}", place.page, place.place, place.at)
}

fn runs(runs: &[Run]) -> Table {
    let mut table = Table::new(["FROM BYTE", "BYTES", ""]);
    for run in runs {
        table.row([run.at.to_string(), run.bytes.to_string(), bytes(run.bytes)]);
    }
    table
}

fn journal(journal: &JournalDump) -> String {
    let left = match &journal.left {
        Some(left) => format!("of epoch {}, writes {} to {} would be sent in order", left.epoch, left.first, left.last),
        None => "nothing of it would be sent in order".to_owned(),
    };
    let mut text = format!("\n  journal: {}; {left}\n", bytes(journal.bytes));
    let mut table = Table::new(["SEGMENT", "BYTES", "FRAMES", "WRITES", "ENDS"]);
    for segment in &journal.segments {
        let end = match segment.end {
            SegmentEnd::Whole => "whole".to_owned(),
            SegmentEnd::Torn => format!("torn at byte {}", segment.ends_at),
            SegmentEnd::Damaged => {
                format!("damaged at byte {}; {} whole behind it", segment.ends_at, segment.frames_behind)
            }
        };
        table.row([
            segment.number.to_string(),
            segment.bytes.to_string(),
            segment.frames.to_string(),
            segment.writes.map_or_else(|| "-".to_owned(), |(least, greatest)| format!("{least} to {greatest}")),
            end,
        ]);
    }
    text.push_str(&table.indented());
    let damaged = journal.segments.iter().flat_map(|segment| segment.damaged.iter().map(move |frame| (segment, frame)));
    for (segment, frame) in damaged.clone().take(DAMAGED_SHOWN) {
        let _ = writeln!(text, "  {}", damaged_frame(segment, frame));
    }
    if let more @ 1.. = damaged.skip(DAMAGED_SHOWN).count() {
        let _ = writeln!(text, "  and {more} more, see --json");
    }
    for segment in &journal.segments {
        let Some(listed) = segment.listed.as_ref().filter(|listed| !listed.is_empty()) else { continue };
        let _ = writeln!(text, "\n  segment {}", segment.number);
        text.push_str(&frames(listed).indented());
    }
    text
}

fn damaged_frame(segment: &SegmentDump, frame: &FrameDump) -> String {
    let what = match &frame.write {
        Some(write) => format!("write {} of epoch {}", write.number, write.epoch),
        None => "a frame".to_owned(),
    };
    let cause = frame.cause.as_deref().unwrap_or("its checksum is wrong");
    format!("{what} in segment {}, byte {}, {} bytes: {cause}", segment.number, frame.at, frame.bytes)
}

fn frames(listed: &[FrameDump]) -> Table {
    let heads =
        ["BYTE", "BYTES", "CRC", "EPOCH", "WRITE", "AFTER", "BESIDES", "OP", "VOLUME", "BLOCK", "BLOCKS", "PAYLOAD"];
    let mut table = Table::new(heads);
    let dash = || "-".to_owned();
    let number = |number: Option<u64>| number.map_or_else(dash, |number| number.to_string());
    for frame in listed {
        let verdict = match frame.state {
            FrameState::Whole => "right".to_owned(),
            state => word(state),
        };
        let write = frame.write.as_ref();
        let besides = write.map(|write| &write.besides).filter(|besides| !besides.is_empty());
        let volume = write.and_then(|write| {
            let named = write.volume_name.as_ref().map(ToString::to_string);
            named.or_else(|| write.volume.map(|volume| format!("number {volume}")))
        });
        table.row([
            frame.at.to_string(),
            frame.bytes.to_string(),
            verdict,
            number(write.map(|write| write.epoch)),
            number(write.map(|write| write.number)),
            number(write.map(|write| write.after)),
            besides.map_or_else(dash, |besides| besides.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            write.map_or_else(dash, |write| word(write.op)),
            volume.unwrap_or_else(dash),
            number(write.and_then(|write| write.lba)),
            number(write.and_then(|write| write.blocks)),
            number(write.map(|write| write.payload_bytes)),
        ]);
    }
    table
}

/// Lines: a screen has room for them.
const DAMAGED_SHOWN: usize = 16;

#[cfg(test)]
mod tests {
    use target_core::mirror::dump::{Damage, Fault, LeftDump, PageKind, WriteDump, WrittenOp};

    use super::*;

    fn found() -> GroupDump {
        let record = serde_json::json!({
            "role": "primary", "disk": "up-to-date", "epoch": 3, "generation": "9", "history": ["7", "5"],
            "peer_outdated": true, "clean": false, "dirty_since": "7", "mode": "sync", "lost_cache": false, "boot": "b00t",
            "volumes": [{ "name": "db", "blocks": 2048, "label": "x" }, { "name": "log", "blocks": 999, "label": null }],
        });
        let volume = VolumeDump {
            name: Some("db".into()),
            bytes: 8 << 30,
            regions: 2048,
            hot_regions: 3,
            dirty_regions: 500,
            dirty_bytes: 500 << 22,
            lost_pages: 1,
            written: Some((1, 7)),
            hot: Some(vec![Run { at: 63 << 22, bytes: 2 << 22 }, Run { at: 2047 << 22, bytes: 1 << 22 }]),
            dirty: Some(Vec::new()),
        };
        let place = DamagedPlace {
            volume: 0,
            kind: PageKind::Hot,
            page: 0,
            place: 0,
            at: 4096,
            cause: Damage::Torn,
            is_lost: false,
        };
        let lost =
            DamagedPlace { kind: PageKind::Dirty, page: 1, place: 1, at: 24_576, is_lost: true, ..place.clone() };
        GroupDump {
            group: "dbs".into(),
            path: "/s/mirror/dbs".into(),
            record: Some(serde_json::from_value(record).expect("it is a record")),
            former: None,
            map: Some(MapDump {
                identity: "c0ffee".into(),
                piece_bytes: 64 << 10,
                pages: 8,
                lost_pages: 1,
                damaged: vec![place, lost],
                volumes: vec![volume],
            }),
            journal: Some(journal()),
            faults: Vec::new(),
        }
    }

    fn journal() -> JournalDump {
        let write = WriteDump {
            epoch: 3,
            number: 41,
            after: 38,
            besides: vec![39, 40],
            op: WrittenOp::Write,
            volume: Some(0),
            volume_name: Some("db".into()),
            lba: Some(8),
            blocks: Some(16),
            payload_bytes: 8192,
        };
        let state = FrameState::PayloadDamaged;
        let frame = FrameDump { at: 8304, bytes: 8304, state, cause: Some("why".into()), write: Some(write) };
        let header = FrameDump { at: 40_000, bytes: 9, state: FrameState::HeaderDamaged, write: None, ..frame.clone() };
        let before = FrameDump { at: 0, state: FrameState::Whole, cause: None, ..frame.clone() };
        let segment = SegmentDump {
            number: 1,
            bytes: 40_009,
            end: SegmentEnd::Damaged,
            ends_at: 8304,
            frames: 1,
            writes: Some((40, 40)),
            frames_behind: 3,
            damaged: vec![frame.clone(), header],
            listed: Some(vec![before, frame]),
        };
        let torn =
            SegmentDump { number: 2, end: SegmentEnd::Torn, ends_at: 77, damaged: vec![], listed: None, ..segment };
        let empty =
            SegmentDump { number: 0, bytes: 0, end: SegmentEnd::Whole, frames: 0, writes: None, ..torn.clone() };
        let left = Some(LeftDump { epoch: 3, first: 40, last: 40 });
        JournalDump { bytes: 80_018, left, segments: vec![empty, segment, torn] }
    }

    #[test]
    fn a_group_whole() {
        let generation = |last: &str| format!("{last:0>32}");
        let expected = format!(
            "\
dbs: /s/mirror/dbs
  role           Primary
  disk           UpToDate
  epoch          3
  generation     {}
  history        {} {}
  peer_outdated  yes
  clean          no
  dirty_since    {}
  mode           sync
  lost_cache     no
  counting       none
  boot           b00t

  VOLUME  BLOCKS  LABEL
  db      2048    x
  log     999     -

  map c0ffee: a bit stands for 64 KiB, a region for 4 MiB; 8 pages
  VOLUME  SIZE   REGIONS  HOT  DIRTY REGIONS  DIRTY  LOST PAGES  WRITES
  db      8 GiB  2048     3    500            2 GiB  1           1 to 7
  hot page 0 of db, place 0 (byte 4096): torn; the other place stands
  dirty page 1 of db, place 1 (byte 24576): torn; the page is lost, and counts as all set

  hot in db
  FROM BYTE   BYTES
  264241152   8388608  8 MiB
  8585740288  4194304  4 MiB

  journal: 78.1 KiB; of epoch 3, writes 40 to 40 would be sent in order
  SEGMENT  BYTES  FRAMES  WRITES    ENDS
  0        0      0       -         whole
  1        40009  1       40 to 40  damaged at byte 8304; 3 whole behind it
  2        40009  1       40 to 40  torn at byte 77
  write 41 of epoch 3 in segment 1, byte 8304, 8304 bytes: why
  a frame in segment 1, byte 40000, 9 bytes: why

  segment 1
  BYTE  BYTES  CRC              EPOCH  WRITE  AFTER  BESIDES  OP     VOLUME  BLOCK  BLOCKS  PAYLOAD
  0     8304   right            3      41     38     39 40    write  db      8      16      8192
  8304  8304   payload-damaged  3      41     38     39 40    write  db      8      16      8192
",
            generation("9"),
            generation("7"),
            generation("5"),
            generation("7"),
        );
        let shown = show(Path::new("/s"), &[found()]);
        assert!(shown == expected, "expected:\n{expected}\ngot:\n{shown}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let nothing = GroupDump { record: None, map: None, journal: None, ..found() };
        let expected = "dbs: /s/mirror/dbs\n  there is no record\n\n  there is no map\n\n  the journal is empty\n";
        assert_eq!(show(Path::new("/s"), std::slice::from_ref(&nothing)), expected);
        let fault = |error: &str| Fault { error: error.into(), remedy: "x".into() };
        let faults = ["record.json: damaged", "map: its head is damaged", "journal/7: denied"];
        let faults = faults.map(|what| fault(&format!("/s/mirror/dbs/{what}"))).to_vec();
        let expected = "dbs: /s/mirror/dbs\n  the record can't be read\n\n  the map can't be read\n\n  the journal can't be read\n";
        assert_eq!(show(Path::new("/s"), &[GroupDump { faults, ..nothing }]), expected);
        assert_eq!(show(Path::new("/s"), &[]), "/s has no group\n");
    }
}
