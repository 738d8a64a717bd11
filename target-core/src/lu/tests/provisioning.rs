use super::*;

fn unmap(entries: &[(u64, u32)]) -> (Vec<u8>, Vec<u8>) {
    let length = (entries.len() * 16) as u16;
    let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
    for (lba, blocks) in entries {
        list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
    }
    let [high, low] = (list.len() as u16).to_be_bytes();
    (vec![0x42, 0, 0, 0, 0, 0, 0, high, low, 0], list)
}

fn lba_status(lba: u64) -> [u8; 16] {
    cdb16(0x9E, 0x12, lba, 40)
}

#[tokio::test]
async fn unmapped_blocks_are_zero_and_told_so() {
    let session = Fixture::new().session("a");
    session.send(&cdb10(0x2A, 0, 0, 256), &[1; 256 * BLOCK]).await;
    let (cdb, list) = unmap(&[(8, 128), (8192, 0)]);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 8, 128)).await, Answer::Good(vec![0; 128 * BLOCK]));
    let Answer::Good(data) = session.run(&lba_status(0)).await else { panic!("told") };
    assert_eq!(data[..8], [0, 0, 0, (data.len() - 4) as u8, 0, 0, 0, 0]);
    assert_eq!((data[8..16].to_vec(), data[20]), (vec![0; 8], 0), "LBA 0 is mapped");
    assert_eq!(session.run(&lba_status(8192)).await, Answer::Check(5, 0x21, 0));
    let (cdb, list) = unmap(&[(8191, 2)]);
    assert_eq!(session.send(&cdb, &list).await, Answer::Check(5, 0x21, 0));
    assert_eq!(session.send(&cdb, &list[..9]).await, Answer::Check(5, 0x1A, 0), "the initiator sent less");
}

#[tokio::test]
async fn write_same_repeats_zeroes_and_unmaps() {
    let session = Fixture::new().session("a");
    assert_eq!(session.send(&cdb10(0x41, 0, 4, 3), &[7; BLOCK]).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 4, 3)).await, Answer::Good(vec![7; 3 * BLOCK]));
    assert_eq!(session.run(&cdb16(0x93, 0x01, 5, 1)).await, GOOD, "NDOB");
    assert_eq!(session.run(&cdb10(0x28, 0, 5, 1)).await, Answer::Good(vec![0; BLOCK]));
    assert_eq!(session.send(&cdb16(0x93, 0x08, 4, 8), &[]).await, GOOD, "UNMAP and no Data-Out");
    assert_eq!(session.run(&cdb10(0x28, 0, 4, 8)).await, Answer::Good(vec![0; 8 * BLOCK]));
    session.send(&cdb10(0x2A, 0, 4, 8), &[1; 8 * BLOCK]).await;
    assert_eq!(session.send(&cdb10(0x41, 0x08, 4, 8), &[0xFF; BLOCK]).await, GOOD, "UNMAP whatever the block is");
    assert_eq!(session.run(&cdb10(0x28, 0, 4, 8)).await, Answer::Good(vec![0; 8 * BLOCK]));
    assert_eq!(session.send(&cdb10(0x41, 0, 8190, 0), &[9; BLOCK]).await, GOOD, "0 blocks are all to the end");
    assert_eq!(session.run(&cdb10(0x28, 0, 8190, 2)).await, Answer::Good(vec![9; 2 * BLOCK]));
}

#[tokio::test]
async fn write_same_refusals() {
    let session = Fixture::new().session("a");
    let mismatch = Answer::Check(5, 0x0E, 3);
    assert_eq!(session.send(&cdb10(0x41, 0x08, 0, 1), &[0; BLOCK / 2]).await, mismatch);
    assert_eq!(session.send(&cdb10(0x41, 0x08, 0, 1), &[0; 2 * BLOCK]).await, mismatch);
    assert_eq!(session.send(&cdb10(0x41, 0, 0, 1), &[]).await, mismatch);
    assert_eq!(session.send(&cdb10(0x41, 0x18, 0, 1), &[0; BLOCK]).await, Answer::Check(5, 0x24, 0), "ANCHOR");
    assert_eq!(session.send(&cdb10(0x41, 0, 8192, 0), &[0; BLOCK]).await, Answer::Check(5, 0x21, 0));
}

#[tokio::test]
async fn a_thick_unit_does_not_unmap() {
    let fixture = Fixture::with(LuOptions { thin: false, ..options() }, memory(), StateStore::memory());
    let session = fixture.session("a");
    let (cdb, list) = unmap(&[(0, 1)]);
    assert_eq!(session.send(&cdb, &list).await, Answer::Check(5, 0x20, 0));
    assert_eq!(session.send(&cdb10(0x41, 0x08, 0, 1), &[0; BLOCK]).await, Answer::Check(5, 0x24, 0));
}
