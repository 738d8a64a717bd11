//! What a resync finds.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::device::TestDevice;
use crate::block::{BlockDevice, BlockError, Durability};
use crate::group::zeroes::find;
use crate::replica::io::Found;

#[tokio::test]
async fn a_hole_is_found_without_reading() {
    let thin = TestDevice::new(2048, true);
    assert_eq!(find(&*thin, thin.extent(0, 2048)).await, Ok(Found::Zeroes));
    assert_eq!(thin.reads.load(Ordering::Relaxed), 0);
    let thick = TestDevice::new(2048, false);
    assert_eq!(find(&*thick, thick.extent(0, 2048)).await, Ok(Found::Zeroes));
    assert_eq!(thick.reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn one_byte_makes_it_data() {
    for (thin, lba) in [(true, 0), (true, 1000), (false, 2047)] {
        let device = TestDevice::new(2048, thin);
        let mut block = vec![0; 512];
        block[511] = 1;
        device.write(device.extent(lba, 1), Bytes::from(block).into(), Durability::Cached).await.unwrap();
        let Ok(Found::Data(data)) = find(&*device, device.extent(0, 2048)).await else { panic!("{thin} {lba}") };
        assert!(data.contiguous()[..] == device.content()[..]);
    }
}

#[tokio::test]
async fn a_map_that_the_device_tells_in_parts_is_asked_for_to_its_end() {
    let device = TestDevice::new(2048, true);
    device.map_blocks_max.store(100, Ordering::Relaxed);
    assert_eq!(find(&*device, device.extent(0, 2048)).await, Ok(Found::Zeroes));
    assert_eq!(device.reads.load(Ordering::Relaxed), 0);
    let data = Bytes::from(vec![1; 512]);
    device.write(device.extent(2047, 1), data.into(), Durability::Cached).await.unwrap();
    assert!(matches!(find(&*device, device.extent(0, 2048)).await, Ok(Found::Data(_))));
    device.map_blocks_max.store(0, Ordering::Relaxed);
    assert_eq!(find(&*device, device.extent(0, 100)).await, Ok(Found::Zeroes), "read, as nothing is told");
}

#[tokio::test]
async fn a_failure_to_read_is_told() {
    let device = TestDevice::new(2048, false);
    device.fails.store(true, Ordering::Relaxed);
    assert_eq!(find(&*device, device.extent(0, 1)).await, Err(BlockError::Medium));
}
