use super::*;

#[tokio::test]
async fn inquiry_says_who_it_is() {
    let session = Fixture::new().session("a");
    let Answer::Good(data) = session.run(&[0x12, 0, 0, 0, 96, 0]).await else { panic!("GOOD") };
    assert_eq!((data[0], data[1], data[2], &data[8..16]), (0, 0x80, 6, &b"LUNMIRR "[..]));
    let Answer::Good(serial) = session.run(&[0x12, 1, 0x80, 0, 255, 0]).await else { panic!("GOOD") };
    assert_eq!(&serial[4..], b"00000000000000000000000000000001");
    for page in [0x00, 0x83, 0x86, 0x88, 0x8F, 0xB0, 0xB1, 0xB2] {
        assert!(matches!(session.run(&[0x12, 1, page, 0, 255, 0]).await, Answer::Good(_)), "{page:02x}h");
    }
    assert_eq!(session.run(&[0x12, 1, 0xEE, 0, 255, 0]).await, Answer::Check(5, 0x24, 0));
}

#[tokio::test]
async fn buffers_give_back_what_was_written() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(session.send(&[0x3B, 0x02, 0, 0, 0, 4, 0, 0, 3, 0], b"abc").await, GOOD);
    assert_eq!(other.run(&[0x3C, 0x02, 0, 0, 0, 3, 0, 0, 5, 0]).await, Answer::Good(b"\0abc\0".to_vec()));
    assert_eq!(session.send(&[0x3B, 0x0A, 0, 0, 0, 0, 0, 0, 4, 0], b"echo").await, GOOD);
    assert_eq!(session.run(&[0x3C, 0x0A, 0, 0, 0, 0, 0, 0, 9, 0]).await, Answer::Good(b"echo".to_vec()));
    assert_eq!(other.run(&[0x3C, 0x0A, 0, 0, 0, 0, 0, 0, 9, 0]).await, Answer::Check(5, 0x2C, 0));
    assert_eq!(session.run(&[0x3B, 0x02, 0, 0, 0, 0, 2, 0, 0, 0]).await, Answer::Check(5, 0x24, 0), "too large");
}

#[tokio::test]
async fn identifying_information_is_kept() {
    let store = StateStore::memory();
    let fixture = Fixture::with(options(), memory(), store.clone());
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(session.send(&[0xA4, 0x06, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], b"rack").await, GOOD);
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x3F, 5));
    drop((session, other, fixture));
    let session = Fixture::with(options(), memory(), store).session("a");
    let told = session.run(&[0xA3, 0x05, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0]).await;
    assert_eq!(told, Answer::Good(b"\0\0\0\x04rack".to_vec()));
}

#[tokio::test]
async fn a_timestamp_that_was_set_goes_on_from_there() {
    let session = Fixture::new().session("a");
    let list = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    assert_eq!(session.send(&[0xA4, 0x0F, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0], &list).await, GOOD);
    let Answer::Good(told) = session.run(&[0xA3, 0x0F, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0]).await else { panic!("GOOD") };
    assert_eq!((told[2], &told[4..8]), (2, &[0, 0, 0, 1][..]));
}

#[tokio::test]
async fn statistics_are_logged() {
    let session = Fixture::new().session("a");
    session.run(&cdb10(0x28, 0, 0, 1)).await;
    let Answer::Good(log) = session.run(&[0x4D, 0, 0x59, 0, 0, 0, 0, 0, 255, 0]).await else { panic!("GOOD") };
    assert_eq!((log[0] & 0x3F, &log[8..16]), (0x19, &1u64.to_be_bytes()[..]));
}
