//! Processes and machines that end in the midst of it: what the map says is sent again, and nothing else.

use std::fs;
use std::sync::atomic::Ordering;

use super::device::BLOCK;
use super::node::{Node, eventually};
use super::pair::Pair;
use crate::config::{GroupConfig, MapBounds, Mode};
use crate::replica::io::Command;
use crate::wire::message::Role;

/// Pieces of a block, regions of 64.
fn fine(config: &mut GroupConfig) {
    config.map = MapBounds { piece_bytes: BLOCK as u64, hot_max: 64 };
}

/// Two regions are hot.
async fn written(mode: Mode) -> Pair {
    let pair = Pair::start_with(mode, fine).await;
    let line = pair.connected().await;
    eventually("the map says that they are alike", || pair.a.status().map.dirty_regions == 0).await;
    pair.a.write(3, 1, 7).await.unwrap();
    pair.a.write(130, 2, 7).await.unwrap();
    pair.alike().await;
    line.cut().await;
    pair
}

fn spoil(node: &Node, block: usize) {
    let mut content = node.device.content();
    content[block * BLOCK..(block + 1) * BLOCK].fill(0xee);
    node.device.fill(&content);
}

fn shows(node: &Node, block: usize) -> u8 {
    node.device.content()[block * BLOCK]
}

/// As if the machine had been started anew since the record was written.
fn reboot(node: &Node) {
    let path = node.state_dir.path().join("mirror/db/record.json");
    let text = fs::read_to_string(&path).unwrap();
    let kept = text.lines().nth(1).unwrap();
    let boot = kept.split("\"boot\":\"").nth(1).unwrap().split('"').next().unwrap();
    let kept = kept.replace(boot, "another");
    let seal = format!("{{\"version\":1,\"crc32c\":\"{:08x}\"}}", crc32c::crc32c(kept.as_bytes()));
    fs::write(&path, format!("{seal}\n{kept}\n")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_owner_s_crash_hot_regions_are_sent_and_nothing_else() {
    for mode in [Mode::Async, Mode::Sync] {
        let Pair { a, b } = written(mode).await;
        // What the map does not speak of is believed to be alike; so a difference there stays, and shows what was sent.
        spoil(&b, 5);
        spoil(&b, 500);
        let a = a.restart().await;
        let pair = Pair { a, b };
        let _line = pair.connect();
        eventually("it serves", || pair.a.status().role == Role::Primary && pair.a.status().resync.is_none()).await;
        eventually("the hot region is alike", || shows(&pair.b, 5) == 0).await;
        assert_eq!((shows(&pair.b, 3), shows(&pair.b, 131), shows(&pair.b, 500)), (7, 7, 0xee), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_end_in_good_order_nothing_is_sent() {
    let Pair { a, b } = written(Mode::Sync).await;
    let pair = Pair { a, b };
    let line = pair.connected().await;
    pair.a.command(Command::Shutdown).await.unwrap();
    line.cut().await;
    let Pair { a, b } = pair;
    spoil(&b, 5);
    let pair = Pair { a: a.restart().await, b };
    let reads = pair.a.device.reads.load(Ordering::Relaxed);
    let _line = pair.connect();
    pair.active(&pair.a).await;
    pair.a.write(200, 1, 9).await.unwrap();
    eventually("it follows", || shows(&pair.b, 200) == 9).await;
    assert_eq!((shows(&pair.b, 5), pair.a.device.reads.load(Ordering::Relaxed) - reads), (0xee, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_whose_machine_went_down_gets_back_what_its_cache_lost_and_serves_again() {
    let Pair { a, b } = written(Mode::Sync).await;
    spoil(&a, 3);
    reboot(&a);
    let pair = Pair { a: a.restart().await, b };
    let line = pair.connected().await;
    assert_eq!((shows(&pair.a, 3), shows(&pair.b, 3)), (7, 7), "nothing acknowledged is lost");
    assert_eq!((pair.a.status().role, pair.b.status().role), (Role::Primary, Role::Secondary));
    assert_eq!(line.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asynchronous_owner_whose_machine_went_down_is_the_source_all_the_same() {
    let Pair { a, b } = written(Mode::Async).await;
    spoil(&a, 3);
    reboot(&a);
    let pair = Pair { a: a.restart().await, b };
    let _line = pair.connected().await;
    assert_eq!((shows(&pair.a, 3), shows(&pair.b, 3)), (0xee, 0xee), "the replica may be behind");
}
