//! The way out of a split brain: one copy is kept, the other gives way.

use lunmirror::api::shown::{bytes, seconds, word};
use lunmirror::api::{Failure, GroupReport, LinkState, Role};
use serde::Serialize;

use super::{EXIT_FAILED, EXIT_USAGE, Ended};

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Resolution {
    pub keep: String,
    /// This node's copy is the one that is overwritten. Otherwise nothing is done here.
    pub gives_way: bool,
    /// What hosts wrote here since the two parted, as far as this node counted; `None`: that is another node's to know.
    pub lost_bytes: Option<u64>,
    pub text: String,
}

/// For programs.
#[derive(Debug, Serialize)]
pub struct Told {
    #[serde(flatten)]
    pub resolution: Resolution,
    /// `None`: nothing was done.
    pub remarks: Option<Vec<String>>,
}

/// `here` is this node's name.
pub fn resolve(here: &str, group: &GroupReport, keep: &str) -> Result<Resolution, Ended> {
    let GroupReport { name, peer, status, .. } = group;
    if keep != here && keep != peer {
        let error = format!("{keep} is neither this node, {here}, nor its peer, {peer}");
        return Err((Failure::new(error, format!("--keep {here}, or --keep {peer}")), EXIT_USAGE));
    }
    if !status.split_brain {
        let (error, remedy) = match status.link {
            LinkState::Down => (
                format!("there is no session with {peer}: nobody knows whether there is a split brain of {name}"),
                format!(
                    "mend the connection with {peer}; lunmirrorctl explain {name} says what can be done until then"
                ),
            ),
            link => (
                format!("there is no split brain of {name}: the link to {peer} is {}", word(link)),
                format!("lunmirrorctl explain {name} says how things stand"),
            ),
        };
        return Err((Failure::new(error, remedy), EXIT_FAILED));
    }
    let (gives_way, keep) = (keep == peer, keep.to_owned());
    if !gives_way {
        let text = format!(
            "{here} is kept, and nothing need be done here. On {peer}, where what hosts wrote since the two parted is lost: \
             lunmirrorctl resolve {name} --keep {here}"
        );
        return Ok(Resolution { keep, gives_way, lost_bytes: None, text });
    }
    // A Secondary's is what it was told of the other.
    let counted = status.rpo.filter(|_| status.role == Role::Primary);
    let text = match counted {
        Some(lost) => format!(
            "{peer} is kept. What hosts wrote on {here} and {peer} lacks is lost: {}, the last {}, as {here} counts it",
            bytes(lost.bytes),
            seconds(lost.seconds)
        ),
        None => {
            format!("{peer} is kept. What hosts wrote on {here} since the two parted is lost; how much is not counted")
        }
    };
    let text = format!("{text}. Before it is overwritten it is put aside: lunmirrorctl undo list {name}");
    Ok(Resolution { keep, gives_way, lost_bytes: counted.map(|lost| lost.bytes), text })
}

#[cfg(test)]
mod tests {
    use lunmirror::api::GroupStatus;
    use target_core::mirror::Rpo;

    use super::super::testing;
    use super::*;

    fn split() -> GroupReport {
        let status = GroupStatus {
            link: LinkState::Refused,
            split_brain: true,
            peer_role: Some(Role::Primary),
            rpo: Some(Rpo { bytes: 3 << 20, seconds: 75.0 }),
            ..testing::group().status
        };
        GroupReport { status, ..testing::group() }
    }

    #[test]
    fn who_is_not_kept_gives_way_and_is_told_what_it_loses() {
        let resolution = resolve("a", &split(), "b").expect("there is a split brain");
        assert_eq!((resolution.gives_way, resolution.lost_bytes), (true, Some(3 << 20)));
        assert_eq!(
            resolution.text,
            "b is kept. What hosts wrote on a and b lacks is lost: 3 MiB, the last 1m 15s, as a counts it. Before it is overwritten \
             it is put aside: lunmirrorctl undo list db"
        );
        let demoted = GroupReport { status: GroupStatus { role: Role::Secondary, ..split().status }, ..split() };
        let resolution = resolve("a", &demoted, "b").expect("there is a split brain");
        assert_eq!((resolution.gives_way, resolution.lost_bytes), (true, None));
        assert!(resolution.text.contains("how much is not counted. Before"), "{}", resolution.text);
    }

    #[test]
    fn who_is_kept_says_what_to_run_on_the_other() {
        let resolution = resolve("a", &split(), "a").expect("there is a split brain");
        assert!(!resolution.gives_way);
        assert!(resolution.text.ends_with(": lunmirrorctl resolve db --keep a"), "{}", resolution.text);
        assert!(resolution.text.contains("On b, where"), "{}", resolution.text);
    }

    #[test]
    fn what_can_not_be_resolved() {
        let refused = |group: &GroupReport, keep| {
            let (failure, status) = resolve("a", group, keep).expect_err("refused");
            (failure.error, status)
        };
        assert_eq!(refused(&split(), "c"), ("c is neither this node, a, nor its peer, b".into(), EXIT_USAGE));
        assert_eq!(
            refused(&testing::group(), "b"),
            ("there is no split brain of db: the link to b is established".into(), EXIT_FAILED)
        );
        let down = GroupReport {
            status: GroupStatus { link: LinkState::Down, ..testing::group().status },
            ..testing::group()
        };
        assert_eq!(
            refused(&down, "b"),
            ("there is no session with b: nobody knows whether there is a split brain of db".into(), EXIT_FAILED)
        );
    }
}
