//! What would happen to a group, told before it does. Pure: it looks at how things stand, and changes nothing.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::io::{Refusal, Standing};
use super::machine::Replica;
use super::meeting::describe;
use super::reconcile::{Missing, Side, Verdict, reconcile};
use super::reign::process_ends;
use super::status::{GroupStatus, LinkState};
use crate::config::{Mode, OnLinkLoss};
use crate::ids::{Generation, NodeName};
use crate::wire::message::{DiskState, Hello, Role};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhatIf {
    /// The line to the peer.
    Cut,
    /// This node, without force.
    Promote,
    /// The two meet again.
    Rejoin,
}

/// How things stand.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub here: NodeName,
    pub peer: NodeName,
    pub status: GroupStatus,
    /// What it would say to the peer.
    pub mine: Hello,
    /// What the peer last said, in this session or the one before.
    pub theirs: Option<Hello>,
    /// What its heartbeats say since.
    pub claimed: Option<Role>,
    /// Of a promotion, now.
    pub refusal: Option<Refusal>,
}

/// In sentences.
pub(super) fn tell(what: WhatIf, view: &View) -> Vec<String> {
    match what {
        WhatIf::Cut => view.cut(),
        WhatIf::Promote => view.promote(),
        WhatIf::Rejoin => view.rejoin(),
    }
}

impl View {
    fn cut(&self) -> Vec<String> {
        let View { here, peer, status, .. } = self;
        let mut text = Vec::new();
        if status.link == LinkState::Down {
            text.push(format!("There is no session with {peer} as it is: so it goes on, until the two meet."));
        }
        match (status.role, status.standing) {
            (Role::Primary, Standing::Active) => text.extend(self.cut_as_owner()),
            (Role::Primary, _) => text.push(format!(
                "Hosts would see no difference: {here} serves nothing yet. It goes on alone after wait_for_peer, unless \
                 {peer} is heard or was heard as Primary."
            )),
            (Role::Secondary, _) => text.extend(self.cut_as_replica()),
        }
        text
    }

    fn cut_as_owner(&self) -> Vec<String> {
        let View { here, peer, status, mine, .. } = self;
        let stall = time(status.max_stall_ms);
        if status.disk == DiskState::Failed {
            return vec![
                format!(
                    "Hosts would be told BUSY, each read and write after max_stall, {stall}: {here}'s device failed, and {peer} has the \
                     only good copy."
                ),
                format!("So it goes on until {peer} is back, or, there: lunmirrorctl promote {}.", mine.group),
            ];
        }
        let mut text = match (status.mode, status.on_link_loss) {
            (Mode::Async, _) => vec![
                "Hosts would notice nothing: mode async waits for nobody.".to_owned(),
                format!(
                    "With the first write it is recorded that {peer} lacks some. They queue in memory, up to {} bytes, then on \
                     disk, up to {} bytes, then as blocks to resync; all of that would be lost with {here}.",
                    status.queue.memory_bytes_max, status.queue.spilled_bytes_max
                ),
            ],
            (_, OnLinkLoss::Degrade) => vec![
                format!(
                    "Writes would wait until {peer} is given up as lost, at most max_stall, {stall}; then it is recorded that \
                     it lacks some, and they go on without it (on_link_loss degrade)."
                ),
                format!("What hosts write from then on is on {here} alone, and would be lost with it."),
            ],
            (_, OnLinkLoss::Hold) => vec![
                format!(
                    "No write would be acknowledged that {peer} lacks: each waits for max_stall, {stall}, and is then answered \
                     BUSY (on_link_loss hold)."
                ),
                format!(
                    "So it goes on until {peer} is back, or: lunmirrorctl on-link-loss {} degrade. Nothing that was \
                     acknowledged is on {here} alone.",
                    mine.group
                ),
            ],
        };
        let is_alone = mine.peer_outdated && status.mode != Mode::Async;
        if is_alone && status.on_link_loss == OnLinkLoss::Hold {
            text.truncate(0);
            text.push(format!(
                "{here} goes on alone already: it was told to serve without {peer}, or {peer} has yet to be whole for the \
                 first time. Writes wait for nobody."
            ));
        } else if is_alone {
            text[0] =
                format!("Hosts would notice nothing: it is on record that {peer} lacks writes, and none waits for it.");
        }
        if status.peer_disk == Some(DiskState::Inconsistent) {
            text.push(format!(
                "The resync of {peer} would stop, and its copy could not be served until it has gone on."
            ));
        }
        text
    }

    fn cut_as_replica(&self) -> Vec<String> {
        let View { here, peer, status, mine, .. } = self;
        let stall = time(status.max_stall_ms);
        let mut text = vec![match status.disk {
            DiskState::UpToDate => format!(
                "The copy of {here} would be Consistent instead of UpToDate: whole, but nobody knows there what is acknowledged \
                 from then on."
            ),
            disk => format!("The copy of {here} would stay {disk:?}."),
        }];
        if status.peer_role == Some(Role::Primary) {
            text.push(match (status.mode, status.on_link_loss) {
                (Mode::Async, _) => format!("{peer} would go on alone, and {here} fall behind."),
                (_, OnLinkLoss::Degrade) => {
                    format!("{peer} would go on alone, after at most max_stall, {stall}, and {here} fall behind.")
                }
                (_, OnLinkLoss::Hold) => {
                    format!("{peer} would hold hosts' writes, each for max_stall, {stall}, and then answer BUSY.")
                }
            });
        }
        text.push(format!(
            "Nothing promotes by itself. If {peer} is lost for good: lunmirrorctl promote {}.",
            mine.group
        ));
        text
    }

    fn promote(&self) -> Vec<String> {
        let View { here, peer, status, mine, .. } = self;
        let group = &mine.group;
        if (status.role, status.standing) == (Role::Primary, Standing::Active) {
            return vec![format!("Nothing would change: {here} is Primary, and serves.")];
        }
        let Some(refusal) = &self.refusal else {
            let mut text = match status.role {
                Role::Primary => vec![
                    format!("{here} would serve at once, without waiting for {peer} any longer."),
                    format!("If {peer} has been promoted meanwhile, both have written then: a split brain."),
                ],
                Role::Secondary => {
                    vec![format!("{here} would become Primary under a new epoch, and serve."), self.loss()]
                }
            };
            if status.role == Role::Secondary && status.link == LinkState::Down {
                text.push(format!(
                    "When {peer} is back it follows, and what it wrote that {here} lacks is overwritten; if it serves all the \
                     while, that is a split brain."
                ));
            }
            return text;
        };
        let mut text = vec![format!("It would be refused: {refusal}.")];
        match refusal {
            Refusal::PeerIsPrimary(node) => {
                text.push(format!("To change places, first, on {node}: lunmirrorctl demote {group}."));
            }
            Refusal::PeerClaimsPrimary(node) => text.push(format!(
                "Demote it on {node}: lunmirrorctl demote {group}. With --force {here} would become Primary beside it: once \
                 both have written that is a split brain."
            )),
            Refusal::Disk(..) => {
                text.push(format!("With --force {here} would become Primary all the same."));
                text.push(self.loss());
            }
            Refusal::Busy | Refusal::Store | Refusal::Other(_) => (),
        }
        text
    }

    /// With a promotion of this replica.
    fn loss(&self) -> String {
        let View { here, peer, status, .. } = self;
        let is_whole = status.disk == DiskState::UpToDate && status.peer_role == Some(Role::Secondary);
        if is_whole {
            return "Nothing would be lost: its copy is UpToDate, and neither node is Primary.".into();
        }
        let known = match status.rpo {
            None => {
                return format!(
                    "What {here} lacks of acknowledged writes, and is lost then, is not known: {peer} has not told it."
                );
            }
            Some(rpo) if rpo.bytes == 0 => {
                format!("When {peer} last told, {here} lacked nothing that was acknowledged")
            }
            Some(rpo) => {
                format!(
                    "When {peer} last told, {here} lacked {} bytes of acknowledged writes, which are lost then",
                    rpo.bytes
                )
            }
        };
        let since = status.rpo.map_or(0.0, |rpo| rpo.seconds);
        let waits = status.mode != Mode::Async && status.on_link_loss == OnLinkLoss::Hold;
        match status.link {
            LinkState::Down if waits => {
                format!("{known}; and {peer} acknowledges nothing without it (on_link_loss hold).")
            }
            LinkState::Down => {
                format!("{known}; what {peer} acknowledged in the last {} would be lost too.", seconds(since))
            }
            _ => format!("{known}."),
        }
    }

    fn rejoin(&self) -> Vec<String> {
        let View { here, peer, status, .. } = self;
        let Some(last) = &self.theirs else {
            return vec![format!(
                "That can't be told: {peer} has not been met since this process began, and only it knows what it has."
            )];
        };
        let mut mine = self.mine.clone();
        let mut theirs = last.clone();
        let role = self.claimed.filter(|_| status.link == LinkState::Down).unwrap_or(last.role);
        let mut text = Vec::new();
        if status.link == LinkState::Down {
            text.push(format!("{peer} was last met as {:?}, with a copy that was {:?}.", last.role, last.disk));
        }
        match (last.role, role) {
            (Role::Secondary, Role::Primary) => {
                text.push("Its heartbeats say that it was promoted since.".to_owned());
                move_on(&mut theirs, Side::Theirs);
                theirs.role = Role::Primary;
            }
            _ => theirs.role = role,
        }
        // Who reigns goes on, unless it is told to hold; the other, whole and alone, does not know what it lacks.
        let goes_on = status.mode == Mode::Async || status.on_link_loss == OnLinkLoss::Degrade;
        let ours = mine.role;
        let mut wrote = false;
        for (hello, side) in [(&mut mine, Side::Mine), (&mut theirs, Side::Theirs)] {
            match hello.role {
                Role::Primary if goes_on && !hello.peer_outdated => {
                    move_on(hello, side);
                    wrote = true;
                }
                Role::Secondary if hello.disk == DiskState::UpToDate => hello.disk = DiskState::Consistent,
                Role::Primary | Role::Secondary => (),
            }
        }
        if wrote {
            text.push("If hosts write while the two are apart:".to_owned());
        }
        let decision = reconcile(&mine, &theirs);
        text.push(format!("Row {} of the table: {}.", decision.row, describe(&decision, here, peer)));
        text.extend(self.outcome(&decision.verdict, ours));
        text
    }

    /// `ours`: role, before they meet.
    fn outcome(&self, verdict: &Verdict, ours: Role) -> Option<String> {
        let View { here, peer, status, mine, .. } = self;
        let all = mine.volumes.iter().map(|volume| volume.capacity.0 * u64::from(volume.block_length.bytes()));
        match verdict {
            Verdict::Stream { missing: Missing::Everything, .. } => {
                Some(format!("That is {} bytes; zeroes among them are not sent.", all.sum::<u64>()))
            }
            Verdict::Stream { missing: Missing::Compared, .. } => {
                Some(format!("That is {} bytes to read on both nodes.", all.sum::<u64>()))
            }
            Verdict::Stream { source: Side::Mine, missing: Missing::Counted } => {
                let lacks = status.rpo.map_or(0, |rpo| rpo.bytes);
                Some(format!("As of now {peer} lacks {lacks} bytes; it cannot be served until it has them."))
            }
            Verdict::Stream { source: Side::Theirs, missing: Missing::Counted } if ours == Role::Primary => {
                Some(format!("{here} would be Secondary, and what hosts wrote on it that {peer} lacks is overwritten."))
            }
            Verdict::Stream { source: Side::Theirs, missing: Missing::Counted } => None,
            Verdict::SplitBrain => Some(format!(
                "Nothing is sent until an operator chooses the copy to keep: lunmirrorctl resolve {} --keep NODE.",
                mine.group
            )),
            Verdict::NoOwner { .. } | Verdict::Refuse(_) => None,
        }
    }
}

impl Replica {
    /// Whether and why a promotion without force would be refused now; for people.
    pub(super) fn would_refuse(&self, now: Instant) -> Option<Refusal> {
        if self.ends {
            return Some(process_ends());
        }
        if self.pending.is_some() {
            return Some(Refusal::Busy);
        }
        match self.role {
            Role::Primary => self.refuse_beside_rival(now),
            Role::Secondary => self.may_ascend(now, false),
        }
        .err()
    }
}

/// As an owner alone does with its first write, or a replica that is promoted.
fn move_on(hello: &mut Hello, side: Side) {
    let former = hello.generation;
    hello.dirty_since = hello.dirty_since.or(Some(former)).filter(|_| former != Generation::NONE);
    hello.history.insert(0, former);
    // One that nobody else has, nor the other side.
    hello.generation = Generation(!former.0 ^ u128::from(side == Side::Mine));
    hello.peer_outdated = true;
}

fn time(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}

fn seconds(seconds: f64) -> String {
    // Beyond a century nobody asks.
    time((seconds.clamp(0.0, 3e9) * 10.0).round() as u64 * 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::{BlockCount, BlockLength};
    use crate::ids::{Instance, OwnerEpoch, WriteSeq};
    use crate::replica::status::{QueueStatus, Rpo};
    use crate::wire::message::{Marks, VolumeShape};

    fn hello(node: &str, role: Role) -> Hello {
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
            epoch: OwnerEpoch(3),
            generation: Generation(7),
            history: vec![Generation(5)],
            dirty_since: (role == Role::Primary).then_some(Generation(7)),
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

    /// Alpha, established with beta.
    fn view(role: Role, mode: Mode, on_link_loss: OnLinkLoss) -> View {
        let other = if role == Role::Primary { Role::Secondary } else { Role::Primary };
        View {
            here: "alpha".into(),
            peer: "beta".into(),
            status: GroupStatus {
                role,
                disk: DiskState::UpToDate,
                up_to_date_ms_ago: None,
                standing: if role == Role::Primary { Standing::Active } else { Standing::Standby },
                link: LinkState::Established,
                split_brain: false,
                peer_slow: false,
                held_back: None,
                peer_role: Some(other),
                peer_disk: Some(DiskState::UpToDate),
                mode,
                on_link_loss,
                max_stall_ms: 5000,
                paused: false,
                epoch: OwnerEpoch(3),
                generation: Generation(7),
                seq: WriteSeq(9),
                received_upto: WriteSeq(9),
                applied_upto: WriteSeq(9),
                durable_upto: WriteSeq(9),
                decision: None,
                rpo: Some(Rpo::default()),
                volume_rpo: None,
                queue: QueueStatus { memory_bytes_max: 64, spilled_bytes_max: 1024, ..QueueStatus::default() },
                resync: None,
                verify: None,
                map: Default::default(),
                aside: Default::default(),
            },
            mine: hello("alpha", role),
            theirs: Some(hello("beta", other)),
            claimed: None,
            refusal: None,
        }
    }

    /// Apart for a while.
    fn apart(mut view: View) -> View {
        view.status.link = LinkState::Down;
        view.status.peer_role = None;
        view.status.rpo = Some(Rpo { bytes: 4096, seconds: 75.04 });
        if view.status.role == Role::Secondary {
            (view.status.disk, view.mine.disk) = (DiskState::Consistent, DiskState::Consistent);
        }
        view
    }

    fn told(what: WhatIf, view: &View) -> String {
        tell(what, view).join("\n")
    }

    const P: Role = Role::Primary;
    const S: Role = Role::Secondary;
    const DEGRADE: OnLinkLoss = OnLinkLoss::Degrade;
    const HOLD: OnLinkLoss = OnLinkLoss::Hold;

    #[test]
    fn a_cut_as_owner_by_mode_and_policy() {
        let text = told(WhatIf::Cut, &view(P, Mode::Async, HOLD));
        assert_eq!(
            text,
            "Hosts would notice nothing: mode async waits for nobody.\nWith the first write it is recorded that beta lacks \
             some. They queue in memory, up to 64 bytes, then on disk, up to 1024 bytes, then as blocks to resync; all of that \
             would be lost with alpha."
        );
        for mode in [Mode::Sync, Mode::Memsync] {
            let text = told(WhatIf::Cut, &view(P, mode, DEGRADE));
            assert!(
                text.starts_with("Writes would wait until beta is given up as lost, at most max_stall, 5s;"),
                "{text}"
            );
            assert!(text.ends_with("is on alpha alone, and would be lost with it."), "{text}");
            let text = told(WhatIf::Cut, &view(P, mode, HOLD));
            assert!(text.contains("each waits for max_stall, 5s, and is then answered BUSY"), "{text}");
            assert!(text.contains("lunmirrorctl on-link-loss db degrade."), "{text}");
        }
    }

    #[test]
    fn a_cut_where_there_is_little_to_cut() {
        let mut alone = apart(view(P, Mode::Sync, DEGRADE));
        alone.mine.peer_outdated = true;
        let text = told(WhatIf::Cut, &alone);
        assert!(text.starts_with("There is no session with beta as it is"), "{text}");
        assert!(text.contains("none waits for it."), "{text}");
        alone.status.on_link_loss = HOLD;
        let text = told(WhatIf::Cut, &alone);
        assert!(text.ends_with("Writes wait for nobody."), "{text}");
        let mut waiting = view(P, Mode::Sync, HOLD);
        waiting.status.standing = Standing::Waiting;
        assert!(told(WhatIf::Cut, &waiting).starts_with("Hosts would see no difference"));
        let mut resync = view(P, Mode::Async, DEGRADE);
        resync.status.peer_disk = Some(DiskState::Inconsistent);
        assert!(told(WhatIf::Cut, &resync).contains("The resync of beta would stop"));
    }

    #[test]
    fn a_cut_as_replica_by_what_the_owner_told() {
        for (mode, policy, words) in [
            (Mode::Async, HOLD, "beta would go on alone, and alpha fall behind."),
            (Mode::Memsync, DEGRADE, "beta would go on alone, after at most max_stall, 5s, and alpha fall behind."),
            (Mode::Sync, HOLD, "beta would hold hosts' writes, each for max_stall, 5s, and then answer BUSY."),
        ] {
            let text = told(WhatIf::Cut, &view(S, mode, policy));
            assert!(text.starts_with("The copy of alpha would be Consistent instead of UpToDate"), "{text}");
            assert!(text.contains(words) && text.ends_with("lunmirrorctl promote db."), "{text}");
        }
    }

    #[test]
    fn a_promotion_and_what_it_loses() {
        assert_eq!(
            told(WhatIf::Promote, &view(P, Mode::Sync, HOLD)),
            "Nothing would change: alpha is Primary, and serves."
        );
        for (mode, policy, words) in [
            (Mode::Async, HOLD, "what beta acknowledged in the last 1m 15s would be lost too."),
            (Mode::Memsync, DEGRADE, "what beta acknowledged in the last 1m 15s would be lost too."),
            (Mode::Sync, HOLD, "beta acknowledges nothing without it (on_link_loss hold)."),
        ] {
            let text = told(WhatIf::Promote, &apart(view(S, mode, policy)));
            assert!(text.starts_with("alpha would become Primary under a new epoch, and serve.\n"), "{text}");
            assert!(text.contains("lacked 4096 bytes of acknowledged writes, which are lost then; "), "{text}");
            assert!(text.contains(words) && text.ends_with("that is a split brain."), "{text}");
        }
        let mut idle = view(S, Mode::Async, HOLD);
        idle.status.peer_role = Some(S);
        assert!(
            told(WhatIf::Promote, &idle)
                .ends_with("Nothing would be lost: its copy is UpToDate, and neither node is Primary.")
        );
        idle.status.disk = DiskState::Consistent;
        idle.status.rpo = None;
        assert!(told(WhatIf::Promote, &idle).contains("is not known: beta has not told it."));
    }

    #[test]
    fn a_promotion_that_is_refused_and_why() {
        let refused = |refusal| told(WhatIf::Promote, &View { refusal: Some(refusal), ..view(S, Mode::Sync, HOLD) });
        assert_eq!(
            refused(Refusal::PeerIsPrimary("beta".into())),
            "It would be refused: beta is Primary and reachable: demote it first.\nTo change places, first, on beta: \
             lunmirrorctl demote db."
        );
        let text = refused(Refusal::PeerClaimsPrimary("beta".into()));
        assert!(text.contains("With --force alpha would become Primary beside it"), "{text}");
        let text = refused(Refusal::Disk(DiskState::Outdated, "it lacks writes".into()));
        assert!(
            text.starts_with("It would be refused: this copy is Outdated: it lacks writes.\nWith --force"),
            "{text}"
        );
        assert!(text.ends_with("When beta last told, alpha lacked nothing that was acknowledged."), "{text}");
    }

    #[test]
    fn meeting_again_by_mode_and_policy() {
        for (mode, policy, row) in [(Mode::Async, HOLD, 7), (Mode::Memsync, DEGRADE, 7), (Mode::Sync, HOLD, 3)] {
            let text = told(WhatIf::Rejoin, &view(P, mode, policy));
            let row = format!(
                "Row {row} of the table: alpha is the source: it sends what it has counted as missing to beta."
            );
            assert!(text.contains(&row), "{text}");
            assert!(text.ends_with("As of now beta lacks 0 bytes; it cannot be served until it has them."), "{text}");
            assert_eq!(text.starts_with("If hosts write while the two are apart:\n"), !row.contains('3'), "{text}");
            let text = told(WhatIf::Rejoin, &apart(view(S, mode, policy)));
            let row = if row.contains('3') { 3 } else { 6 };
            assert!(text.starts_with("beta was last met as Primary, with a copy that was UpToDate.\n"), "{text}");
            assert!(
                text.contains(&format!("Row {row} of the table: beta is the source: it sends what it has")),
                "{text}"
            );
        }
    }

    #[test]
    fn meeting_again_after_both_moved_on_or_of_nobody_known() {
        let mut both = apart(view(P, Mode::Sync, DEGRADE));
        move_on(&mut both.mine, Side::Mine);
        both.claimed = Some(P);
        let text = told(WhatIf::Rejoin, &both);
        assert!(
            text.contains("Its heartbeats say that it was promoted since.\nRow 9 of the table: split brain"),
            "{text}"
        );
        assert!(text.ends_with("lunmirrorctl resolve db --keep NODE."), "{text}");
        let unknown = View { theirs: None, ..both.clone() };
        assert!(told(WhatIf::Rejoin, &unknown).starts_with("That can't be told: beta has not been met"));
        let mut fresh = view(P, Mode::Sync, HOLD);
        fresh.theirs = Some(Hello { generation: Generation::NONE, disk: DiskState::Inconsistent, ..hello("beta", S) });
        let text = told(WhatIf::Rejoin, &fresh);
        assert!(text.contains("Row 2 of the table: alpha is the source: it sends every block to beta."), "{text}");
        assert!(text.ends_with("That is 1048576 bytes; zeroes among them are not sent."), "{text}");
    }
}
