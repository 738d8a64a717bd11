//! Devices whose content is not what the record is of.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::device::TestDevice;
use super::node::{BLOCKS, Node, eventually};
use super::pair::Pair;
use crate::block::{BlockDevice, Label};
use crate::config::Mode;
use crate::replica::io::{Command, Standing};
use crate::wire::message::{DiskState, Role};

/// Made just now, in the place of one that is gone.
fn made() -> Arc<TestDevice> {
    let device = TestDevice::new(BLOCKS, true);
    device.found.store(0, Ordering::Relaxed);
    device
}

async fn written(mode: Mode) -> Pair {
    let pair = Pair::start(mode).await;
    let line = pair.connected().await;
    pair.a.write(0, 8, 7).await.unwrap();
    pair.alike().await;
    line.cut().await;
    pair
}

#[tokio::test]
async fn a_secondary_whose_file_was_made_anew_gets_every_block() {
    let Pair { a, b } = written(Mode::Sync).await;
    let b = b.restart_on(made()).await;
    assert_eq!((b.status().role, b.status().disk), (Role::Secondary, DiskState::Inconsistent));
    let pair = Pair { a, b };
    pair.connected().await;
    assert_eq!(pair.b.device.content()[..4096], [7; 4096]);
}

#[tokio::test]
async fn a_secondary_whose_file_is_another_gets_every_block() {
    for label in [Label::Kept(None), Label::Kept(Some("other".into())), Label::Given("other".into()), Label::None] {
        let Pair { a, b } = written(Mode::Async).await;
        let other = TestDevice::new(BLOCKS, true);
        *other.label.lock() = label;
        let pair = Pair { a, b: b.restart_on(other).await };
        assert_eq!(pair.b.status().disk, DiskState::Inconsistent);
        pair.connected().await;
        assert_eq!(pair.b.device.content()[..4096], [7; 4096]);
    }
}

#[tokio::test]
async fn a_primary_whose_file_is_gone_serves_nothing_until_it_is_back() {
    let Pair { a, b } = written(Mode::Sync).await;
    let file = a.device.clone();
    let a = a.restart_on(made()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.observer.standing_now(), Some(Standing::Standby), "it waits for no peer and serves nobody");
    assert_eq!((a.status().role, a.status().disk), (Role::Secondary, DiskState::Inconsistent));
    a.command(Command::Shutdown).await.unwrap();
    let pair = Pair { a: a.restart_on(file).await, b };
    pair.connected().await;
    assert_eq!(pair.a.status().role, Role::Primary);
    assert_eq!(pair.a.device.content()[..4096], [7; 4096]);
}

#[tokio::test]
async fn a_primary_whose_file_is_gone_is_copied_to_from_a_promoted_peer() {
    let Pair { a, b } = written(Mode::Sync).await;
    let pair = Pair { a: a.restart_on(made()).await, b };
    let line = pair.connect();
    eventually("they have met", || pair.b.status().decision.is_some()).await;
    pair.b.command(Command::Promote { force: false }).await.unwrap();
    pair.alike().await;
    assert_eq!(pair.a.device.content()[..4096], [7; 4096]);
    assert_eq!(line.complaints(), Vec::<String>::new());
    assert!(!pair.a.state_dir.path().join("mirror/db/record.former.json").exists());
}

#[tokio::test]
async fn a_primary_whose_file_is_gone_serves_the_new_one_if_told_so() {
    let Pair { a, .. } = written(Mode::Sync).await;
    let a = a.restart_on(made()).await;
    a.command(Command::Promote { force: false }).await.expect_err("not by itself");
    a.command(Command::Promote { force: true }).await.unwrap();
    a.write(0, 1, 9).await.unwrap();
    a.device.found.store(BLOCKS, Ordering::Relaxed);
    let a = a.restart().await;
    eventually("it serves again", || a.observer.standing_now() == Some(Standing::Active)).await;
}

#[tokio::test]
async fn blocks_added_while_both_were_down_are_copied() {
    let Pair { a, b } = written(Mode::Sync).await;
    let larger = |node: &Node, fill: u8| {
        let device = TestDevice::new(BLOCKS + 64, true);
        device.found.store(BLOCKS, Ordering::Relaxed);
        *device.label.lock() = node.device.label.lock().clone();
        let mut content = node.device.content();
        content.resize(content.len() + 64 * 512, fill);
        device.fill(&content);
        device
    };
    let (ours, theirs) = (larger(&a, 0), larger(&b, 0xff));
    a.command(Command::Shutdown).await.unwrap();
    b.command(Command::Shutdown).await.unwrap();
    let pair = Pair { a: a.restart_on(ours).await, b: b.restart_on(theirs).await };
    pair.connected().await;
    assert_eq!(pair.b.device.capacity().0, BLOCKS + 64);
}
