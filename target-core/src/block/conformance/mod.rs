//! What every store owes, asked of each of them.

mod model;
mod subject;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::{Bytes, BytesMut};

use self::subject::{Kept, SIZE, looped, subjects};
use super::{
    Allocation, BlockCount, BlockError, BlockLength, Durability, Extent, Lba, Payload, ResizeError, Store, open,
};

#[tokio::test]
async fn what_is_written_is_read_and_the_rest_is_zero() {
    for mut subject in subjects() {
        let (one, all) = (subject.blocks(64 << 10), subject.device().capacity().0);
        assert_eq!(all, subject.blocks(SIZE), "{}", subject.name);
        subject.write(all - one, one, 7).await;
        // More than is served inline or fits a buffer for direct I/O.
        subject.write(1, subject.blocks(3 << 20), 9).await;
        subject.device().flush().await.expect("flushes");
        if !matches!(subject.spec.store, Store::Memory) {
            subject.reopen();
        }
        let read = subject.read(0, all).await.expect("reads");
        let (block, end) = (subject.spec.block_length.bytes() as usize, SIZE as usize);
        let nines = block..block + (3 << 20);
        assert_eq!(read.len(), end, "{}", subject.name);
        for (range, fill) in
            [(0..block, 0), (nines.clone(), 9), (nines.end..end - (64 << 10), 0), (end - (64 << 10)..end, 7)]
        {
            assert!(read[range.clone()].iter().all(|&byte| byte == fill), "{}: {range:?}", subject.name);
        }
    }
}

#[tokio::test]
async fn unmapped_space_is_free_again_and_reads_as_zeroes() {
    for subject in subjects() {
        let capabilities = subject.device().capabilities();
        assert_eq!(capabilities.unmap, subject.spec.thin, "{}", subject.name);
        if !capabilities.unmap {
            let before = subject.used();
            assert_eq!(before, SIZE, "{}: all of it is taken", subject.name);
            subject.write(0, subject.blocks(1 << 20), 1).await;
            subject.device().unmap(subject.extent(0, subject.blocks(1 << 20))).await.expect("zeroes");
            subject.device().flush().await.expect("flushes");
            assert_eq!(subject.used(), before, "{}: and stays so", subject.name);
            assert!(subject.read(0, 1).await.expect("reads").iter().all(|&byte| byte == 0));
            continue;
        }
        let all = subject.blocks(4 << 20);
        let before = subject.used();
        subject.write(0, all, 1).await;
        subject.device().flush().await.expect("flushes");
        let full = subject.used();
        assert!(full >= before + (4 << 20), "{}: {before} then {full}", subject.name);
        // All but one block at each end.
        subject.device().unmap(subject.extent(1, all - 2)).await.expect("unmaps");
        subject.device().flush().await.expect("flushes");
        let after = subject.used();
        assert!(after <= full - (4 << 20) + 3 * 4096, "{}: {full} then {after}", subject.name);
        let read = subject.read(0, all).await.expect("reads");
        let block = subject.spec.block_length.bytes() as usize;
        assert!(read[..block].iter().chain(&read[read.len() - block..]).all(|&byte| byte == 1), "{}", subject.name);
        assert!(read[block..read.len() - block].iter().all(|&byte| byte == 0), "{}", subject.name);
        if capabilities.allocation_map {
            let runs = subject.device().allocation(subject.extent(0, all), 10).await.expect("maps");
            assert_eq!(runs.iter().map(|run| run.mapped).collect::<Vec<_>>(), [true, false, true], "{}", subject.name);
        }
    }
}

#[tokio::test]
async fn zeroes_written_take_no_space_where_they_may_be_released() {
    for subject in subjects().into_iter().filter(|subject| subject.spec.thin) {
        let all = subject.extent(0, subject.blocks(4 << 20));
        subject.write(0, all.blocks().0, 1).await;
        subject.device().flush().await.expect("flushes");
        let full = subject.used();
        subject.device().write_zeroes(all, Allocation::MayRelease, Durability::Durable).await.expect("writes zeroes");
        assert!(subject.used() <= full - (4 << 20), "{}: {full} then {}", subject.name, subject.used());
        subject.device().write_zeroes(all, Allocation::Keep, Durability::Durable).await.expect("writes zeroes");
        assert!(subject.used() >= full, "{}: kept", subject.name);
        assert!(subject.read(0, all.blocks().0).await.expect("reads").iter().all(|&byte| byte == 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_do_not_mix() {
    for subject in subjects() {
        let each = subject.blocks(16 << 10);
        let writes: Vec<_> = (0..200)
            .map(|index| {
                let data = Payload::from(Bytes::from(vec![index as u8; 16 << 10]));
                let durability = if index % 50 == 0 { Durability::Durable } else { Durability::Cached };
                tokio::spawn(subject.device().write(subject.extent(index * each, each), data, durability))
            })
            .collect();
        for write in writes {
            write.await.expect("runs").expect("writes");
        }
        let reads: Vec<_> = (0..200)
            .map(|index| tokio::spawn(subject.device().read(subject.extent(index * each, each), BytesMut::new())))
            .collect();
        for (index, read) in reads.into_iter().enumerate() {
            let read = read.await.expect("runs").expect("reads");
            assert!(read.iter().all(|&byte| byte == index as u8), "{}: {index}", subject.name);
        }
    }
}

#[tokio::test]
async fn a_read_only_store_reads_and_refuses_the_rest() {
    for mut subject in subjects() {
        let one = subject.extent(0, 1);
        subject.write(0, 1, 5).await;
        let memory = matches!(subject.spec.store, Store::Memory);
        subject.spec.read_only = true;
        subject.reopen();
        let device = subject.device();
        assert!(device.capabilities().read_only);
        let fill = if memory { 0 } else { 5 };
        assert!(subject.read(0, 1).await.expect("reads").iter().all(|&byte| byte == fill), "{}", subject.name);
        let data = Payload::from(BytesMut::zeroed(subject.spec.block_length.bytes() as usize));
        assert_eq!(device.write(one, data, Durability::Cached).await, Err(BlockError::ReadOnly));
        assert_eq!(device.write_zeroes(one, Allocation::Keep, Durability::Durable).await, Err(BlockError::ReadOnly));
        assert_eq!(device.unmap(one).await, Err(BlockError::ReadOnly));
        assert_eq!(device.flush().await, Ok(()));
    }
}

#[tokio::test]
async fn an_extent_beyond_the_end_is_refused() {
    for subject in subjects() {
        let all = subject.device().capacity();
        let beyond =
            Extent::new(all.0.checked_sub(1).map(Lba).expect("not empty"), BlockCount(2), BlockCount(all.0 + 1));
        let beyond = beyond.expect("fits the larger one");
        let device = subject.device();
        let data = Payload::from(BytesMut::zeroed(2 * subject.spec.block_length.bytes() as usize));
        assert_eq!(device.read(beyond, BytesMut::new()).await, Err(BlockError::OutOfRange), "{}", subject.name);
        assert_eq!(device.write(beyond, data, Durability::Cached).await, Err(BlockError::OutOfRange));
        assert_eq!(device.unmap(beyond).await, Err(BlockError::OutOfRange));
        assert_eq!(device.allocation(beyond, 1).await, Err(BlockError::OutOfRange));
        device.prefetch(beyond);
        device.prefetch(subject.extent(0, all.0));
    }
}

#[tokio::test]
async fn each_is_locked_against_a_second_opening() {
    for subject in subjects().into_iter().filter(|subject| subject.spec.store != Store::Memory) {
        let error = open(&subject.spec).expect_err("in use");
        let path = match &subject.spec.store {
            Store::File { path, .. } | Store::Device { path } => path.clone(),
            _ => PathBuf::new(),
        };
        assert_eq!(Path::new(&error.object), path);
        // A device says so by itself, at open(2).
        let cause = match subject.spec.store {
            Store::Device { .. } => "cannot be used: Device or resource busy",
            _ => "is in use by another volume of this process",
        };
        assert_eq!(error.cause, cause, "{}", subject.name);
    }
}

#[tokio::test]
async fn a_device_grows_as_far_as_the_device_below() {
    let Some(mut subject) = looped("device 512", BlockLength::B512) else { return };
    subject.spec.size = Some(SIZE / 2);
    subject.reopen();
    let (half, all) = (subject.blocks(SIZE / 2), subject.blocks(SIZE));
    let device = subject.device();
    assert_eq!(device.capacity().0, half);
    assert_eq!(device.resize(Some(BlockCount(half + 1))).await, Ok(BlockCount(half + 1)));
    let beyond = ResizeError::NoRoom { room: all, asked: all + 1 };
    assert_eq!(device.resize(Some(BlockCount(all + 1))).await, Err(beyond));
    assert_eq!(device.resize(Some(BlockCount(1))).await, Err(ResizeError::Shrink { capacity: half + 1, asked: 1 }));
    let Kept::Loop(below) = &subject.kept else { return };
    let file = File::options().write(true).open(below.directory.path().join("disk")).expect("opens");
    file.set_len(2 * SIZE).expect("grows");
    assert!(Command::new("losetup").arg("--set-capacity").arg(&below.node).status().expect("runs").success());
    assert_eq!(device.resize(None).await, Ok(BlockCount(2 * all)));
    subject.write(2 * all - 1, 1, 3).await;
}

#[tokio::test]
async fn a_device_with_larger_sectors_is_refused() {
    let Some(mut subject) = looped("device 4096", BlockLength::B4096) else { return };
    subject.device = None;
    subject.spec.block_length = BlockLength::B512;
    let error = open(&subject.spec).expect_err("refused");
    assert_eq!(error.cause, "has sectors of 4096 bytes, more than the block size of 512");
    subject.spec.block_length = BlockLength::B4096;
    subject.spec.size = Some(2 * SIZE);
    let error = open(&subject.spec).expect_err("refused");
    assert_eq!(error.cause, format!("has {SIZE} bytes, less than the size asked for ({})", 2 * SIZE));
}
