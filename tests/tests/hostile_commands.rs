//! Requests that come in an order, with tags or in a number that they must not.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iscsi_proto::pdu::{RejectReason, Response, ScsiStatus, TaskManagementFunction, TextRequest};
use iscsi_proto::types::{ExpStatSn, Lun, TargetTransferTag};
use scenarios::bystander::TARGET;
use scenarios::daemon::Daemon;
use scenarios::foe::{Foe, data_out, options, wire};
use scenarios::initiator::Error;
use scenarios::note;
use scenarios::ordeal::{ATTACKED, MIB, daemon, endure};

#[test]
fn what_comes_early_is_held_once_and_within_the_window() {
    let mut daemon = daemon("");
    // 127 commands with 64 KiB each and what the receive buffer holds.
    endure("early commands", &mut daemon, 24 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        let first = foe.write(1, 128);
        let early: Vec<_> = (0..127).map(|_| foe.write(1, 128)).collect();
        for _ in 0..20 {
            for command in &early {
                let data = Bytes::from(vec![0x5A; 65536]);
                foe.send(iscsi_proto::pdu::ScsiCommand { data, ..command.clone() }).expect("sent");
            }
        }
        foe.ping();
        let mut left: Vec<_> = early.iter().map(|command| command.initiator_task_tag).collect();
        foe.send(iscsi_proto::pdu::ScsiCommand { data: vec![0; 65536].into(), ..first.clone() }).expect("sent");
        foe.response(first.initiator_task_tag);
        // Each is answered once, in whatever order they end.
        while !left.is_empty() {
            if let Response::ScsiResponse(response) = foe.recv() {
                assert_eq!(response.status, ScsiStatus::GOOD);
                let at = left.iter().position(|tag| *tag == response.initiator_task_tag).expect("answered once");
                left.swap_remove(at);
            }
        }
        foe.ping();
    });
}

#[test]
fn a_tag_that_is_in_use_is_refused() {
    let mut daemon = daemon("");
    endure("duplicate tags", &mut daemon, 8 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        let write = foe.write(1, 128);
        foe.send(write.clone()).expect("sent");
        let r2t = foe.r2t();
        for _ in 0..1000 {
            let mut second = foe.read(1, 8);
            foe.cmd_sn = second.cmd_sn;
            second.initiator_task_tag = write.initiator_task_tag;
            foe.send(second).expect("sent");
            match foe.recv() {
                Response::Reject(reject) => assert_eq!(reject.reason, RejectReason::TASK_IN_PROGRESS),
                other => panic!("{other:?}"),
            }
        }
        // The first is none the worse for it.
        foe.send(data_out(&r2t)).expect("sent");
        assert_eq!(foe.response(write.initiator_task_tag).status, ScsiStatus::GOOD);
        foe.ping();
    });
}

#[test]
fn immediate_commands_are_few_at_a_time() {
    let mut daemon = daemon("");
    endure("immediate commands", &mut daemon, 16 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        let (mut asked, mut refused) = (0, 0);
        for _ in 0..1000 {
            let mut write = foe.write(1, 128);
            write.immediate = true;
            foe.cmd_sn = write.cmd_sn;
            foe.send(write).expect("sent");
            match foe.recv() {
                Response::R2t(_) => asked += 1,
                Response::Reject(reject) => {
                    assert_eq!(reject.reason, RejectReason::IMMEDIATE_COMMAND_REJECT);
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(asked <= 64 && asked + refused == 1000, "{asked} outstanding, {refused} refused");
        let abort = foe.task_management(TaskManagementFunction::ABORT_TASK_SET, 1);
        foe.send(abort).expect("sent");
        foe.ping();
    });
}

#[test]
fn resets_without_pause() {
    let luns = 200;
    let mut daemon = many_luns(luns);
    // Each is a task of its own for every LUN; what one window holds, in all.
    endure("target resets", &mut daemon, 48 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        foe.set_patience(Duration::from_secs(2));
        let mut flood = BytesMut::new();
        for n in 0..RESETS {
            let mut reset = foe.task_management(TaskManagementFunction::TARGET_WARM_RESET, 0);
            reset.immediate = n % 2 == 0;
            reset.cmd_sn = foe.cmd_sn;
            foe.cmd_sn = if reset.immediate { foe.cmd_sn } else { foe.cmd_sn.next() };
            flood.extend(wire(reset));
        }
        foe.send_bytes(&flood).expect("sent");
        // The immediate ones beyond the bound are refused, the others outside the window ignored.
        let (mut done, mut refused, mut expected) = (0, 0, foe.cmd_sn);
        loop {
            match foe.try_recv() {
                Ok(Response::TaskManagementResponse(response)) => {
                    done += 1;
                    expected = response.exp_cmd_sn;
                }
                Ok(Response::Reject(reject)) => {
                    assert_eq!(reject.reason, RejectReason::IMMEDIATE_COMMAND_REJECT);
                    refused += 1;
                }
                Err(Error::Silent) => break,
                other => panic!("{other:?}"),
            }
        }
        foe.cmd_sn = expected;
        assert!(done >= 32 && done + refused < RESETS, "{done} done, {refused} refused");
        note!("{done} resets done, {refused} refused");
    });
}

#[test]
fn text_without_end_in_a_session() {
    let mut daemon = daemon("");
    endure("endless text", &mut daemon, 8 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        let tag = foe.new_tag();
        let mut target_transfer_tag = TargetTransferTag::RESERVED;
        let mut rejected = 0;
        for _ in 0..4000 {
            let part = TextRequest {
                immediate: true,
                final_: false,
                continue_: true,
                lun: Lun::ZERO,
                initiator_task_tag: tag,
                target_transfer_tag,
                cmd_sn: foe.cmd_sn,
                exp_stat_sn: ExpStatSn(0),
                data: Bytes::from(vec![b'a'; 4096]),
            };
            foe.send(part).expect("sent");
            match foe.recv() {
                Response::TextResponse(response) => target_transfer_tag = response.target_transfer_tag,
                Response::Reject(_) => {
                    rejected += 1;
                    target_transfer_tag = TargetTransferTag::RESERVED;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(rejected > 100, "16 MiB of text without an end: rejected {rejected} times");
        foe.ping();
    });
}

/// More than any initiator has reason for.
const RESETS: usize = 10_000;

fn many_luns(count: usize) -> Daemon {
    let volumes: String = (0..count).map(|n| format!("  v{n}: {{ null: {{}}, size: 1MiB }}\n")).collect();
    let luns: String = (0..count).map(|n| format!("{n}: v{n}, ")).collect();
    Daemon::start(&format!(
        "\
node: hostile
state_dir: DIR/state
portals: [127.0.0.1:PORT]
volumes:
  quiet: {{ memory: {{}}, size: 64MiB }}
{volumes}
targets:
  {ATTACKED}: {{ initiators: [\"*\"], luns: {{ {luns} }} }}
  {TARGET}: {{ initiators: [\"*\"], luns: {{ 0: quiet }} }}
"
    ))
}
