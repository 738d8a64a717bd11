//! Commands outside the CmdSN window, and floods of what the window does not count.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use iscsi_proto::pdu::{Cdb, NopOut, ScsiCommand, ScsiStatus, TaskAttribute};
use iscsi_proto::types::{CmdSn, InitiatorTaskTag, Lun, TargetTransferTag};
use scenarios::bystander::{BLOCK, Bystander, config, options, read10, settle, write10};
use scenarios::daemon::Daemon;
use scenarios::initiator::{Error, Session};
use scenarios::note;

const MIB: u64 = 1024 * 1024;

fn numbered(session: &mut Session, cmd_sn: CmdSn, tag: u32, cdb: &[u8], data: Bytes) -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        final_: true,
        read: false,
        write: !data.is_empty(),
        attribute: TaskAttribute::SIMPLE,
        priority: 0,
        lun: Lun::from_u16(0).expect("single level"),
        initiator_task_tag: InitiatorTaskTag(tag),
        expected_data_transfer_length: u32::try_from(data.len()).expect("short"),
        cmd_sn,
        exp_stat_sn: session.initiator().exp_stat_sn(),
        cdb: Cdb::new(cdb).expect("short"),
        bidirectional_read_expected_data_transfer_length: None,
        data,
    }
}

#[test]
fn commands_outside_the_window_are_ignored() {
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    let mut session = Session::login(daemon.address(), options(1)).expect("logged in");
    settle(&mut session);
    let written = session.command(0, &write10(0, 1), vec![0x11; BLOCK], 0).expect("answered");
    assert_eq!(written.status, ScsiStatus::GOOD);
    let memory = daemon.rss();
    let max = session.initiator().max_cmd_sn();
    let exp = session.initiator().cmd_sn();
    for n in 0..5000u32 {
        // "The target MUST silently ignore any non-immediate command outside of this range" (RFC 7143 §4.2.2.1).
        let outside = if n % 2 == 0 { CmdSn(max.0.wrapping_add(1 + n)) } else { CmdSn(exp.0.wrapping_sub(1 + n)) };
        let command = numbered(&mut session, outside, 0x1000 + n, &write10(0, 1), Bytes::from(vec![0xee; BLOCK]));
        session.raw_send(command).expect("sent");
    }
    let read = session.command(0, &read10(0, 1), Vec::new(), BLOCK as u32).expect("the session lives");
    assert_eq!(read.data, vec![0x11; BLOCK], "none of them was carried out");
    let grown = daemon.rss().saturating_sub(memory);
    assert!(grown < 16 * MIB, "{grown} bytes more");
    note!("outside the window: 5000 ignored, {grown} bytes more; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn a_gap_that_is_never_filled_holds_no_more_than_the_window() {
    let mut daemon = Daemon::start(&config("", "queue_depth: 64"));
    let bystander = Bystander::start(daemon.address());
    let memory = daemon.rss();
    let mut session = Session::login(daemon.address(), options(1)).expect("logged in");
    settle(&mut session);
    let (exp, max) = (session.initiator().cmd_sn(), session.initiator().max_cmd_sn());
    let data = Bytes::from(vec![0xee; 64 * 1024]);
    // Everything but the first: in the window, in order, and not to be carried out.
    let count = max.0.wrapping_sub(exp.0);
    for n in 1..=count {
        let command = numbered(&mut session, CmdSn(exp.0.wrapping_add(n)), 0x1000 + n, &write10(0, 128), data.clone());
        session.raw_send(command).expect("sent");
    }
    bystander.wait_rounds(20);
    let held = daemon.rss().saturating_sub(memory);
    assert!(held < 64 * MIB, "{held} bytes held for {count} commands");
    // The first comes at last, and they are all done.
    let first = numbered(&mut session, exp, 0x1000, &write10(0, 128), data);
    session.raw_send(first).expect("sent");
    for _ in 0..=count {
        session.raw_recv().expect("each is answered");
    }
    note!("a gap: {count} commands of 64 KiB held in {held} bytes; the bystander: {:?}", bystander.finish());
    daemon.assert_well();
}

#[test]
fn whoever_asks_and_never_listens_is_not_asked_to_wait_in_our_memory() {
    let mut daemon = Daemon::start(&config("", "keepalive_interval: 2s, keepalive_timeout: 2s"));
    let bystander = Bystander::start(daemon.address());
    let mut session = Session::login(daemon.address(), options(1)).expect("logged in");
    settle(&mut session);
    let memory = daemon.rss();
    session.connection().stream().set_write_timeout(Some(Duration::from_secs(3))).expect("a socket option");
    let ping = |n: u32, session: &mut Session| NopOut {
        immediate: true,
        lun: Lun::from_u16(0).expect("single level"),
        initiator_task_tag: InitiatorTaskTag(n),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn: session.initiator().cmd_sn(),
        exp_stat_sn: session.initiator().exp_stat_sn(),
        data: Bytes::from(vec![0x55; 4096]),
    };
    // Immediate pings with an echo of 4 KiB each, half a gigabyte in all; none of the echoes is read.
    let mut sent = 0u32;
    let ended = loop {
        let nop = ping(sent, &mut session);
        match session.raw_send(nop) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        if sent == 131_072 {
            break Error::Silent;
        }
    };
    let grown = daemon.rss_max().saturating_sub(memory);
    assert!(grown < 64 * MIB, "{grown} bytes more after {sent} pings");
    bystander.wait_rounds(20);
    note!(
        "echoes unread: {sent} pings until {ended:?}, {grown} bytes more at most; the bystander: {:?}",
        bystander.finish()
    );
    daemon.assert_well();
}

#[test]
fn reads_whose_data_nobody_takes_are_bounded() {
    const READERS: usize = 8;
    let mut daemon = Daemon::start(&config("", ""));
    let bystander = Bystander::start(daemon.address());
    let memory = daemon.rss();
    let mut readers = Vec::new();
    for n in 0..READERS {
        let mut session = Session::login(daemon.address(), options(n)).expect("logged in");
        settle(&mut session);
        // As many reads of 1 MiB as the window holds, and then silence.
        let count = session.initiator().max_cmd_sn().0.wrapping_sub(session.initiator().cmd_sn().0);
        for task in 0..=count.min(127) {
            let mut command = numbered(&mut session, CmdSn(0), 0, &read10(0, 2048), Bytes::new());
            command.read = true;
            command.expected_data_transfer_length = 1 << 20;
            command.cmd_sn = CmdSn(session.initiator().cmd_sn().0.wrapping_add(task));
            command.initiator_task_tag = InitiatorTaskTag(0x2000 + task);
            session.raw_send(command).expect("sent");
        }
        session.connection().stream().flush().expect("sent");
        readers.push(session);
    }
    bystander.wait_rounds(200);
    let grown = daemon.rss_max().saturating_sub(memory);
    assert!(grown < READERS as u64 * 40 * MIB, "{grown} bytes more for {READERS} readers");
    note!(
        "reads not taken: {READERS} × 128 × 1 MiB asked for, {grown} bytes more at most; the bystander: {:?}",
        bystander.finish()
    );
    drop(readers);
    daemon.assert_well();
}
