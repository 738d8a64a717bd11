//! Hosts that change a mirrored volume in every way at once, over a line that comes and goes: the copies end alike.

mod pair;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pair::cdb::{cdb10, cdb16, copy, data, short16, unmap};
use pair::{Answer, BLOCK, CAPACITY, Line, Node, Session};
use target_core::scsi::status::Status;
use target_core::target::config::Mode;

/// Commands of one run, and how many of them are under way at once.
const COMMANDS: usize = 600;
const AT_ONCE: usize = 12;

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    /// Most in a few blocks, so that much overlaps.
    fn range(&mut self, blocks_max: u64) -> (u64, u64) {
        let blocks = 1 + self.below(blocks_max);
        let end = if self.below(4) > 0 { 64 + blocks } else { CAPACITY / BLOCK as u64 };
        (self.below(end - blocks), blocks)
    }

    fn command(&mut self, list_id: u8, naa: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
        let seed = self.below(256) as u8;
        let (lba, blocks) = self.range(24);
        match self.below(10) {
            0..4 => {
                (cdb10(0x2A, 8 * self.below(2) as u8, lba as u32, blocks as u16).into(), data(blocks as usize, seed))
            }
            4 => (cdb10(0x41, 0, lba as u32, blocks as u16).into(), data(1, seed)),
            5 => (cdb16(0x93, 1 + 8 * self.below(2) as u8, lba, blocks as u32).into(), vec![]),
            6 => (vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], unmap(lba, blocks as u32)),
            7 => (cdb16(0x8B, 0, lba, blocks as u32).into(), data(blocks as usize, seed)),
            // Equal only where nobody has written.
            8 => (short16(0x89, lba, 1).into(), [vec![0; BLOCK], data(1, seed)].concat()),
            _ => {
                let list = copy(list_id, &naa[self.below(2) as usize], &naa[self.below(2) as usize]);
                (vec![0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0, 0], list)
            }
        }
    }
}

fn configured(mode: Mode, queue: u64) -> impl FnOnce(&mut target_core::target::config::Config) {
    move |config| {
        for volume in config.volumes.values_mut() {
            let mirror = volume.mirror.as_mut().expect("it is mirrored");
            mirror.policy.mode = mode;
            mirror.policy.max_stall = Duration::from_millis(50);
            mirror.queue.memory = queue;
        }
    }
}

async fn change_everything(host: &Session, random: &mut Random, naa: &[Vec<u8>], mut between: impl FnMut(usize)) {
    let mut under_way = FuturesUnordered::new();
    for at in 0..COMMANDS {
        between(at);
        let (cdb, list) = random.command(at as u8, naa);
        under_way.push(async move { (patiently(host, &cdb, &list).await, cdb) });
        // What has nothing to wait for is done when it is first looked at.
        if under_way.len() >= AT_ONCE || at % 3 == 0 {
            let (answer, cdb) = under_way.next().await.expect("one is under way");
            assert!(is_expected(&answer), "{answer:?} to {cdb:02x?}");
        }
    }
    while under_way.next().await.is_some() {}
}

/// GOOD; MISCOMPARE of COMPARE AND WRITE; a copy of the same list identifier that has not ended.
fn is_expected(answer: &Answer) -> bool {
    matches!(answer, Answer::Good(_) | Answer::Check(0x0E, 0x1D, 0) | Answer::Check(5, 0x00, 0x16))
}

/// As an initiator: BUSY is tried again, and a command that a unit attention (how the volume stands, early on) was told
/// in place of.
async fn patiently(host: &Session, cdb: &[u8], list: &[u8]) -> Answer {
    loop {
        match host.send(cdb, list).await {
            Answer::Other(Status::Busy) | Answer::Check(6, 0x2A, 6) => {
                tokio::time::sleep(Duration::from_millis(2)).await
            }
            answer => return answer,
        }
    }
}

async fn run(mode: Mode, queue: u64, seed: u64) {
    let (alpha, beta) = (
        Node::start_with("alpha", configured(mode, queue)).await,
        Node::start_with("beta", configured(mode, queue)).await,
    );
    let mut line = Some(Line::join(&alpha, &beta));
    let host = alpha.session("host");
    while host.ready().await != pair::GOOD {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let naa: Vec<Vec<u8>> = alpha.catalog.volumes().map(|volume| volume.unit.naa()).collect();
    let mut random = Random(seed);
    let mut cuts = Random(seed ^ 0x5DEE_CE66);
    change_everything(&host, &mut random, &naa, |_| match (&line, cuts.below(60)) {
        (Some(joined), 0) => {
            joined.cut();
            line = None;
        }
        (None, 0..6) => line = Some(Line::join(&alpha, &beta)),
        _ => {}
    })
    .await;
    let line = line.unwrap_or_else(|| Line::join(&alpha, &beta));
    pair::alike(&alpha, &beta, &line, &format!("{mode:?}, queue {queue}, seed {seed}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copies_end_alike_whatever_happens_to_the_line() {
    for seed in 1..=SEEDS {
        for mode in [Mode::Async, Mode::Memsync, Mode::Sync] {
            for queue in [4 << 10, 64 << 20] {
                run(mode, queue, seed).await;
            }
        }
    }
}

const SEEDS: u64 = 3;
