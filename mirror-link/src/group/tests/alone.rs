//! A group without its peer.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::device::TestDevice;
use super::node::{BLOCKS, Node, VOLUME, config, eventually, soon};
use crate::block::{BlockDevice, BlockError, Durability, Eventually, Payload};
use crate::config::{GroupConfig, Mode};
use crate::extent::BlockLength;
use crate::group::Group;
use crate::replica::io::Standing;
use crate::wire::message::Role;

async fn primary() -> Node {
    let node = Node::start("alpha", config("beta", Role::Primary, Mode::Async)).await;
    eventually("it serves alone", || node.observer.standing_now() == Some(Standing::Active)).await;
    node
}

#[tokio::test]
async fn a_write_is_on_the_device_when_it_is_answered() {
    let node = primary().await;
    node.write(7, 3, 0xa5).await.unwrap();
    assert!(node.device.content()[7 * 512..10 * 512].iter().all(|&byte| byte == 0xa5));
    node.device.late.store(true, Ordering::Relaxed);
    node.write(8, 1, 0x5a).await.unwrap();
    assert_eq!(node.device.content()[8 * 512], 0x5a);
    soon(node.group.unmap(VOLUME, node.device.extent(8, 1))).await.unwrap();
    soon(node.group.flush(VOLUME)).await.unwrap();
    assert_eq!(node.device.content()[8 * 512], 0);
    assert_eq!(
        (node.device.unmaps.load(Ordering::Relaxed), node.device.flushes.load(Ordering::Relaxed) > 0),
        (1, true)
    );
}

#[tokio::test]
async fn what_the_device_answers_at_once_is_answered_at_once() {
    let node = primary().await;
    node.write(0, 1, 1).await.unwrap();
    let answer = node.group.write(VOLUME, node.device.extent(0, 1), payload(512), Durability::Cached);
    assert!(matches!(answer, Eventually::Now(Ok(()))));
    assert!(matches!(node.group.may_read(VOLUME, node.device.extent(0, 1)), Eventually::Now(Ok(()))));
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_still_done() {
    let node = primary().await;
    node.device.late.store(true, Ordering::Relaxed);
    drop(node.group.write(VOLUME, node.device.extent(0, 1), payload(512), Durability::Cached));
    node.write(0, 1, 9).await.unwrap();
    assert_eq!(node.device.content()[0], 9);
}

#[tokio::test]
async fn a_device_that_fails_fails_the_write() {
    let node = primary().await;
    node.device.fails.store(true, Ordering::Relaxed);
    assert_eq!(node.write(0, 1, 1).await, Err(BlockError::Medium));
}

#[tokio::test]
async fn the_last_owner_ends_the_group_and_gives_its_place_back() {
    let node = primary().await;
    let config = node.group.config().clone();
    let other = Node::start_in(tempfile::tempdir().unwrap(), node.device.clone(), "alpha", config.clone()).await;
    drop(other.unwrap());
    let (weak, state_dir) = (Arc::downgrade(&node.group), node.state_dir.path().to_owned());
    let devices: Vec<Arc<dyn BlockDevice>> = vec![node.device.clone()];
    let again =
        Group::start(config.clone(), "alpha".into(), node.instance, &state_dir, devices.clone(), node.observer.clone());
    let error = again.await.unwrap_err().to_string();
    assert!(error.contains("group db: ") && error.contains("is used by another process"), "{error}");
    drop(node.group);
    eventually("the group is gone", || weak.strong_count() == 0).await;
    Group::start(config, "alpha".into(), node.instance, &state_dir, devices, node.observer).await.unwrap();
}

#[tokio::test]
async fn what_does_not_fit_is_named_with_its_remedy() {
    let start = |device: Arc<TestDevice>, change: fn(&mut GroupConfig)| async move {
        let mut config = config("beta", Role::Primary, Mode::Sync);
        change(&mut config);
        let node = Node::start_in(tempfile::tempdir().unwrap(), device, "alpha", config).await;
        node.map(|_| ()).unwrap_err().to_string()
    };
    let small = start(TestDevice::new(BLOCKS - 1, true), |_| ()).await;
    assert_eq!(
        small,
        "group db: volume db: it has 4095 blocks, 4096 are configured; enlarge it or give a smaller `size`"
    );
    let other = start(TestDevice::new(BLOCKS, true), |c| c.volumes[0].block_length = BlockLength::B4096).await;
    assert!(other.contains("its blocks have 512 bytes, 4096 are configured"), "{other}");
}

#[tokio::test]
async fn a_damaged_record_is_not_overwritten() {
    let node = primary().await;
    let (config, record) = (node.group.config().clone(), node.state_dir.path().join("mirror/db/record.json"));
    let gone = Arc::downgrade(&node.group);
    drop(node.group);
    eventually("the group is gone", || gone.strong_count() == 0).await;
    fs::write(&record, "nonsense").unwrap();
    let error = Node::start_in(node.state_dir, node.device, "alpha", config).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("group db: ") && error.contains("not a mirror's record"), "{error}");
    assert!(error.contains("record.json") && error.contains("move it away"), "{error}");
}

fn payload(length: usize) -> Payload {
    bytes::Bytes::from(vec![7; length]).into()
}
