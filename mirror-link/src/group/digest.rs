//! What an extent holds, as one number: what a verify compares, and a resync that compares first.

use bytes::BytesMut;

use super::zeroes::all_zero;
use crate::block::{BlockDevice, BlockError};
use crate::extent::{BlockCount, Extent, Lba};
use crate::wire::message::Digest;

pub(super) async fn digest(device: &dyn BlockDevice, extent: Extent) -> Result<Digest, BlockError> {
    // A map that cannot be had is no failure: the blocks are read instead.
    if device.is_unmapped(extent).await.unwrap_or(false) {
        return Ok(Digest::ZEROES);
    }
    let (mut hasher, mut is_zero) = (blake3::Hasher::new(), true);
    let at_once = CHUNK_BYTES >> device.block_length().shift();
    let mut lba = extent.lba().0;
    while lba < extent.end().0 {
        let blocks = at_once.min(extent.end().0 - lba);
        let chunk = Extent::new(Lba(lba), BlockCount(blocks), device.capacity()).map_err(|_| BlockError::OutOfRange)?;
        let length = chunk.byte_length(device.block_length()) as usize;
        let bytes = device.read(chunk, BytesMut::with_capacity(length)).await?;
        is_zero = is_zero && all_zero(&bytes);
        hasher.update(&bytes);
        lba += blocks;
    }
    Ok(if is_zero { Digest::ZEROES } else { Digest(hasher.finalize().into()) })
}

/// In memory at a time, of each digest under way.
const CHUNK_BYTES: u64 = 256 << 10;
/// Digests under way at a time: so many chunks are in memory at most, whatever a peer asks for.
pub(super) const DIGESTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::tests::device::{BLOCK, TestDevice};
    use super::*;
    use crate::block::{Durability, Payload};

    fn data(byte: u8, blocks: usize) -> Payload {
        Payload::from(bytes::Bytes::from(vec![byte; blocks * BLOCK]))
    }

    #[tokio::test]
    async fn blocks_are_what_they_hold_however_they_came_to_hold_it() {
        let (a, b) = (TestDevice::new(2048, true), TestDevice::new(2048, false));
        let all = a.extent(0, 2048);
        assert_eq!((digest(&*a, all).await, digest(&*b, all).await), (Ok(Digest::ZEROES), Ok(Digest::ZEROES)));
        for device in [&a, &b] {
            device.write(all, data(7, 2048), Durability::Cached).await.unwrap();
        }
        let same = digest(&*a, all).await.unwrap();
        assert_eq!(digest(&*b, all).await, Ok(same), "more than one chunk");
        for lba in [0, 511, 512, 2047] {
            let one = b.extent(lba, 1);
            b.write(one, data(8, 1), Durability::Cached).await.unwrap();
            assert_ne!(digest(&*b, all).await, Ok(same), "block {lba}");
            b.write(one, data(7, 1), Durability::Cached).await.unwrap();
        }
        let whole = blake3::hash(&vec![7; 2048 * BLOCK]);
        assert_eq!(same, Digest(whole.into()), "chunks are no part of it");
    }
}
