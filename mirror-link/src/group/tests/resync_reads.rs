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
async fn a_failure_to_read_is_told() {
    let device = TestDevice::new(2048, false);
    device.fails.store(true, Ordering::Relaxed);
    assert_eq!(find(&*device, device.extent(0, 1)).await, Err(BlockError::Medium));
}
