use super::*;
use crate::block::faulty::{Fault, FaultyDevice, Operation};
use crate::block::{BlockError, Eventually};

#[tokio::test]
async fn what_is_written_is_read_without_waiting() {
    let fixture = Fixture::new();
    let session = fixture.session("a");
    let data = vec![0xA6; 2 * BLOCK];
    assert_eq!(session.send(&cdb10(0x2A, 0, 5, 2), &data).await, GOOD);
    assert_eq!(session.run(&cdb16(0x88, 0, 5, 2)).await, Answer::Good(data));
    let Admission::Ready(read) = session.prepared(&cdb10(0x28, 0, 0, 1), 0) else { panic!("nothing forbids it") };
    assert_eq!((read.data_in_length(), read.data_out_length()), (512, 0));
    assert!(matches!(read.execute(Payload::default(), BytesMut::with_capacity(512)), Eventually::Now(_)));
    assert_eq!((fixture.unit.statistics().reads.get(), fixture.unit.statistics().written.get()), (2, 1024));
}

#[tokio::test]
async fn addresses_and_lengths_are_checked() {
    let session = Fixture::new().session("a");
    let out_of_range = Answer::Check(5, 0x21, 0);
    assert_eq!(session.run(&cdb10(0x28, 0, 8191, 2)).await, out_of_range);
    assert_eq!(session.run(&cdb10(0x28, 0, 8193, 0)).await, out_of_range);
    assert_eq!(session.run(&cdb16(0x88, 0, u64::MAX, 1)).await, out_of_range);
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 0)).await, GOOD);
    assert_eq!(session.run(&cdb10(0x2A, 0x20, 0, 1)).await, Answer::Check(5, 0x24, 0), "WRPROTECT");
    assert_eq!(session.run(&[0xC1; 6]).await, Answer::Check(5, 0x20, 0));
}

#[tokio::test]
async fn short_data_is_written_in_whole_blocks_or_not_at_all() {
    let session = Fixture::new().session("a");
    let two = cdb10(0x2A, 0, 0, 2);
    assert_eq!(session.send(&two, &[b'a'; 2 * BLOCK]).await, GOOD);
    assert_eq!(session.send(&two, &[b'b'; BLOCK]).await, GOOD);
    assert_eq!(session.send(&two, &[b'c'; 200]).await, Answer::Check(5, 0x0E, 3));
    assert_eq!(session.send(&two, &[]).await, GOOD);
    let expected = [[b'b'; BLOCK], [b'a'; BLOCK]].concat();
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 2)).await, Answer::Good(expected));
}

#[tokio::test]
async fn more_data_than_the_command_takes_is_not_written() {
    let session = Fixture::new().session("a");
    assert_eq!(session.send(&cdb10(0x2A, 0, 0, 1), &[b'b'; 2 * BLOCK]).await, GOOD);
    let expected = [[b'b'; BLOCK], [0; BLOCK]].concat();
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 2)).await, Answer::Good(expected));
}

#[tokio::test]
async fn verify_compares_and_tells_where() {
    let session = Fixture::new().session("a");
    let mut data = vec![7; 3 * BLOCK];
    session.send(&cdb10(0x2A, 0, 10, 3), &data).await;
    assert_eq!(session.send(&cdb10(0x2F, 0x02, 10, 3), &data).await, GOOD);
    assert_eq!(session.send(&cdb10(0x2F, 0x06, 10, 3), &data[..BLOCK]).await, GOOD, "each with the one block");
    assert_eq!(session.run(&cdb10(0x2F, 0x00, 10, 3)).await, GOOD, "medium only");
    data[1000] = 8;
    let sense = session.complete(&cdb10(0x2F, 0x02, 10, 3), &data).await.sense.expect("a miscompare");
    assert_eq!((sense.key as u8, sense.asc.code, sense.information), (0xE, 0x1D, Some(1000)));
    let sense = session.complete(&cdb10(0x2F, 0x06, 9, 3), &data[..BLOCK]).await.sense.expect("a miscompare");
    assert_eq!(sense.information, Some(0));
}

#[tokio::test]
async fn write_and_verify_writes() {
    let session = Fixture::new().session("a");
    assert_eq!(session.send(&cdb10(0x2E, 0x02, 1, 1), &[9; BLOCK]).await, GOOD);
    assert_eq!(session.run(&cdb10(0x28, 0, 1, 1)).await, Answer::Good(vec![9; BLOCK]));
}

#[tokio::test]
async fn cache_commands() {
    let session = Fixture::new().session("a");
    for immediate in [0, 2] {
        assert_eq!(session.run(&cdb10(0x35, immediate, 0, 0)).await, GOOD);
        assert_eq!(session.run(&cdb10(0x34, immediate, 0, 8)).await, GOOD);
    }
    assert_eq!(session.run(&cdb10(0x35, 0, 8190, 8)).await, Answer::Check(5, 0x21, 0));
    assert_eq!(session.run(&cdb10(0x34, 0, 8193, 0)).await, Answer::Check(5, 0x21, 0));
}

#[tokio::test]
async fn a_devices_failure_is_sense() {
    let device = Arc::new(FaultyDevice::new(memory()));
    let fixture = Fixture::with(options(), device.clone(), StateStore::memory());
    let session = fixture.session("a");
    device.inject(Fault::always(&[Operation::Read], BlockError::Medium));
    device.inject(Fault::always(&[Operation::Write], BlockError::NoSpace));
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Check(3, 0x11, 0));
    assert_eq!(session.send(&cdb10(0x2A, 0, 0, 1), &[0; BLOCK]).await, Answer::Check(7, 0x27, 7));
}

#[tokio::test]
async fn a_read_only_unit_is_protected() {
    let fixture = Fixture::with(LuOptions { read_only: true, ..options() }, memory(), StateStore::memory());
    let session = fixture.session("a");
    let protected = Answer::Check(7, 0x27, 0);
    assert_eq!(session.send(&cdb10(0x2A, 0, 0, 1), &[0; BLOCK]).await, protected);
    assert_eq!(session.send(&cdb10(0x41, 8, 0, 1), &[0; BLOCK]).await, protected);
    assert_eq!(session.send(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 0, 0], &[]).await, protected);
    assert!(matches!(session.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(_)));
}

#[tokio::test]
async fn capacities() {
    let session = Fixture::new().session("a");
    assert_eq!(session.run(&cdb10(0x25, 0, 0, 0)).await, Answer::Good(vec![0, 0, 0x1F, 0xFF, 0, 0, 2, 0]));
    let mut cdb = cdb16(0x9E, 0x10, 0, 0);
    cdb[13] = 16;
    let expected = vec![0, 0, 0, 0, 0, 0, 0x1F, 0xFF, 0, 0, 2, 0, 0, 3, 0xC0, 0];
    assert_eq!(session.run(&cdb).await, Answer::Good(expected));
}
