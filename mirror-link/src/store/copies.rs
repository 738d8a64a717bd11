//! Is the data that a group was started with what its record is of?

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::{Label, Origin};
use crate::config::VolumeSpec;

/// One volume's data on this node, as the record knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    pub name: Arc<str>,
    pub blocks: u64,
    /// `None`: its store has none.
    pub label: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Same,
    /// And there are blocks that the record does not speak of.
    Grown,
    Other(Stranger),
}

/// Data in the place of a volume's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    pub volume: Arc<str>,
    /// Where it lies.
    pub object: String,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Made at this opening, or in memory.
    Empty,
    Short {
        found: u64,
        recorded: u64,
    },
    Labelled {
        found: Label,
        recorded: String,
    },
}

/// `recorded`: `None` where the record is older than such knowledge.
pub fn judge(recorded: Option<&[Copy]>, volumes: &[VolumeSpec], origins: &[Origin]) -> Finding {
    let mut finding = Finding::Same;
    for (volume, origin) in volumes.iter().zip(origins) {
        let copy = recorded.map(|copies| copies.iter().find(|copy| copy.name == volume.name));
        if let Some(cause) = cause(copy, origin) {
            let (volume, object) = (volume.name.clone(), origin.object.clone());
            return Finding::Other(Stranger { volume, object, cause });
        }
        let known = copy.map_or(origin.blocks.0, |copy| copy.map_or(0, |copy| copy.blocks));
        if known < volume.capacity.0 {
            finding = Finding::Grown;
        }
    }
    finding
}

/// Why it can't be the copy.
fn cause(copy: Option<Option<&Copy>>, origin: &Origin) -> Option<Cause> {
    let found = origin.blocks.0;
    let Some(copy) = copy else { return (found == 0).then_some(Cause::Empty) };
    // A volume that is new in its group is what it is.
    let copy = copy?;
    if found < copy.blocks {
        return Some(if found == 0 { Cause::Empty } else { Cause::Short { found, recorded: copy.blocks } });
    }
    let recorded = copy.label.as_ref().filter(|recorded| Some(recorded.as_str()) != label(origin))?;
    Some(Cause::Labelled { found: origin.label.clone(), recorded: recorded.clone() })
}

pub fn label(origin: &Origin) -> Option<&str> {
    match &origin.label {
        Label::None => None,
        Label::Kept(label) => label.as_deref(),
        Label::Given(label) => Some(label),
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stranger { volume, object, cause } = self;
        write!(f, "{object} is not the copy of volume {volume} that the record is of: ")?;
        match cause {
            Cause::Empty => f.write_str("it is new and empty"),
            Cause::Short { found, recorded } => write!(f, "it had {found} blocks, not {recorded}"),
            Cause::Labelled { found, recorded } => match found {
                Label::Given(found) => write!(f, "its device is {found}, not {recorded}"),
                Label::Kept(Some(found)) => write!(f, "its label is {found}, not {recorded}"),
                Label::Kept(None) => write!(f, "it has no label (extended attribute), where {recorded} was expected"),
                Label::None => write!(f, "its store keeps no label, where {recorded} was expected"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::{BlockCount, BlockLength};

    fn volume(name: &str, capacity: u64) -> VolumeSpec {
        VolumeSpec { name: name.into(), block_length: BlockLength::B512, capacity: BlockCount(capacity) }
    }

    fn copy(name: &str, blocks: u64, label: Option<&str>) -> Copy {
        Copy { name: name.into(), blocks, label: label.map(Into::into) }
    }

    fn origin(blocks: u64, label: Label) -> Origin {
        Origin { object: "/srv/db.img".into(), blocks: BlockCount(blocks), label }
    }

    fn kept(label: &str) -> Label {
        Label::Kept(Some(label.into()))
    }

    #[test]
    fn data_is_told_from_the_copy_by_its_label_and_length() {
        let cause = |copy: Copy, origin: Origin| match judge(Some(&[copy]), &[volume("db", 8)], &[origin]) {
            Finding::Other(stranger) => Some(stranger.cause),
            _ => None,
        };
        let labelled = |found| Some(Cause::Labelled { found, recorded: "x".into() });
        assert_eq!(cause(copy("db", 8, Some("x")), origin(8, kept("x"))), None);
        assert_eq!(cause(copy("db", 8, Some("x")), origin(9, Label::Given("x".into()))), None);
        assert_eq!(cause(copy("db", 8, None), origin(8, kept("y"))), None);
        assert_eq!(cause(copy("db", 8, Some("x")), origin(8, kept("y"))), labelled(kept("y")));
        assert_eq!(cause(copy("db", 8, Some("x")), origin(8, Label::Kept(None))), labelled(Label::Kept(None)));
        assert_eq!(cause(copy("db", 8, Some("x")), origin(8, Label::None)), labelled(Label::None));
        assert_eq!(cause(copy("db", 8, None), origin(0, Label::None)), Some(Cause::Empty));
        assert_eq!(cause(copy("db", 8, Some("x")), origin(7, kept("x"))), Some(Cause::Short { found: 7, recorded: 8 }));
    }

    #[test]
    fn blocks_that_the_record_does_not_speak_of_are_noticed() {
        let of = |recorded: Option<&[Copy]>, blocks| {
            judge(
                recorded,
                &[volume("db", 8), volume("log", 4)],
                &[origin(8, Label::None), origin(blocks, Label::None)],
            )
        };
        assert_eq!(of(Some(&[copy("db", 8, None), copy("log", 4, None)]), 4), Finding::Same);
        assert_eq!(of(Some(&[copy("db", 8, None), copy("log", 3, None)]), 3), Finding::Grown);
        assert_eq!(of(Some(&[copy("db", 8, None)]), 0), Finding::Grown);
        assert_eq!(of(None, 4), Finding::Same);
        assert_eq!(of(None, 3), Finding::Grown);
        assert!(matches!(of(None, 0), Finding::Other(_)));
    }

    #[test]
    fn a_stranger_is_told_with_its_place_and_cause() {
        let found = judge(Some(&[copy("db", 8, Some("x"))]), &[volume("db", 8)], &[origin(8, kept("y"))]);
        let Finding::Other(stranger) = found else { panic!("it is another") };
        assert_eq!(
            stranger.to_string(),
            "/srv/db.img is not the copy of volume db that the record is of: its label is y, not x"
        );
    }
}
