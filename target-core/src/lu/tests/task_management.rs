use super::*;

#[tokio::test]
async fn a_reset_clears_aborts_and_tells_everyone() {
    let fixture = Fixture::new();
    let (session, mut other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(session.run(&RESERVE).await, GOOD);
    assert_eq!(session.run(&[0x1E, 0, 0, 0, 1, 0]).await, GOOD);
    let mut reset = tokio::spawn(session.itl.reset(Reset::LogicalUnit));
    let Order { lun: 0, order: NexusOrder::AbortTasks { done } } = other.orders.recv().await.expect("an order") else {
        panic!("of its own LUN")
    };
    tokio::task::yield_now().await;
    assert!(!reset.is_finished(), "waits until the others' tasks are gone");
    done.send(()).expect("someone waits");
    (&mut reset).await.expect("no panic");
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x29, 3));
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x29, 3));
    assert_eq!(other.run(&EJECT).await, GOOD, "reservation and prevention are gone");
}

#[tokio::test]
async fn a_target_reset_has_its_own_attention() {
    let session = Fixture::new().session("a");
    session.itl.reset(Reset::Target).await;
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x29, 2));
}

#[tokio::test]
async fn a_session_that_is_gone_holds_up_nobody() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    let Session { itl: _kept, orders, .. } = other;
    drop(orders);
    session.itl.reset(Reset::LogicalUnit).await;
}

#[tokio::test]
async fn a_nexus_reset_is_a_loss_of_that_nexus() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(session.run(&RESERVE).await, GOOD);
    session.itl.nexus_reset();
    assert_eq!(other.run(&RESERVE).await, GOOD);
    assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x29, 7));
    assert_eq!(other.run(&TEST_UNIT_READY).await, GOOD);
}
