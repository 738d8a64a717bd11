//! Data that no R2T asked for: the command or the connection ends, and not a byte goes where it should not.

use std::time::Duration;

use bytes::Bytes;
use iscsi_proto::initiator::{Command, Event};
use iscsi_proto::pdu::{Cdb, DataOut, R2t, ScsiStatus};
use iscsi_proto::types::{DataSn, InitiatorTaskTag, Lun, TargetTransferTag};
use scenarios::bystander::{BLOCK, Bystander, config, options, read10, settle, write10};
use scenarios::daemon::Daemon;
use scenarios::initiator::{Error, Session};
use scenarios::note;

const MIB: u64 = 1024 * 1024;
/// The write that is abused: 256 blocks from 1000.
const LBA: u32 = 1000;
const BLOCKS: u16 = 256;
const LENGTH: u32 = BLOCKS as u32 * BLOCK as u32;

/// A session that has one write waiting for data, and the first R2T for it. Bursts are 64 KiB, half of the write.
fn waiting(daemon: &Daemon) -> (Session, InitiatorTaskTag, R2t) {
    let mut options = options(1)
        .with("InitialR2T", "Yes")
        .with("ImmediateData", "No")
        .with("MaxBurstLength", "65536")
        .with("FirstBurstLength", "65536");
    options.answer_r2t = false;
    let mut session = Session::login(daemon.address(), options).expect("logged in");
    settle(&mut session);
    let (tag, r2t) = begin_write(&mut session, LBA);
    (session, tag, r2t)
}

fn begin_write(session: &mut Session, lba: u32) -> (InitiatorTaskTag, R2t) {
    let mut command =
        Command::new(Lun::from_u16(0).expect("single level"), Cdb::new(&write10(lba, BLOCKS)).expect("short"));
    command.data_out = Some(Bytes::from(vec![0xee; LENGTH as usize]));
    let tag = session.submit(command).expect("sent");
    let r2t = session
        .wait(|event| match event {
            Event::R2t(r2t) if r2t.initiator_task_tag == tag => Ok(r2t),
            other => Err(other),
        })
        .expect("an R2T for it");
    assert_eq!((r2t.buffer_offset, r2t.desired_data_transfer_length), (0, 65536));
    (tag, r2t)
}

fn data_out(session: &mut Session, r2t: &R2t) -> DataOut {
    DataOut {
        final_: true,
        lun: r2t.lun,
        initiator_task_tag: r2t.initiator_task_tag,
        target_transfer_tag: r2t.target_transfer_tag,
        exp_stat_sn: session.initiator().exp_stat_sn(),
        data_sn: DataSn(0),
        buffer_offset: r2t.buffer_offset,
        data: Bytes::from(vec![0xee; 65536]),
    }
}

/// How the target took it.
#[derive(Debug, PartialEq)]
enum Taken {
    Closed,
    Rejected,
    CheckCondition,
}

fn taken(session: &mut Session, tag: InitiatorTaskTag) -> Taken {
    session.connection().set_patience(Duration::from_secs(5)).expect("a socket option");
    loop {
        match session.event() {
            Ok(Event::Complete { tag: done, outcome }) if done == tag => {
                assert_ne!(outcome.status, ScsiStatus::GOOD, "it was carried out as if nothing were wrong");
                return Taken::CheckCondition;
            }
            Ok(Event::Reject(_)) | Err(Error::Rejected(_)) => return Taken::Rejected,
            Err(Error::Closed) => return Taken::Closed,
            // More R2Ts, an Async Message before the connection closes.
            Ok(_) => (),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Breaks a rule with the first Data-Out of a write; the blocks around it must be as they were.
fn abuse(name: &str, wrong: impl Fn(&mut DataOut)) {
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    let (mut session, tag, r2t) = waiting(&daemon);
    let mut data = data_out(&mut session, &r2t);
    wrong(&mut data);
    session.raw_send(data).expect("sent");
    let how = taken(&mut session, tag);
    drop(session);
    let mut other = Session::login(daemon.address(), options(2)).expect("another logs in");
    settle(&mut other);
    for (lba, blocks) in [(LBA - 256, 256u16), (LBA + u32::from(BLOCKS), 256)] {
        let read =
            other.command(0, &read10(lba, blocks), Vec::new(), u32::from(blocks) * BLOCK as u32).expect("answered");
        assert_eq!(read.status, ScsiStatus::GOOD);
        assert!(read.data.iter().all(|&byte| byte == 0), "{name}: blocks outside the write have changed");
    }
    note!("{name}: {how:?}; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn more_data_than_the_burst() {
    abuse("beyond the burst", |data| data.data = Bytes::from(vec![0xee; 65536 + 4096]));
}

#[test]
fn an_unknown_target_transfer_tag() {
    abuse("unknown TTT", |data| data.target_transfer_tag = TargetTransferTag(data.target_transfer_tag.0 ^ 0x5555));
}

#[test]
fn unsolicited_data_where_none_is_allowed() {
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    let (mut session, tag, r2t) = waiting(&daemon);
    let data = data_out(&mut session, &r2t);
    session.raw_send(DataOut { target_transfer_tag: TargetTransferTag::RESERVED, ..data.clone() }).expect("sent");
    // The answer waits for the burst that was asked for: its data may be under way.
    session.raw_send(data).expect("sent");
    let how = taken(&mut session, tag);
    note!("unsolicited: {how:?}; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn an_offset_before_or_after_the_burst() {
    abuse("offset of the next burst", |data| data.buffer_offset = 65536);
    abuse("offset beyond the command", |data| data.buffer_offset = LENGTH);
    abuse("offset that wraps", |data| data.buffer_offset = u32::MAX - 511);
}

#[test]
fn a_data_sn_out_of_order() {
    abuse("DataSN 7 first", |data| data.data_sn = DataSn(7));
}

#[test]
fn a_burst_that_ends_early() {
    abuse("F too early", |data| data.data = Bytes::from(vec![0xee; 4096]));
}

#[test]
fn data_after_the_end_of_its_command() {
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    let (mut session, tag, first) = waiting(&daemon);
    let data = data_out(&mut session, &first);
    session.raw_send(data).expect("sent");
    let second = session
        .wait(|event| match event {
            Event::R2t(r2t) => Ok(r2t),
            other => Err(other),
        })
        .expect("the second R2T");
    let data = data_out(&mut session, &second);
    session.raw_send(data.clone()).expect("sent");
    assert_eq!(session.complete(tag).expect("answered").status, ScsiStatus::GOOD);
    // The same once more: its tag belongs to nobody now. RFC 7143 allows dropping it, rejecting it, or closing.
    session.raw_send(data).expect("sent");
    session.connection().set_patience(Duration::from_secs(2)).expect("a socket option");
    let _ = session.nop("are you there?");
    let mut other = Session::login(daemon.address(), options(2)).expect("another logs in");
    settle(&mut other);
    bystander.finish();
    daemon.assert_well();
}

#[test]
fn r2ts_that_are_never_answered_hold_little() {
    const SESSIONS: usize = 8;
    let mut daemon = Daemon::start(&config("", "queue_depth: 128"));
    let bystander = Bystander::start(daemon.address());
    let memory = daemon.rss();
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        let mut options = options(n).with("MaxBurstLength", "1048576").with("MaxOutstandingR2T", "8");
        options.answer_r2t = false;
        let mut session = Session::login(daemon.address(), options).expect("logged in");
        settle(&mut session);
        for task in 0..120u32 {
            let mut command = Command::new(
                Lun::from_u16(0).expect("single level"),
                Cdb::new(&write10(task * 512, 2048)).expect("short"),
            );
            command.data_out = Some(Bytes::from_static(&[0; 512]));
            command.expected_data_transfer_length = Some(1 << 20);
            session.submit(command).expect("sent");
        }
        sessions.push(session);
    }
    bystander.wait_rounds(100);
    let grown = daemon.rss_max().saturating_sub(memory);
    assert!(grown < SESSIONS as u64 * 16 * MIB, "{grown} bytes more");
    note!(
        "R2Ts unanswered: {SESSIONS} × 120 writes of 1 MiB, {grown} bytes more at most; the bystander: {:?}",
        bystander.finish()
    );
    drop(sessions);
    let mut other = Session::login(daemon.address(), options(99)).expect("another logs in");
    settle(&mut other);
    daemon.assert_well();
}
