//! What an operator does to a daemon that serves: a changed file while initiators are logged in, the end while they write.

use std::net::TcpStream;
use std::time::Duration;

use iscsi_proto::initiator::{Chap, Event, Options};
use iscsi_proto::pdu::{AsyncEvent, ScsiStatus};
use scenarios::daemon::{Daemon, wait_until};
use scenarios::initiator::{Error, Session};

const INITIATOR: &str = "iqn.1993-08.org.debian:01:operation";
const TARGET: &str = "iqn.2026-11.net.example:store";
const PATIENCE: Duration = Duration::from_secs(10);
const IN_FORCE: &str = "the changed configuration is in force";

const CONFIG: &str = "\
node: alpha
state_dir: DIR/state
limits: { shutdown_grace: 200ms }
portals: { 1: [127.0.0.1:PORT] }
volumes:
  a: { memory: {}, size: 1MiB }
  b: { memory: {}, size: 1MiB }
targets:
  iqn.2026-11.net.example:store: { initiators: [\"*\"], luns: { 0: a, 1: b } }
";

fn log_in(daemon: &Daemon) -> Session {
    Session::login(daemon.address(), Options::normal(INITIATOR, TARGET)).expect("admitted")
}

fn reloads(daemon: &Daemon, text: &str) -> usize {
    daemon.log().matches(text).count()
}

/// Reloads and waits for what the log says then.
fn reload(daemon: &Daemon, yaml: &str, outcome: &str) {
    let before = reloads(daemon, outcome);
    daemon.reload(yaml);
    wait_until(outcome, PATIENCE, || reloads(daemon, outcome) > before);
}

#[test]
fn a_portal_changes_its_group_and_becomes_a_wildcard_while_served() {
    let daemon = Daemon::start(CONFIG);
    reload(&daemon, &CONFIG.replace("{ 1: [", "{ 7: ["), IN_FORCE);
    let session = log_in(&daemon);
    assert_eq!(session.parameters().target_portal_group_tag, Some(7));
    reload(&daemon, &CONFIG.replace("127.0.0.1:PORT", "0.0.0.0:PORT"), IN_FORCE);
    assert_eq!(log_in(&daemon).parameters().target_portal_group_tag, Some(1));
}

#[test]
fn portals_come_back_where_the_changed_file_is_refused() {
    let daemon = Daemon::start(CONFIG);
    let missing = CONFIG.replace("a: { memory: {}, size: 1MiB", "a: { memory: {}, size: 512KiB");
    reload(&daemon, &missing.replace("{ 1: [", "{ 7: ["), "the old one stays");
    assert_eq!(log_in(&daemon).parameters().target_portal_group_tag, Some(1));
}

#[test]
fn a_chap_user_that_is_taken_away_is_logged_out() {
    let yaml = CONFIG.replace(
        "initiators: [\"*\"]",
        "auth: { chap: [{ user: u, secret: abcdefghijkl }, { user: v, secret: abcdefghijkm }] }",
    );
    let daemon = Daemon::start(&yaml);
    let options = |user: &str, secret: &str| Options::normal(INITIATOR, TARGET).with_chap(Chap::new(user, secret));
    let mut leaves = Session::login(daemon.address(), options("u", "abcdefghijkl")).expect("admitted");
    let mut other = options("v", "abcdefghijkm");
    other.initiator_name.push('2');
    let mut stays = Session::login(daemon.address(), other).expect("admitted");
    reload(&daemon, &yaml.replace("{ user: u, secret: abcdefghijkl }, ", ""), IN_FORCE);
    daemon.wait_for_log("there is no longer a user u in auth.chap", PATIENCE);
    assert!(leaves.nop("x").is_err(), "its session has ended");
    stays.nop("x").expect("its session goes on");
}

#[test]
fn a_write_to_a_lun_that_is_taken_away_is_answered() {
    let daemon = Daemon::start(CONFIG);
    let mut options = Options::normal(INITIATOR, TARGET).with("InitialR2T", "Yes").with("ImmediateData", "No");
    options.answer_r2t = false;
    let mut session = Session::login(daemon.address(), options).expect("admitted");
    session.command(1, &[0; 6], "", 0).expect("the unit attention");
    let write = iscsi_proto::initiator::Command::with_data(
        iscsi_proto::types::Lun::from_u16(1).expect("a LUN"),
        iscsi_proto::pdu::Cdb::new(&[0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]).expect("a CDB"),
        vec![0; 512].into(),
        0,
    );
    let tag = session.submit(write).expect("sent");
    let asked = session.wait(|event| if let Event::R2t(r2t) = event { Ok(r2t) } else { Err(event) }).expect("R2T");
    reload(&daemon, &CONFIG.replace(", 1: b", ""), IN_FORCE);
    // The answer comes when the data that was asked for has come (RFC 7143 §11.4.7.2), or at once.
    session.raw_send(data_out(&asked)).expect("sent");
    let outcome = session.complete(tag).expect("an answer");
    assert_eq!(outcome.status, ScsiStatus::CHECK_CONDITION);
    assert_eq!((outcome.sense[2] & 0xF, outcome.sense[12]), (5, 0x25), "LOGICAL UNIT NOT SUPPORTED");
}

fn data_out(asked: &iscsi_proto::pdu::R2t) -> iscsi_proto::pdu::DataOut {
    iscsi_proto::pdu::DataOut {
        final_: true,
        lun: asked.lun,
        initiator_task_tag: asked.initiator_task_tag,
        target_transfer_tag: asked.target_transfer_tag,
        data_sn: iscsi_proto::types::DataSn(0),
        buffer_offset: 0,
        data: vec![0; 512].into(),
        exp_stat_sn: iscsi_proto::types::ExpStatSn(0),
    }
}

#[test]
fn at_the_end_initiators_are_asked_to_log_out_and_the_port_is_free() {
    let mut daemon = Daemon::start(CONFIG);
    let (address, mut session) = (daemon.address(), log_in(&daemon));
    daemon.signal("TERM");
    let asked = session.wait(|event| if let Event::Async(message) = event { Ok(message) } else { Err(event) });
    assert_eq!(asked.expect("a message").event, AsyncEvent::LOGOUT_REQUEST);
    let dropped = session.wait(|event| if let Event::Async(message) = event { Ok(message) } else { Err(event) });
    assert_eq!(dropped.expect("a message").event, AsyncEvent::SESSION_DROP_NOTIFICATION);
    assert!(matches!(session.event(), Err(Error::Closed)));
    wait_until("it has ended", PATIENCE, || !daemon.is_alive());
    assert!(TcpStream::connect(address).is_err());
}
