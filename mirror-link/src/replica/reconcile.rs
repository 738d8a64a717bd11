//! Who sends to whom when two nodes meet. One function; both run it on the same two Hellos, and it answers them mirrored.
//!
//! | row | what they have | who is the source |
//! |---|---|---|
//! | 1 | volumes of other names or shapes | refused |
//! | 2 | one or both were just created | the other; of two new ones the Primary; everything |
//! | 3 | the same generation, no owner crashed | the Primary; what it knows to be missing |
//! | 4 | the same generation, an owner crashed, the other stayed | the Primary; what its map has. Sync and memsync, and it lost its cache: the other, which becomes Primary |
//! | 5 | the same generation, both ended as owners | refused: an epoch has one owner |
//! | 6, 7 | one's generation is where the other began to keep count | the other; what it counted, and where the first may have written |
//! | 8 | one's generation is further back in the other's history | the other; what differs of everything |
//! | 9 | both have moved on from a generation in common | split brain |
//! | 10 | nothing in common | refused |
//!
//! Where nobody knows what a copy lacks, and it was whole once (it has a generation), most of it is there: all of it is compared
//! by digest, and what differs sent. A new copy gets every block.
//!
//! Pure, total, and blind to which side is which. Nothing below is read from anywhere but the two Hellos.

use crate::ids::Generation;
use crate::wire::message::{DiskState, Hello, Role};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Mine,
    Theirs,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Mine => Side::Theirs,
            Side::Theirs => Side::Mine,
        }
    }
}

/// What a stream has to carry before the copies are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// What the source's queue and dirty map hold.
    Counted,
    /// Nobody knows, but most of it is there: every block is compared, and what differs sent.
    Compared,
    /// Every block.
    Everything,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Of the table.
    pub row: u8,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `source` is Primary and streams to the other, who becomes Secondary if it is not.
    Stream { source: Side, missing: Missing },
    /// Nobody is Primary, or no longer: nothing is sent until one is promoted. `newer` has what the other lacks, who is
    /// Outdated, and Secondary from now on. `None`: they are alike.
    NoOwner { newer: Option<Side> },
    /// Both wrote what the other lacks. Neither gives way unless an operator says so.
    SplitBrain,
    /// Not a pair; the cause, and what to do about it.
    Refuse(String),
}

/// Both sides call it with the two Hellos that they exchanged, each its own first.
pub fn reconcile(mine: &Hello, theirs: &Hello) -> Decision {
    if let Some(cause) = unlike(mine, theirs) {
        return Decision { row: 1, verdict: Verdict::Refuse(cause) };
    }
    let (created, their_created) = (mine.generation == Generation::NONE, theirs.generation == Generation::NONE);
    match (created, their_created) {
        (true, true) => return both_created(mine, theirs),
        (true, false) => return newer(2, Side::Theirs, mine, theirs, missing(theirs, mine, false)),
        (false, true) => return newer(2, Side::Mine, mine, theirs, missing(mine, theirs, false)),
        (false, false) => (),
    }
    if mine.generation == theirs.generation {
        return same_generation(mine, theirs);
    }
    let behind = theirs.history.iter().position(|&past| past == mine.generation);
    let ahead = mine.history.iter().position(|&past| past == theirs.generation);
    match (behind, ahead) {
        (Some(_), None) => moved_on(Side::Theirs, mine, theirs),
        (None, Some(_)) => moved_on(Side::Mine, mine, theirs),
        _ if theirs.history.iter().any(|past| mine.history.contains(past)) => {
            Decision { row: 9, verdict: Verdict::SplitBrain }
        }
        _ => Decision {
            row: 10,
            verdict: Verdict::Refuse(
                "the copies have no generation in common: they are not of one mirror. Remove the record of the copy that \
                 is to be overwritten from its state_dir and start that node again"
                    .into(),
            ),
        },
    }
}

/// Row 1.
fn unlike(mine: &Hello, theirs: &Hello) -> Option<String> {
    if mine.group != theirs.group {
        return Some("the groups have other names".into());
    }
    if mine.volumes.len() != theirs.volumes.len() {
        return Some(
            "the group has not the same number of volumes on both nodes: give it the same in both files".into(),
        );
    }
    mine.volumes.iter().zip(&theirs.volumes).find(|(ours, other)| ours != other).map(|(ours, other)| {
        // The same words on both nodes, whoever says them.
        let mut sides = [(&mine.node, ours), (&theirs.node, other)];
        sides.sort_by(|a, b| a.0.cmp(b.0));
        let [a, b] = sides.map(|(node, shape)| {
            format!("{} on {node} has {} blocks of {} bytes", shape.name, shape.capacity.0, shape.block_length.bytes())
        });
        format!("{a}, {b}: give them the same name, `size` and `block_size`")
    })
}

fn both_created(mine: &Hello, theirs: &Hello) -> Decision {
    let verdict = match (mine.role, theirs.role) {
        (Role::Primary, Role::Primary) => {
            Verdict::Refuse("both nodes are new and `role: primary`: make one of them `secondary`".into())
        }
        (Role::Secondary, Role::Secondary) => Verdict::NoOwner { newer: None },
        (Role::Primary, Role::Secondary) => Verdict::Stream { source: Side::Mine, missing: Missing::Everything },
        (Role::Secondary, Role::Primary) => Verdict::Stream { source: Side::Theirs, missing: Missing::Everything },
    };
    Decision { row: 2, verdict }
}

/// Rows 3 to 5.
fn same_generation(mine: &Hello, theirs: &Hello) -> Decision {
    if mine.crashed_owner && theirs.crashed_owner {
        let cause = "both nodes ended as owners of the same generation, which cannot be; look at both copies, then remove \
                     the record of the one that is to be overwritten from its state_dir";
        return Decision { row: 5, verdict: Verdict::Refuse(cause.into()) };
    }
    let row = if mine.crashed_owner || theirs.crashed_owner { 4 } else { 3 };
    if let Some(source) = holder(mine, theirs) {
        return Decision { row, verdict: Verdict::Stream { source, missing: Missing::Counted } };
    }
    let source = match (mine.role, theirs.role) {
        (Role::Primary, Role::Primary) => return Decision { row, verdict: Verdict::SplitBrain },
        (Role::Secondary, Role::Secondary) => return Decision { row, verdict: Verdict::NoOwner { newer: None } },
        (Role::Primary, Role::Secondary) => Side::Mine,
        (Role::Secondary, Role::Primary) => Side::Theirs,
    };
    let (from, to) = (hello(source, mine, theirs), hello(source.other(), mine, theirs));
    let missing = missing(from, to, from.dirty_since == Some(mine.generation));
    Decision { row, verdict: Verdict::Stream { source, missing } }
}

/// Of two copies of which one lost what it had not flushed: the other, if it had all that was acknowledged, and stayed up.
fn holder(mine: &Hello, theirs: &Hello) -> Option<Side> {
    let lost = |hello: &Hello| hello.crashed_owner && hello.lost_cache && !hello.peer_outdated;
    let holds = |hello: &Hello| hello.holds && hello.role == Role::Secondary && !hello.crashed_owner;
    match () {
        () if lost(theirs) && holds(mine) => Some(Side::Mine),
        () if lost(mine) && holds(theirs) => Some(Side::Theirs),
        () => None,
    }
}

/// Rows 6 to 8: `source` has a history that contains the other's generation.
fn moved_on(source: Side, mine: &Hello, theirs: &Hello) -> Decision {
    let (from, to) = (hello(source, mine, theirs), hello(source.other(), mine, theirs));
    let row = match (from.dirty_since == Some(to.generation), source) {
        (true, Side::Theirs) => 6,
        (true, Side::Mine) => 7,
        (false, _) => 8,
    };
    // What it wrote itself, as an owner that the source never heard of, it tells.
    newer(row, source, mine, theirs, missing(from, to, row != 8))
}

/// In the midst of a resync a copy is of no generation: what it lacks only the counting of its source of then can tell.
/// `counts`: since the generation of the copy.
fn missing(from: &Hello, to: &Hello, counts: bool) -> Missing {
    let counted = match to.disk {
        DiskState::Inconsistent => to.counting.is_some() && to.counting == from.counting,
        // Nothing is sent before it is repaired; then all.
        DiskState::Failed => false,
        DiskState::UpToDate | DiskState::Consistent | DiskState::Outdated => {
            counts && to.generation != Generation::NONE
        }
    };
    match to.generation {
        _ if counted => Missing::Counted,
        Generation::NONE => Missing::Everything,
        _ => Missing::Compared,
    }
}

fn newer(row: u8, side: Side, mine: &Hello, theirs: &Hello, missing: Missing) -> Decision {
    let verdict = match hello(side, mine, theirs).role {
        Role::Primary => Verdict::Stream { source: side, missing },
        Role::Secondary => Verdict::NoOwner { newer: Some(side) },
    };
    Decision { row, verdict }
}

fn hello<'a>(side: Side, mine: &'a Hello, theirs: &'a Hello) -> &'a Hello {
    match side {
        Side::Mine => mine,
        Side::Theirs => theirs,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::extent::{BlockCount, BlockLength};
    use crate::ids::{Instance, OwnerEpoch};
    use crate::wire::message::{Marks, VolumeShape};

    fn hello(node: &str, role: Role, generation: u128, history: &[u128]) -> Hello {
        Hello {
            group: "db".into(),
            node: node.into(),
            instance: Instance(1),
            volumes: vec![VolumeShape {
                name: "db".into(),
                block_length: BlockLength::B512,
                capacity: BlockCount(2048),
            }],
            role,
            disk: DiskState::UpToDate,
            epoch: OwnerEpoch(1),
            generation: Generation(generation),
            history: history.iter().map(|&past| Generation(past)).collect(),
            dirty_since: None,
            crashed_owner: false,
            lost_cache: false,
            resumes: false,
            holds: false,
            peer_outdated: false,
            received: Marks::default(),
            counting: None,
            suspects: Vec::new(),
            number: 1,
        }
    }

    const P: Role = Role::Primary;
    const S: Role = Role::Secondary;

    fn stream(source: Side, missing: Missing) -> Verdict {
        Verdict::Stream { source, missing }
    }

    #[test]
    fn volumes_of_other_shapes_are_refused_by_name_and_size() {
        let mine = hello("alpha", P, 7, &[]);
        let mut theirs = hello("beta", S, 7, &[]);
        theirs.volumes[0].capacity = BlockCount(4096);
        let Decision { row: 1, verdict: Verdict::Refuse(cause) } = reconcile(&mine, &theirs) else {
            panic!("refused");
        };
        assert!(cause.contains("db on alpha has 2048 blocks of 512 bytes, db on beta has 4096 blocks"), "{cause}");
        theirs.volumes.clear();
        assert_eq!(reconcile(&mine, &theirs).row, 1);
    }

    #[test]
    fn a_new_copy_gets_everything_from_the_other_or_from_the_primary() {
        let new = |role| hello("beta", role, 0, &[]);
        let both = reconcile(&hello("alpha", P, 0, &[]), &new(S));
        assert_eq!(both, Decision { row: 2, verdict: stream(Side::Mine, Missing::Everything) });
        let old = hello("alpha", P, 7, &[]);
        assert_eq!(reconcile(&new(S), &old).verdict, stream(Side::Theirs, Missing::Everything));
        assert_eq!(reconcile(&new(P), &old).verdict, stream(Side::Theirs, Missing::Everything));
        let asleep = hello("alpha", S, 7, &[]);
        assert_eq!(reconcile(&new(P), &asleep).verdict, Verdict::NoOwner { newer: Some(Side::Theirs) });
        assert!(matches!(reconcile(&new(P), &hello("alpha", P, 0, &[])).verdict, Verdict::Refuse(_)));
        assert_eq!(reconcile(&new(S), &hello("alpha", S, 0, &[])).verdict, Verdict::NoOwner { newer: None });
    }

    #[test]
    fn in_one_generation_the_primary_sends_what_it_counted() {
        let counted = Hello { dirty_since: Some(Generation(7)), ..hello("alpha", P, 7, &[]) };
        let replica = hello("beta", S, 7, &[]);
        let decision = reconcile(&counted, &replica);
        assert_eq!(decision, Decision { row: 3, verdict: stream(Side::Mine, Missing::Counted) });
        let forgot = Hello { dirty_since: None, ..counted.clone() };
        assert_eq!(reconcile(&forgot, &replica).verdict, stream(Side::Mine, Missing::Compared));
        let crashed = Hello { crashed_owner: true, ..counted.clone() };
        let decision = reconcile(&crashed, &replica);
        assert_eq!(decision, Decision { row: 4, verdict: stream(Side::Mine, Missing::Counted) });
        let forgot = Hello { dirty_since: None, ..crashed.clone() };
        assert_eq!(reconcile(&forgot, &replica).verdict, stream(Side::Mine, Missing::Compared));
        let both = Hello { crashed_owner: true, ..replica };
        assert!(matches!(reconcile(&crashed, &both), Decision { row: 5, verdict: Verdict::Refuse(_) }));
    }

    #[test]
    fn who_moved_on_alone_is_the_source_of_what_it_counted() {
        let ahead = Hello { dirty_since: Some(Generation(7)), ..hello("beta", P, 9, &[8, 7]) };
        let replica = hello("alpha", S, 7, &[]);
        let decision = reconcile(&replica, &ahead);
        assert_eq!(decision, Decision { row: 6, verdict: stream(Side::Theirs, Missing::Counted) });
        assert_eq!(reconcile(&ahead, &replica).row, 7);
        let owner = Hello { crashed_owner: true, ..hello("alpha", P, 7, &[]) };
        assert_eq!(reconcile(&owner, &ahead).verdict, stream(Side::Theirs, Missing::Counted));
        let halfway = Hello { disk: DiskState::Inconsistent, counting: Some(Generation(77)), ..owner.clone() };
        assert_eq!(reconcile(&halfway, &ahead).verdict, stream(Side::Theirs, Missing::Compared));
        let goes_on = Hello { counting: Some(Generation(77)), ..ahead.clone() };
        assert_eq!(reconcile(&halfway, &goes_on).verdict, stream(Side::Theirs, Missing::Counted));
        let new = Hello { generation: Generation::NONE, ..halfway };
        assert_eq!(reconcile(&goes_on, &new).verdict, stream(Side::Mine, Missing::Counted));
        let longer = Hello { dirty_since: Some(Generation(8)), ..ahead.clone() };
        let decision = reconcile(&replica, &longer);
        assert_eq!(decision, Decision { row: 8, verdict: stream(Side::Theirs, Missing::Compared) });
        let demoted = Hello { role: S, ..ahead };
        assert_eq!(reconcile(&owner, &demoted).verdict, Verdict::NoOwner { newer: Some(Side::Theirs) });
    }

    #[test]
    fn who_both_moved_on_are_split_and_strangers_are_refused() {
        let (mine, theirs) = (hello("alpha", P, 8, &[7]), hello("beta", P, 9, &[7]));
        assert_eq!(reconcile(&mine, &theirs), Decision { row: 9, verdict: Verdict::SplitBrain });
        let stranger = hello("beta", S, 5, &[4]);
        assert!(matches!(reconcile(&mine, &stranger), Decision { row: 10, verdict: Verdict::Refuse(_) }));
    }

    #[test]
    fn an_owner_that_lost_its_cache_gets_it_back_from_a_replica_that_stayed_up() {
        let lost = Hello { crashed_owner: true, lost_cache: true, ..hello("alpha", P, 7, &[]) };
        let holds = Hello { holds: true, ..hello("beta", S, 7, &[]) };
        let decision = Decision { row: 4, verdict: stream(Side::Theirs, Missing::Counted) };
        assert_eq!(reconcile(&lost, &holds), decision);
        let gave_way = Hello { role: S, disk: DiskState::Outdated, ..lost.clone() };
        assert_eq!(reconcile(&gave_way, &holds), decision);
        let restarted = Hello { holds: false, ..holds.clone() };
        assert_eq!(reconcile(&lost, &restarted).verdict, stream(Side::Mine, Missing::Compared));
        let alone = Hello { peer_outdated: true, dirty_since: Some(Generation(7)), ..lost };
        assert_eq!(reconcile(&alone, &holds).verdict, stream(Side::Mine, Missing::Counted));
    }

    /// Whatever a Hello may say, with few generations.
    fn tuples() -> Vec<Hello> {
        let copies = [(0, &[][..]), (1, &[]), (3, &[2, 1]), (4, &[3, 2]), (5, &[1]), (9, &[8])];
        let flags = [
            (false, false, false),
            (true, false, false),
            (true, true, false),
            (false, false, true),
            (true, true, true),
        ];
        let disks = [DiskState::UpToDate, DiskState::Inconsistent, DiskState::Failed];
        let mut hellos = Vec::new();
        for (role, (generation, history)) in [P, S].into_iter().flat_map(|role| copies.map(|copy| (role, copy))) {
            for (dirty_since, disk) in
                [None, Some(1), Some(generation)].into_iter().flat_map(|since| disks.map(|disk| (since, disk)))
            {
                for (crashed_owner, lost_cache, holds) in flags {
                    for (counting, peer_outdated) in [(None, false), (Some(Generation(77)), false), (None, true)] {
                        let dirty_since = dirty_since.map(Generation);
                        let flags = Hello {
                            crashed_owner,
                            lost_cache,
                            holds,
                            peer_outdated,
                            counting,
                            ..hello("n", role, generation, history)
                        };
                        hellos.push(Hello { dirty_since, disk, ..flags });
                    }
                }
            }
        }
        hellos
    }

    #[test]
    fn both_sides_come_to_one_decision_whatever_they_hold() {
        let (hellos, mut rows) = (tuples(), BTreeSet::new());
        for (at, mine) in hellos.iter().enumerate() {
            for theirs in &hellos[..=at] {
                let (here, there) = (reconcile(mine, theirs), reconcile(theirs, mine));
                let mirrored = match there.verdict {
                    Verdict::Stream { source, missing } => Verdict::Stream { source: source.other(), missing },
                    Verdict::NoOwner { newer } => Verdict::NoOwner { newer: newer.map(Side::other) },
                    same => same,
                };
                assert_eq!(here.verdict, mirrored, "{mine:?}\n{theirs:?}");
                let row = match there.row {
                    6 => 7,
                    7 => 6,
                    row => row,
                };
                assert_eq!(here.row, row);
                rows.extend([here.row, there.row]);
                if let Verdict::Stream { source, .. } = here.verdict {
                    let source = if source == Side::Mine { mine } else { theirs };
                    assert!(source.role == P || source.holds, "only an owner streams");
                }
            }
        }
        assert!(rows.into_iter().eq(2..=10), "row 1 is of volumes");
    }

    /// What the two are once they have done what was decided, as far as one step goes. `None`: nothing is left to do.
    fn obeyed(decision: &Decision, mine: &Hello, theirs: &Hello) -> Option<(Hello, Hello)> {
        let (source, is_sent) = match decision.verdict {
            Verdict::Stream { source, .. } => (source, true),
            Verdict::NoOwner { newer } => (newer?, false),
            Verdict::SplitBrain | Verdict::Refuse(_) => return None,
        };
        let mut sides = [mine.clone(), theirs.clone()];
        if source == Side::Theirs {
            sides.reverse();
        }
        let [from, to] = &mut sides;
        match is_sent {
            // It gives way first, and who holds what it lost takes over.
            _ if to.role == P => to.role = S,
            true if from.role == S => (from.role, from.dirty_since) = (P, Some(from.generation)),
            true => {
                (from.crashed_owner, from.lost_cache, from.peer_outdated, from.dirty_since) =
                    (false, false, false, None);
                (from.disk, from.holds) = (DiskState::UpToDate, false);
                *to = Hello { role: S, holds: true, ..from.clone() };
            }
            false => to.disk = DiskState::Outdated,
        }
        if source == Side::Theirs {
            sides.reverse();
        }
        let [mine_now, theirs_now] = sides;
        ((&mine_now, &theirs_now) != (mine, theirs)).then_some((mine_now, theirs_now))
    }

    #[test]
    fn what_is_decided_and_done_is_decided_no_other_way_afterwards() {
        let hellos = tuples();
        for (at, first) in hellos.iter().enumerate() {
            for second in &hellos[..=at] {
                let (mut mine, mut theirs) = (first.clone(), second.clone());
                let mut steps = 0;
                let source = |decision: &Decision| match decision.verdict {
                    Verdict::Stream { source, .. } => Some(source),
                    Verdict::NoOwner { newer } => newer,
                    Verdict::SplitBrain | Verdict::Refuse(_) => None,
                };
                let begun = reconcile(&mine, &theirs);
                let mut decision = begun.clone();
                while let Some((mine_now, theirs_now)) = obeyed(&decision, &mine, &theirs) {
                    (mine, theirs) = (mine_now, theirs_now);
                    decision = reconcile(&mine, &theirs);
                    steps += 1;
                    assert_eq!(source(&decision), source(&begun), "{first:?}\n{second:?}");
                    assert!(steps < 4, "{first:?}\n{second:?}");
                }
            }
        }
    }
}
