use super::*;
use crate::lu::persist::StateStore;

fn register(key: u64, action_key: u64, aptpl: bool) -> (Vec<u8>, Vec<u8>) {
    pr_out(0x00, 0, key, action_key, aptpl)
}

fn pr_out(action: u8, kind: u8, key: u64, action_key: u64, aptpl: bool) -> (Vec<u8>, Vec<u8>) {
    let mut list = [key.to_be_bytes(), action_key.to_be_bytes(), [0; 8]].concat();
    list[20] = u8::from(aptpl);
    (vec![0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0], list)
}

#[tokio::test]
async fn reserve_keeps_others_out_until_released_or_lost() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(session.run(&RESERVE).await, GOOD);
    assert_eq!(other.run(&RESERVE).await, CONFLICT);
    assert_eq!(other.run(&cdb10(0x28, 0, 0, 1)).await, CONFLICT);
    assert_eq!(other.run(&TEST_UNIT_READY).await, CONFLICT);
    assert_eq!(session.run(&RELEASE).await, GOOD);
    assert_eq!(other.run(&RESERVE).await, GOOD);
    drop(other);
    assert_eq!(session.run(&RESERVE).await, GOOD);
}

#[tokio::test]
async fn write_exclusive_lets_others_read() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    let (cdb, list) = register(0, 1, false);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    let (cdb, list) = pr_out(0x01, 1, 1, 0, false);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    assert!(matches!(other.run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(_)));
    assert_eq!(other.send(&cdb10(0x2A, 0, 0, 1), &[0; BLOCK]).await, CONFLICT);
    assert_eq!(other.run(&cdb10(0x35, 0, 0, 0)).await, CONFLICT);
    assert_eq!(session.send(&cdb10(0x2A, 0, 0, 1), &[0; BLOCK]).await, GOOD);
    let Answer::Good(keys) = other.run(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 255, 0]).await else { panic!("GOOD") };
    assert_eq!(keys[8..], 1u64.to_be_bytes());
}

#[tokio::test]
async fn preempt_and_abort_aborts_and_tells() {
    let fixture = Fixture::new();
    let (session, mut other) = (fixture.session("a"), fixture.session("b"));
    for (session, key) in [(&session, 1), (&other, 2)] {
        let (cdb, list) = register(0, key, false);
        assert_eq!(session.send(&cdb, &list).await, GOOD);
    }
    let orders = std::mem::replace(&mut other.orders, mpsc::channel(1).1);
    let obeying = tokio::spawn(obey(orders));
    let (cdb, list) = pr_out(0x05, 1, 1, 2, false);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 5));
    drop(other);
    assert_eq!(obeying.await.expect("no panic"), 1);
}

#[tokio::test(start_paused = true)]
async fn preempt_and_abort_of_one_who_is_about_to_do_the_same_ends() {
    let fixture = Fixture::new();
    let (session, mut other) = (fixture.session("a"), fixture.session("b"));
    for (session, key) in [(&session, 1), (&other, 2)] {
        let (cdb, list) = register(0, key, false);
        assert_eq!(session.send(&cdb, &list).await, GOOD);
    }
    let mut orders = std::mem::replace(&mut other.orders, mpsc::channel(1).1);
    let ((cdb, list), (other_cdb, other_list)) = (pr_out(0x05, 1, 1, 2, false), pr_out(0x05, 1, 2, 1, false));
    let Admission::Ready(prepared) = other.prepared(&other_cdb, 24) else { panic!("it may run") };
    // As a session does: the answer to the order waits for what still runs.
    let others = async {
        let conflict = prepared.execute(Bytes::from(other_list).into(), BytesMut::new()).await.into();
        let Some(Order { order: NexusOrder::AbortTasks { done }, .. }) = orders.recv().await else {
            panic!("an order")
        };
        done.send(()).ok();
        conflict
    };
    let both = async { tokio::join!(session.send(&cdb, &list), others) };
    let ended =
        tokio::time::timeout(std::time::Duration::from_secs(5), both).await.expect("neither waits for the other");
    assert_eq!(ended, (GOOD, CONFLICT));
}

#[tokio::test]
async fn activated_persistence_outlives_the_unit() {
    let store = StateStore::memory();
    let fixture = Fixture::with(options(), memory(), store.clone());
    let session = fixture.session("a");
    let (cdb, list) = register(0, 7, true);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    let (cdb, list) = pr_out(0x01, 3, 7, 0, false);
    assert_eq!(session.send(&cdb, &list).await, GOOD);
    drop((session, fixture));
    let fixture = Fixture::with(options(), memory(), store);
    assert_eq!(fixture.session("b").run(&cdb10(0x28, 0, 0, 1)).await, CONFLICT);
    assert!(matches!(fixture.session("a").run(&cdb10(0x28, 0, 0, 1)).await, Answer::Good(_)));
}

#[tokio::test(start_paused = true)]
async fn two_that_preempt_each_other_can_be_let_go_and_have_done_it() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    for (session, key) in [(&session, 1), (&other, 2)] {
        let (cdb, list) = register(0, key, false);
        assert_eq!(session.send(&cdb, &list).await, GOOD);
    }
    let begin = |session: &Session, key, action_key| {
        let (cdb, list) = pr_out(0x05, 1, key, action_key, false);
        let Admission::Ready(prepared) = session.prepared(&cdb, 24) else { panic!("it may run") };
        assert!(prepared.is_watch());
        prepared.execute(Bytes::from(list).into(), BytesMut::new())
    };
    let wait = std::time::Duration::from_secs(1);
    let mut first = begin(&session, 1, 2);
    assert!(tokio::time::timeout(wait, &mut first).await.is_err(), "nobody obeys the order: it waits");
    // What was preempted registers again, past the unit attention that tells of it, and strikes back.
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 5));
    let (cdb, list) = register(0, 2, false);
    assert_eq!(other.send(&cdb, &list).await, GOOD);
    let mut second = begin(&other, 2, 1);
    assert!(tokio::time::timeout(wait, &mut second).await.is_err(), "so does this");
    drop((first, second));
    let Answer::Good(keys) = other.run(&[0x5E, 0, 0, 0, 0, 0, 0, 0, 255, 0]).await else { panic!("GOOD") };
    assert_eq!(keys[8..], 2u64.to_be_bytes());
}
