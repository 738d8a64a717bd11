use super::*;

const PREVENT: [u8; 6] = [0x1E, 0, 0, 0, 1, 0];
const ALLOW: [u8; 6] = [0x1E, 0, 0, 0, 0, 0];
const PREVENTED: Answer = Answer::Check(5, 0x53, 2);
const NO_MEDIUM: Answer = Answer::Check(2, 0x3A, 0);

#[tokio::test]
async fn an_ejected_medium_is_not_present_until_loaded() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(session.run(&EJECT).await, GOOD);
    assert_eq!(session.run(&TEST_UNIT_READY).await, NO_MEDIUM);
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, NO_MEDIUM);
    assert_eq!(session.run(&cdb10(0x25, 0, 0, 0)).await, NO_MEDIUM);
    assert!(matches!(session.run(&[0x12, 0, 0, 0, 96, 0]).await, Answer::Good(_)));
    assert_eq!(session.run(&[0x1B, 0, 0, 0, 0x01, 0]).await, NO_MEDIUM, "START does not load");
    assert_eq!(session.run(&LOAD).await, GOOD);
    assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
    assert_eq!(other.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x28, 0));
    assert_eq!(other.run(&TEST_UNIT_READY).await, GOOD);
}

#[tokio::test]
async fn any_nexus_prevents_removal_and_its_loss_allows_it() {
    let fixture = Fixture::new();
    let (session, other) = (fixture.session("a"), fixture.session("b"));
    assert_eq!(other.run(&PREVENT).await, GOOD);
    assert_eq!(session.run(&EJECT).await, PREVENTED);
    assert_eq!(session.run(&ALLOW).await, GOOD);
    assert_eq!(session.run(&EJECT).await, PREVENTED, "another's prevention stays");
    drop(other);
    assert_eq!(session.run(&EJECT).await, GOOD);
    assert_eq!(session.run(&PREVENT).await, GOOD);
    assert_eq!(session.run(&LOAD).await, PREVENTED);
    assert_eq!(session.run(&ALLOW).await, GOOD);
    assert_eq!(session.run(&LOAD).await, GOOD);
}

#[tokio::test]
async fn stopping_and_power_conditions_change_nothing() {
    let session = Fixture::new().session("a");
    for byte in [0x00, 0x01, 0x04, 0x05, 0x12, 0xF2] {
        assert_eq!(session.run(&[0x1B, 0, 0, 0, byte, 0]).await, GOOD, "{byte:02x}h");
        assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
    }
}

#[tokio::test]
async fn a_fixed_disk_does_not_eject() {
    let fixture = Fixture::with(LuOptions { removable: false, ..options() }, memory(), StateStore::memory());
    assert_eq!(fixture.session("a").run(&EJECT).await, Answer::Check(5, 0x24, 0));
}
