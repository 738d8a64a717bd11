//! Two groups whose line holds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::device::BLOCK;
use super::node::{BLOCKS, VOLUME, eventually, soon};
use super::pair::Pair;
use crate::block::{Allocation, Durability, Eventually, Payload};
use crate::config::Mode;
use crate::ids::Slot;
use crate::replica::io::Standing;
use crate::wire::message::MarkKind;

pub const MODES: [Mode; 3] = [Mode::Async, Mode::Memsync, Mode::Sync];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_on_the_primary_comes_to_be_on_the_replica() {
    for mode in MODES {
        let pair = Pair::start(mode).await;
        let _line = pair.connected().await;
        assert_eq!(pair.b.observer.standing_now(), Some(Standing::Standby));
        let (group, device) = (&pair.a.group, &pair.a.device);
        for byte in 1..=200 {
            pair.a.write(u64::from(byte) * 3, 7, byte).await.unwrap();
        }
        soon(group.write_zeroes(VOLUME, device.extent(30, 9), Allocation::Keep, Durability::Durable)).await.unwrap();
        soon(group.unmap(VOLUME, device.extent(70, 9))).await.unwrap();
        soon(group.flush(VOLUME)).await.unwrap();
        soon(group.mark(VOLUME, MarkKind(3), Bytes::from_static(b"reserved"))).await.unwrap();
        pair.alike().await;
        assert!(pair.b.device.content()[600 * BLOCK] == 200 && pair.b.device.content()[72 * BLOCK] == 0);
        let told = || pair.b.observer.marks.lock().clone();
        eventually("the mark is told", || !told().is_empty()).await;
        assert_eq!(told(), [(VOLUME, MarkKind(3), Bytes::from_static(b"reserved"))]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_in_sync_mode_is_on_the_replica() {
    let pair = Pair::start(Mode::Sync).await;
    let _line = pair.connected().await;
    for late in [false, true] {
        pair.a.device.late.store(late, Ordering::Relaxed);
        pair.b.device.late.store(late, Ordering::Relaxed);
        for byte in 1..=100 {
            pair.a.write(u64::from(byte), 1, byte).await.unwrap();
            assert_eq!(pair.b.device.content()[usize::from(byte) * BLOCK], byte);
        }
        soon(pair.a.group.flush(VOLUME)).await.unwrap();
        assert!(pair.b.device.flushes.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_async_write_waits_for_the_local_device_alone() {
    let pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    // The first write to a region waits for the map too.
    pair.a.write(0, 1, 1).await.unwrap();
    line.stall(true);
    let data = Payload::from(Bytes::from(vec![1; BLOCK]));
    for lba in 0..100 {
        let answer = pair.a.group.write(VOLUME, pair.a.device.extent(lba, 1), data.clone(), Durability::Cached);
        assert!(matches!(answer, Eventually::Now(Ok(()))), "write {lba}");
    }
    line.stall(false);
    pair.alike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_the_write_that_a_failover_would_undo() {
    let pair = Pair::start(Mode::Sync).await;
    let line = pair.connected().await;
    pair.a.write(0, 1, 1).await.unwrap();
    line.stall(true);
    let data = Payload::from(Bytes::from(vec![1; 2 * BLOCK]));
    let (group, extent) = (&pair.a.group, |lba, blocks| pair.a.device.extent(lba, blocks));
    let Eventually::Later(write) = group.write(VOLUME, extent(10, 2), data, Durability::Cached) else {
        panic!("the peer cannot have it")
    };
    let elsewhere = group.may_read(VOLUME, extent(12, 1));
    assert!(matches!(elsewhere, Eventually::Now(Ok(()))), "nothing is under way there");
    let Eventually::Later(mut read) = group.may_read(VOLUME, extent(11, 1)) else {
        panic!("a write is under way there")
    };
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut read).await.is_err(), "not before the write");
    line.stall(false);
    assert_eq!((soon(write).await, soon(read).await), (Ok(()), Ok(())));
    assert!(matches!(group.may_read(VOLUME, extent(11, 1)), Eventually::Now(Ok(()))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_lost_loses_nothing() {
    for mode in MODES {
        let pair = Pair::start(mode).await;
        let line = pair.connected().await;
        for byte in 1..=250 {
            pair.a.write(u64::from(byte), 200, byte).await.unwrap();
            if byte == 100 || byte == 180 {
                line.cut_slot(Slot(byte / 90 - 1));
            }
        }
        pair.alike().await;
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hosts_at_once_end_up_the_same_on_both() {
    for (mode, late) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let pair = Arc::new(Pair::start(mode).await);
        let line = pair.connected().await;
        pair.a.device.late.store(late, Ordering::Relaxed);
        pair.b.device.late.store(late, Ordering::Relaxed);
        let hosts: Vec<_> = (0..8).map(|host| tokio::spawn(write_at_random(pair.clone(), host))).collect();
        for host in hosts {
            host.await.unwrap();
        }
        pair.alike().await;
        assert_eq!(line.complaints(), Vec::<String>::new());
    }
}

/// In a narrow range, so that writes of several hosts overlap.
async fn write_at_random(pair: Arc<Pair>, host: u8) {
    for n in 0..200 {
        let random = getrandom::u32().unwrap();
        let (lba, blocks) = (u64::from(random % 64), u64::from(random >> 8) % 16 + 1);
        assert!(lba + blocks < BLOCKS);
        pair.a.write(lba, blocks, host.wrapping_mul(25).wrapping_add(n)).await.unwrap();
    }
}
