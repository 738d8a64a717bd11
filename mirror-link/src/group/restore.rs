//! A group's record, made to tell the truth about the data that is there.
//!
//! ```text
//!   no record                  ─► none; the data is labelled, the replica makes the first record
//!   data as recorded           ─► the record
//!   data with blocks beyond    ─► the same, of no generation where it is a Secondary's: all of it is sent again
//!   other data in its place    ─► Secondary, Inconsistent, of no generation; an owner's record is kept beside it
//!   … and that is back again   ─► the owner's record
//! ```
//!
//! The record is durable before the data is labelled: a crash between the two leaves data that is not the record's, which is
//! found out again. Only the first labels come before the first record.

use std::sync::Arc;

use super::start::GroupError;
use crate::block::{BlockDevice, Label, Origin};
use crate::config::{GroupConfig, Mode};
use crate::ids::{Generation, GroupName};
use crate::replica::io::{Map, MapChange, Record};
use crate::store::copies::{self, Cause, Copy, Finding, Stranger};
use crate::store::map::{self, Found, MapFile};
use crate::store::{Kept, Place, RecordStore, StoreError};
use crate::wire::message::{DiskState, HISTORY_MAX, Role};

/// Blocks. With the record: has the machine been up since it was written?
pub(super) fn restore(
    place: &Arc<Place>,
    config: &GroupConfig,
    devices: &[Arc<dyn BlockDevice>],
) -> Result<(RecordStore, Option<(Record, bool)>), GroupError> {
    let of_store = |source| GroupError::Store { group: config.name.clone(), source };
    let origins: Vec<Origin> = devices.iter().map(|device| device.origin()).collect();
    let store = RecordStore::new(place);
    let Some(recorded) = store.load().map_err(of_store)? else {
        let copies = copies_of(config, &origins, None);
        set_labels(config, devices, &origins, &copies)?;
        return Ok((store.of(copies), None));
    };
    let judge = |kept: &Kept| copies::judge(kept.copies.as_deref(), &config.volumes, &origins);
    let finding = judge(&recorded);
    let mut former = store.load_former().map_err(of_store)?;
    if let Finding::Other(_) = finding
        && let Some(mut former) = former.take_if(|former| judge(former) == Finding::Same)
    {
        tracing::warn!(group = %config.name, "the data that was missing is there again, and its record in force");
        let has_cache = former.is_of_this_boot();
        former.record.lost_cache |= loses_cache(&former.record, has_cache);
        let store = store.of(former.copies.unwrap_or_default());
        store.save(&former.record).and_then(|()| store.forget_former()).map_err(of_store)?;
        return Ok((store, Some((former.record, has_cache))));
    }
    let mut keeps_former = former.is_some();
    let record = match finding {
        Finding::Same => recorded.record.clone(),
        Finding::Grown => grown(&config.name, recorded.record.clone()),
        Finding::Other(stranger) => {
            keeps_former |= recorded.record.role == Role::Primary;
            tell(&config.name, &recorded.record, &stranger);
            disowned(recorded.record.clone())
        }
    };
    let copies = copies_of(config, &origins, recorded.copies.as_deref());
    let store = if keeps_former { store.keep_former(record.epoch).map_err(of_store)? } else { store };
    let store = store.of(copies.clone());
    let has_cache = recorded.is_of_this_boot();
    // What is saved from now on is of this boot.
    let record = Record { lost_cache: record.lost_cache || loses_cache(&record, has_cache), ..record };
    if record != recorded.record || recorded.copies.as_ref() != Some(&copies) {
        store.save(&record).map_err(of_store)?;
    }
    set_labels(config, devices, &origins, &copies)?;
    Ok((store, Some((record, has_cache))))
}

/// Where there was a record, a map that is missing, or of other volumes, says that anything may differ. And: it was there.
pub(super) fn restore_map(
    place: &Arc<Place>,
    config: &GroupConfig,
    is_recorded: bool,
) -> Result<(MapFile, Map, bool), StoreError> {
    let group = &config.name;
    if is_recorded && let Some((file, Found { map, lost_pages })) = MapFile::open(place, config)? {
        if lost_pages > 0 {
            tracing::error!(%group, lost_pages, "pages of the map are damaged: what they spoke of counts as dirty");
        }
        return Ok((file, map, true));
    }
    let mut file = MapFile::create(place, config)?;
    let mut known = map::empty(config);
    if is_recorded {
        tracing::warn!(%group, "there is no map of these volumes: all of them counts as dirty");
        known = map::unknown(config);
        file.change([&MapChange { all_dirty: true, ..MapChange::default() }])?;
    }
    Ok((file, known, false))
}

/// The peer has none of the new blocks either, or others. A Primary's record stays: whoever was its Secondary asks for all.
fn grown(group: &GroupName, record: Record) -> Record {
    if record.role == Role::Primary || record.generation == Generation::NONE {
        return record;
    }
    tracing::info!(%group, "its volumes have grown: every block is copied from the peer again");
    let mut history = record.history;
    history.insert(0, record.generation);
    history.truncate(HISTORY_MAX);
    Record { generation: Generation::NONE, history, counting: None, ..record }
}

/// Of an owner that crashed, with what the peer was to have as well.
fn loses_cache(record: &Record, has_cache: bool) -> bool {
    !has_cache && record.role == Role::Primary && !record.clean && record.mode != Mode::Async
}

/// Nothing that the record says is true of the data, except that the epochs so far are spent.
fn disowned(record: Record) -> Record {
    Record {
        role: Role::Secondary,
        disk: DiskState::Inconsistent,
        generation: Generation::NONE,
        history: Vec::new(),
        peer_outdated: false,
        clean: true,
        dirty_since: None,
        mode: record.mode,
        lost_cache: false,
        counting: None,
        overwritten: None,
        epoch: record.epoch,
    }
}

fn tell(group: &GroupName, record: &Record, stranger: &Stranger) {
    if record.role == Role::Secondary {
        return tracing::error!(
            %group,
            "{stranger}. This copy counts as new: every block is copied from the peer again"
        );
    }
    let by_hand = match &stranger.cause {
        Cause::Labelled { .. } => "",
        _ => ", and if its file system keeps no extended attributes, name record.former.json in state_dir record.json",
    };
    tracing::error!(
        %group,
        "{stranger}. This node was Primary and does not serve it: put the right one back and start again{by_hand}; or promote \
         the peer, whose copy is then written over this one; or serve what is here with `lunmirrorctl promote --force {group}`"
    );
}

/// Labels stay where they are the recorded ones; others are drawn anew, so that nobody else's record speaks of them.
fn copies_of(config: &GroupConfig, origins: &[Origin], recorded: Option<&[Copy]>) -> Arc<[Copy]> {
    let label = |name: &str, origin: &Origin| match &origin.label {
        Label::None => None,
        Label::Given(label) => Some(label.clone()),
        Label::Kept(found) => {
            let recorded = recorded.into_iter().flatten().find(|copy| &*copy.name == name);
            let recorded = recorded.and_then(|copy| copy.label.clone());
            Some(recorded.filter(|recorded| Some(recorded) == found.as_ref()).unwrap_or_else(random_label))
        }
    };
    let copies = config.volumes.iter().zip(origins).map(|(volume, origin)| Copy {
        name: volume.name.clone(),
        blocks: volume.capacity.0,
        label: label(&volume.name, origin),
    });
    copies.collect()
}

fn random_label() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    hex::encode(bytes)
}

fn set_labels(
    config: &GroupConfig,
    devices: &[Arc<dyn BlockDevice>],
    origins: &[Origin],
    copies: &[Copy],
) -> Result<(), GroupError> {
    for ((device, origin), copy) in devices.iter().zip(origins).zip(copies) {
        let (Label::Kept(found), Some(label)) = (&origin.label, &copy.label) else { continue };
        if found.as_ref() == Some(label) {
            continue;
        }
        device.set_label(label).map_err(|error| GroupError::Volume {
            group: config.name.clone(),
            volume: copy.name.clone(),
            cause: format!(
                "{} can't be labelled as this mirror's copy: {error}; let the user this program runs as write its extended \
                 attributes",
                origin.object
            ),
        })?;
    }
    Ok(())
}
