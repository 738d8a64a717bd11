//! Two daemons under load, and `kill -9`: of the node that serves, of the other, of both, at moments that a seed chooses, also
//! while one catches up. Then restarts and promotions. After each, hosts read what their volume's mode promises; once all is
//! quiet, the two images are what they read, byte for byte.
//!
//! `CRASH_SEED` and `CRASH_ROUNDS` choose others. A seed decides what happens, not when: a fault that depends on the moment
//! takes several runs of its seed.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scenarios::daemon::comes_true;
use scenarios::history::{BLOCK, History, Promise};
use scenarios::host::{Ending, Host, Load, Trouble, read};
use scenarios::initiator::Error;
use scenarios::note;
use scenarios::pair::{INITIATOR, Node, PATIENCE, Pair, Setup, Volume};
use scenarios::random::Random;

/// What is resynced may be this much of what was written: twice what the maps of [`MIRRORS`] were seen to lead to in six rounds
/// and in seventy.
const RESYNCED_PER_WRITTEN_MAX: f64 = 1.5;

/// Of about three seconds each.
const ROUNDS: u32 = 70;

const VOLUMES: usize = 3;
const NAMES: [&str; VOLUMES] = ["sync", "memsync", "async"];
/// One whose map is fine, one that may keep few regions hot, and one as it is by default: a quarter of it is a region.
const MIRRORS: [&str; VOLUMES] = [
    "mode: sync, max_stall: 5s, wait_for_peer: 1s, map: { piece: 4KiB }",
    "mode: memsync, max_stall: 5s, wait_for_peer: 1s, map: { piece: 4KiB, hot_regions: 8 }",
    "mode: async, wait_for_peer: 1s",
];
const SYNC: usize = 0;
const MEMSYNC: usize = 1;

/// Of each volume: 16 MiB.
const BLOCKS: u32 = 32_768;
/// What is written to at a time: there hosts overlap.
const WINDOWS: [u32; 4] = [256, 2048, 2048, 8192];
/// Of each volume.
const HOSTS: usize = 2;

/// A node, by its place in the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Alpha,
    Beta,
}

use Side::{Alpha, Beta};

impl Side {
    fn other(self) -> Side {
        match self {
            Alpha => Beta,
            Beta => Alpha,
        }
    }
}

/// What a round does.
#[derive(Clone, Debug)]
struct Plan {
    /// In this order.
    struck: Vec<Side>,
    /// Of the line, one way, until somebody is struck.
    delay: Duration,
    /// What is on its way when the first is struck never arrives.
    is_cut: bool,
    /// Acknowledged writes before the first is struck.
    after: u64,
    /// And between the two; 0: at once.
    gap: u64,
    /// Volumes whose other copy is promoted, where it may be.
    promoted: [bool; VOLUMES],
    /// Acknowledged writes of those who can go on, before and after one comes back.
    more: u64,
    /// Who is dead comes back while others write.
    is_back_under_load: bool,
    /// Of two that are dead, this one starts first.
    first_back: Side,
    /// And serves before the other starts.
    first_serves: bool,
    /// Who comes back first is struck once more as soon as it is ready.
    is_struck_again: bool,
    /// Afterwards all is let come to rest.
    is_quiet_after: bool,
}

impl Plan {
    fn draw(random: &mut Random) -> Plan {
        let struck = match random.below(10) {
            0..4 => vec![Alpha],
            4..7 => vec![Beta],
            7 | 8 => vec![Alpha, Beta],
            _ => vec![Beta, Alpha],
        };
        Plan {
            struck,
            delay: Duration::from_millis(random.pick(&[0, 0, 2, 10])),
            is_cut: random.once_in(3),
            after: random.below(1500) as u64,
            gap: if !random.once_in(3) { 0 } else { random.below(300) as u64 },
            promoted: std::array::from_fn(|_| !random.once_in(3)),
            more: random.below(400) as u64,
            is_back_under_load: random.once_in(2),
            first_back: random.pick(&[Alpha, Beta]),
            first_serves: random.once_in(4),
            is_struck_again: random.once_in(5),
            is_quiet_after: !random.once_in(4),
        }
    }
}

/// The pair, and what its daemons have logged in this round.
struct Scene {
    pair: Pair,
    /// By side: what those who are gone have logged, and where in the log of who lives the round began.
    logs: [(String, usize); 2],
}

impl Scene {
    fn node(&self, side: Side) -> &Node {
        self.pair.nodes()[side as usize]
    }

    fn node_mut(&mut self, side: Side) -> &mut Node {
        match side {
            Alpha => &mut self.pair.alpha,
            Beta => &mut self.pair.beta,
        }
    }

    fn start(&mut self, side: Side, is_struck_again: bool) {
        self.node_mut(side).start();
        if is_struck_again {
            self.bury(side);
            self.node_mut(side).start();
        }
    }

    fn bury(&mut self, side: Side) {
        let log = self.node_mut(side).bury();
        let (gone, mark) = &mut self.logs[side as usize];
        gone.push_str(&log[*mark..]);
        *mark = 0;
    }

    fn log(&self, side: Side) -> String {
        let (gone, mark) = &self.logs[side as usize];
        let living = self.node(side).daemon.as_ref().map(|daemon| daemon.log()[*mark..].to_owned());
        format!("{gone}{}", living.unwrap_or_default())
    }

    fn forget_logs(&mut self) {
        for side in [Alpha, Beta] {
            let length = self.node(side).daemon().log().len();
            self.logs[side as usize] = (String::new(), length);
        }
    }

    /// As the operator does: when the other is seen to be gone, and without force.
    fn promote(&self, side: Side, volume: usize) {
        let (node, name) = (self.node(side), NAMES[volume]);
        node.wait_for(name, "no session", |group| group["link"] == "down");
        node.ask(&["promote", name]);
    }
}

/// What a volume went through in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Crash {
    Replica,
    OwnerBack,
    OwnerReplaced,
    BothBack,
    BothReplaced,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    rounds: u64,
    written: u64,
    resynced: u64,
    replayed: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.rounds += other.rounds;
        self.written += other.written;
        self.resynced += other.resynced;
        self.replayed += other.replayed;
    }

    fn ratio(&self) -> f64 {
        self.resynced as f64 / self.written.max(1) as f64
    }
}

struct Run {
    seed: u64,
    round: u32,
    random: Random,
    scene: Scene,
    owners: [Side; VOLUMES],
    histories: [Mutex<History>; VOLUMES],
    /// Nothing was under way between the nodes when the round began.
    is_quiet: bool,
    plan: Plan,
    counts: BTreeMap<(Crash, usize), Count>,
    /// Acknowledged writes that promotions undid, where they may.
    undone: usize,
}

impl Run {
    fn new(seed: u64) -> Run {
        let volumes = (0..VOLUMES).map(|volume| Volume::new(NAMES[volume], "alpha", MIRRORS[volume])).collect();
        let setup = Setup { volumes, timeout: "1s", probation: "50ms", ..Setup::default() };
        let mut pair = Pair::prepare(&setup);
        for node in [&mut pair.alpha, &mut pair.beta] {
            node.configure(|yaml| yaml.replace("probation: 50ms", "probation: 50ms, probation_max: 200ms"));
            node.start();
        }
        let mut random = Random(seed);
        let plan = Plan::draw(&mut random);
        let mut run = Run {
            seed,
            round: 0,
            random,
            scene: Scene { pair, logs: Default::default() },
            owners: [Alpha; VOLUMES],
            histories: std::array::from_fn(|volume| Mutex::new(History::new(BLOCKS, seed as u32 + volume as u32))),
            is_quiet: false,
            plan,
            counts: BTreeMap::new(),
            undone: 0,
        };
        run.come_to_rest();
        run
    }

    fn play(&mut self) {
        self.round += 1;
        self.plan = Plan::draw(&mut self.random);
        self.scene.forget_logs();
        let begun = Instant::now();
        let served = self.owners;
        self.scene.pair.line.delay(self.plan.delay);
        let mut written = self.crash();
        self.scene.pair.line.delay(Duration::ZERO);
        let promises = self.come_back(served);
        self.judge(promises.map(|(_, promise)| promise));
        // Hosts go on, while who came back catches up.
        let more = self.plan.more;
        let (bytes, troubles) = self.under_load(|_, load| load.wait(more, PATIENCE));
        if let Some((volume, trouble)) = troubles.first() {
            self.fail(&format!("a host of {} that went on: {trouble:?}", NAMES[*volume]));
        }
        self.judge([Promise::Acknowledged; VOLUMES]);
        self.is_quiet = self.plan.is_quiet_after;
        if self.is_quiet {
            self.come_to_rest();
        }
        (0..VOLUMES).for_each(|volume| written[volume] += bytes[volume]);
        self.count(promises.map(|(crash, _)| crash), written);
        note!("round {} took {:.1?}: {:?}", self.round, begun.elapsed(), self.plan);
    }

    /// Load, and in its midst the end of one daemon or of both. Gives back bytes written.
    fn crash(&mut self) -> [u64; VOLUMES] {
        let (plan, is_quiet) = (self.plan.clone(), self.is_quiet);
        let mut owners = self.owners;
        let (written, troubles) = self.under_load(|scene, load| {
            load.wait(plan.after, PATIENCE);
            if plan.is_cut {
                scene.pair.line.cut();
            }
            for (nth, &side) in plan.struck.iter().enumerate() {
                if nth > 0 && plan.gap > 0 {
                    load.wait(plan.gap, PATIENCE);
                }
                scene.node(side).daemon().strike();
            }
            plan.struck.iter().for_each(|&side| scene.bury(side));
            let [struck] = plan.struck[..] else {
                scene.pair.line.heal();
                return;
            };
            for (volume, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| **owner == struck) {
                if plan.promoted[volume] && is_quiet && !has_degraded(scene, struck, volume) {
                    scene.promote(struck.other(), volume);
                    *owner = struck.other();
                }
            }
            scene.pair.line.heal();
            load.wait(plan.more, PATIENCE);
            if plan.is_back_under_load {
                scene.start(struck, plan.is_struck_again);
                load.wait(plan.more, PATIENCE);
            }
        });
        for (volume, trouble) in troubles {
            match trouble {
                Trouble::Lost(Error::Closed | Error::Io(_)) if plan.struck.contains(&self.owners[volume]) => (),
                trouble => self.fail(&format!("a host of {}: {trouble:?}", NAMES[volume])),
            }
        }
        self.owners = owners;
        written
    }

    /// Everybody is there again, and somebody serves each volume. What happened to it since `served` did, and what its hosts are
    /// owed.
    fn come_back(&mut self, served: [Side; VOLUMES]) -> [(Crash, Promise); VOLUMES] {
        let plan = self.plan.clone();
        match plan.struck[..] {
            [struck] if self.scene.node(struck).daemon.is_none() => self.scene.start(struck, plan.is_struck_again),
            [_] => (),
            _ => self.both_come_back(&plan),
        }
        for (volume, owner) in self.owners.into_iter().enumerate() {
            let serves = |group: &serde_json::Value| group["standing"] == "active";
            self.scene.node(owner).wait_for(NAMES[volume], "it serves", serves);
        }
        std::array::from_fn(|volume| {
            let both = plan.struck.len() == 2;
            match (plan.struck.contains(&served[volume]), served[volume] != self.owners[volume]) {
                (false, _) => (Crash::Replica, Promise::Acknowledged),
                (true, false) if both => (Crash::BothBack, Promise::Acknowledged),
                (true, false) => (Crash::OwnerBack, Promise::Acknowledged),
                (true, true) if both => (Crash::BothReplaced, promise(volume, both)),
                (true, true) => (Crash::OwnerReplaced, promise(volume, both)),
            }
        })
    }

    fn both_come_back(&mut self, plan: &Plan) {
        let first = plan.first_back;
        self.scene.start(first, plan.is_struck_again);
        for volume in 0..VOLUMES {
            let owner = self.owners[volume];
            let is_whole = self.is_quiet && plan.gap == 0 && !has_degraded(&self.scene, owner, volume);
            if owner != first && plan.promoted[volume] && is_whole {
                self.scene.promote(first, volume);
                self.owners[volume] = first;
            }
        }
        if plan.first_serves {
            for volume in (0..VOLUMES).filter(|&volume| self.owners[volume] == first) {
                let serves = |group: &serde_json::Value| group["standing"] == "active";
                self.scene.node(first).wait_for(NAMES[volume], "it serves alone", serves);
            }
        }
        self.scene.start(first.other(), false);
    }

    /// Hosts of each volume, while `act` does what it does: bytes that each volume's wrote, and who did not end well.
    fn under_load(&mut self, act: impl FnOnce(&mut Scene, &Load)) -> ([u64; VOLUMES], Vec<(usize, Trouble)>) {
        let load = Load::default();
        let mut hosts = Vec::new();
        for (volume, history) in self.histories.iter().enumerate() {
            let width = self.random.pick(&WINDOWS);
            let start = self.random.below((BLOCKS - width) as usize) as u32;
            for host in 0..HOSTS {
                let name = format!("{INITIATOR}-{}-{host}", NAMES[volume]);
                let session = self.scene.node(self.owners[volume]).log_in_as(&name).expect("who serves is there");
                let random = Random(self.random.draw());
                let host = Host::new(&load, history, session, volume as u16, start..start + width, random);
                hosts.push((volume, host));
            }
        }
        let scene = &mut self.scene;
        let ends = std::thread::scope(|scope| {
            let ending = Ending(&load);
            let working: Vec<_> =
                hosts.into_iter().map(|(volume, host)| (volume, scope.spawn(|| host.work()))).collect();
            act(scene, &load);
            drop(ending);
            let joined = |(volume, host): (usize, std::thread::ScopedJoinHandle<'_, _>)| {
                (volume, host.join().expect("no host panics"))
            };
            working.into_iter().map(joined).collect::<Vec<(usize, (u64, Result<(), Trouble>))>>()
        });
        let (mut written, mut troubles) = ([0; VOLUMES], Vec::new());
        for (volume, (bytes, result)) in ends {
            written[volume] += bytes;
            troubles.extend(result.err().map(|trouble| (volume, trouble)));
        }
        (written, troubles)
    }

    /// All that was written to is read and judged, and is what everything starts from.
    fn judge(&mut self, promises: [Promise; VOLUMES]) {
        for (volume, promise) in promises.into_iter().enumerate() {
            match self.judge_volume(volume, promise) {
                Ok(undone) => self.undone += undone,
                Err(what) => self.fail(&format!("{}: {what}", NAMES[volume])),
            }
        }
    }

    /// How many acknowledged writes are undone, as the promise allows.
    fn judge_volume(&self, volume: usize, promise: Promise) -> Result<usize, String> {
        let mut history = self.histories[volume].lock().expect("nobody panics with it");
        let mut session = self.scene.node(self.owners[volume]).log_in().map_err(|error| error.to_string())?;
        let mut shown = BTreeMap::new();
        for blocks in history.touched() {
            let data = read(&mut session, volume as u16, blocks.clone())?;
            shown.extend(blocks.clone().zip(history.versions(blocks.start, &data)?));
        }
        history.judge(&shown, promise)?;
        let undone = history.undone(&shown);
        history.settle(&shown);
        Ok(undone)
    }

    /// Both copies of all volumes are UpToDate and lack nothing, and are what hosts read.
    fn come_to_rest(&mut self) {
        for (volume, owner) in self.owners.into_iter().enumerate() {
            let (name, serving, other) = (NAMES[volume], self.scene.node(owner), self.scene.node(owner.other()));
            let is_at_rest = || {
                let (ours, theirs) = (serving.group(name), other.group(name));
                let established =
                    |group: &serde_json::Value| group["link"] == "established" && group["disk"] == "up-to-date";
                established(&ours)
                    && established(&theirs)
                    && (&ours["role"], &theirs["role"]) == (&"primary".into(), &"secondary".into())
                    && ours["applied_upto"] == ours["seq"]
                    && ours["rpo"]["bytes"] == 0
            };
            if !comes_true(PATIENCE, is_at_rest) {
                let stands = [serving.group(name), other.group(name)];
                self.fail(&format!("{name} does not come to rest: {} serves; {stands:?}", serving.name));
            }
            if let Err(what) = self.judge_images(volume) {
                self.fail(&what);
            }
        }
        self.is_quiet = true;
    }

    /// Both copies are what hosts read, in every block.
    fn judge_images(&self, volume: usize) -> Result<(), String> {
        let (history, name) = (self.histories[volume].lock().expect("nobody panics with it"), NAMES[volume]);
        self.scene.pair.nodes().into_iter().try_for_each(|node| {
            let judged = history.judge_image(&node.image(name));
            judged.map_err(|what| format!("the image of {name} on {}: {what}", node.name))
        })
    }

    fn count(&mut self, crashes: [Crash; VOLUMES], written: [u64; VOLUMES]) {
        let logs = [Alpha, Beta].map(|side| self.scene.log(side));
        if logs.iter().any(|log| log.contains("panicked at")) {
            self.fail("a daemon panicked");
        }
        for (volume, crash) in crashes.into_iter().enumerate() {
            let [resynced, replayed] =
                [resynced, replayed].map(|sum| logs.iter().map(|log| sum(log, NAMES[volume])).sum());
            let count = Count { rounds: 1, written: written[volume], resynced, replayed };
            self.counts.entry((crash, volume)).or_default().add(count);
        }
    }

    fn fail(&self, what: &str) -> ! {
        let logs = [Alpha, Beta].map(|side| format!("--- log of {side:?} in this round:\n{}", self.scene.log(side)));
        panic!(
            "CRASH_SEED={} round {}: {what}\n{:?}\nquiet at first: {}, serving now: {:?}\n{}",
            self.seed,
            self.round,
            self.plan,
            self.is_quiet,
            self.owners,
            logs.join("\n")
        );
    }
}

/// The owner went on alone before it was struck, as it may: its copy is then the only good one.
fn has_degraded(scene: &Scene, owner: Side, volume: usize) -> bool {
    scene.log(owner).lines().any(|line| is_of(line, NAMES[volume]) && line.contains("going on without the peer"))
}

/// To hosts of a volume whose other copy was promoted.
fn promise(volume: usize, both: bool) -> Promise {
    match volume {
        SYNC => Promise::Acknowledged,
        // What is received and not applied is gone with the replica's process.
        MEMSYNC if both => Promise::Durable,
        MEMSYNC => Promise::Acknowledged,
        _ => Promise::Dependence,
    }
}

/// Bytes of a group's resyncs. One that starts over at once, before anything else happened, is one.
fn resynced(log: &str, group: &str) -> u64 {
    let (mut sum, mut started) = (0, 0);
    for line in log.lines().filter(|line| is_of(line, group) || line.contains("link")) {
        match line.contains("resync: the peer gets") {
            true => started = bytes(line),
            false if line.contains("is the source") => (),
            false => sum += std::mem::take(&mut started),
        }
    }
    sum + started
}

/// Bytes of writes that waited for the peer and were sent when it was back.
fn replayed(log: &str, group: &str) -> u64 {
    log.lines().filter(|line| is_of(line, group) && line.contains("writes that were queued for it")).map(bytes).sum()
}

fn is_of(line: &str, group: &str) -> bool {
    line.contains(&format!("group={group} "))
}

fn bytes(line: &str) -> u64 {
    let number = line.split_once("bytes=").and_then(|(_, rest)| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("how many bytes? {line}"))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

const MIB: f64 = (1 << 20) as f64;

#[test]
fn nothing_acknowledged_is_lost_when_daemons_are_killed() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let (seed, rounds) = (setting("CRASH_SEED", now % 1_000_000), setting("CRASH_ROUNDS", u64::from(ROUNDS)));
    note!("CRASH_SEED={seed} CRASH_ROUNDS={rounds}");
    let mut run = Run::new(seed);
    for _ in 0..rounds {
        run.play();
    }
    if !run.is_quiet {
        run.come_to_rest();
    }
    let mut all = Count::default();
    for ((crash, volume), count) in &run.counts {
        let Count { rounds, written, resynced, replayed } = *count;
        note!(
            "{crash:?} of {}: {rounds} times, {:.1} MiB written, {:.1} MiB resynced ({:.2}), {:.1} MiB replayed",
            NAMES[*volume],
            written as f64 / MIB,
            resynced as f64 / MIB,
            count.ratio(),
            replayed as f64 / MIB
        );
        all.add(*count);
    }
    let mixed: u64 = run.histories.iter().map(|history| history.lock().expect("nobody panics with it").mixed()).sum();
    note!("{} acknowledged writes were undone by promotions in async, or in memsync with both dead", run.undone);
    note!("{mixed} blocks were read while they were being written, in part");
    note!(
        "seed {seed}: {rounds} rounds, {} bytes written, {} bytes resynced, ratio {:.3}",
        all.written,
        all.resynced,
        all.ratio()
    );
    assert!(all.ratio() <= RESYNCED_PER_WRITTEN_MAX, "more is resynced than was hot: {:.3}", all.ratio());
}

#[test]
fn a_resync_that_starts_over_at_once_is_counted_once() {
    let start = "INFO resync: the peer gets the blocks that it lacks group=sync peer=beta bytes=100\n";
    let done = "INFO resync done: the copies are alike group=sync peer=beta took=1ms\n";
    assert_eq!(resynced(&[start, start, done].concat(), "sync"), 100);
    assert_eq!(resynced(&[start, "WARN link down: its last connection was lost\n", start].concat(), "sync"), 200);
    assert_eq!(resynced(&[start, done, start, done].concat(), "sync"), 200);
    assert_eq!(resynced(start, "async"), 0);
}

/// The judge sees what a daemon that loses a write would leave.
#[test]
fn a_block_that_is_lost_is_found_on_either_node() {
    let mut run = Run::new(0);
    let (_, troubles) = run.under_load(|_, load| load.wait(300, PATIENCE));
    assert!(troubles.is_empty(), "{troubles:?}");
    let touched = run.histories[SYNC].lock().expect("nobody panics with it").touched();
    let at = u64::from(touched[0].start) * BLOCK as u64;
    let image = |run: &Run, side| {
        let path = run.scene.node(side).path("sync.img");
        File::options().read(true).write(true).open(path).expect("the image is there")
    };
    let mut written = [0; BLOCK];
    image(&run, Alpha).read_exact_at(&mut written, at).expect("a block");
    image(&run, Alpha).write_all_at(&[0; BLOCK], at).expect("the write is undone");
    let lost = run.judge_volume(SYNC, Promise::Acknowledged).expect_err("it was acknowledged");
    assert!(lost.contains("is owed"), "{lost}");
    image(&run, Alpha).write_all_at(&written, at).expect("and made good");
    run.judge([Promise::Acknowledged; VOLUMES]);
    run.come_to_rest();
    image(&run, Beta).write_all_at(&[0; BLOCK], at).expect("undone in the other copy");
    let differs = run.judge_images(SYNC).expect_err("the copies are not alike");
    assert!(differs.contains("on beta: 1 blocks differ"), "{differs}");
}
