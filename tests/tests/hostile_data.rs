//! Data that is not what was asked for, that never comes, or that comes in crumbs; and answers that nobody reads.

use std::io::Read;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use iscsi_proto::initiator::Options;
use iscsi_proto::pdu::{DataOut, R2t, RejectReason, Response, ScsiStatus, TaskAttribute, TaskManagementFunction};
use iscsi_proto::types::{DataSn, TargetTransferTag};
use scenarios::foe::{Foe, data_out, options, sense};
use scenarios::initiator::Error;
use scenarios::ordeal::{MIB, daemon, endure};

/// Every way in which the answer to an R2T can be wrong, and the sense it earns (RFC 7143 §11.4.7.2).
#[test]
fn wrong_answers_to_an_r2t_end_the_command_alone() {
    let mut daemon = daemon("");
    type Spoil = fn(&mut DataOut);
    let incorrect_amount = (0x0B, 0x0C, 0x0D);
    let lost = (0x0B, 0x47, 0x05);
    let wrongs: [(&str, Spoil, (u8, u8, u8)); 6] = [
        ("beyond the burst", |d| d.data = Bytes::from(vec![0; d.data.len() + 512]), incorrect_amount),
        ("short of the burst", |d| d.data.truncate(d.data.len() - 512), incorrect_amount),
        ("elsewhere", |d| d.buffer_offset += 512, incorrect_amount),
        ("past all offsets", |d| d.buffer_offset = u32::MAX, incorrect_amount),
        ("out of sequence", |d| d.data_sn = DataSn(7), lost),
        ("nothing at all", |d| d.data.clear(), incorrect_amount),
    ];
    endure("wrong answers to an R2T", &mut daemon, 16 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        for _ in 0..200 {
            for (what, spoil, expected) in &wrongs {
                let write = foe.write(1, 128);
                foe.send(write.clone()).expect("sent");
                let mut wrong = data_out(&foe.r2t());
                spoil(&mut wrong);
                foe.send(wrong).expect("sent");
                let response = foe.response(write.initiator_task_tag);
                assert_eq!((response.status, sense(&response)), (ScsiStatus::CHECK_CONDITION, *expected), "{what}");
            }
        }
        foe.ping();
    });
}

#[test]
fn data_for_nobody_is_refused() {
    let mut daemon = daemon("");
    endure("wrong tags", &mut daemon, 16 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        let write = foe.write(1, 128);
        foe.send(write.clone()).expect("sent");
        let r2t = foe.r2t();
        for n in 0..1000 {
            let mut wrong = data_out(&r2t);
            // Data that some R2T once asked for may trail an aborted command: it is thrown away without a word.
            if n % 2 == 1 {
                wrong.initiator_task_tag = foe.new_tag();
                foe.send(wrong).expect("sent");
                continue;
            }
            wrong.target_transfer_tag = TargetTransferTag(r2t.target_transfer_tag.0.wrapping_add(1000 + n));
            foe.send(wrong).expect("sent");
            match foe.recv() {
                Response::Reject(reject) => assert_eq!(reject.reason, RejectReason::INVALID_PDU_FIELD),
                other => panic!("{other:?}"),
            }
        }
        foe.send(data_out(&r2t)).expect("sent");
        assert_eq!(foe.response(write.initiator_task_tag).status, ScsiStatus::GOOD);
    });
}

#[test]
fn a_sequence_without_its_f_bit_waits_and_can_be_aborted() {
    let mut daemon = daemon("");
    endure("no F bit", &mut daemon, 24 * MIB, |daemon| {
        let mut foe = Foe::login(daemon.address(), options(1));
        let write = foe.write(1, 128);
        foe.send(write.clone()).expect("sent");
        let mut data = data_out(&foe.r2t());
        data.final_ = false;
        foe.send(data.clone()).expect("all that was asked for");
        // What follows is beyond the burst. It is thrown away, however much it is.
        for _ in 0..1000 {
            data.data_sn = data.data_sn.next();
            foe.send(data.clone()).expect("more");
        }
        foe.ping();
        let abort = foe.task_management(TaskManagementFunction::ABORT_TASK_SET, 1);
        foe.send(abort).expect("sent");
        while !matches!(foe.recv(), Response::TaskManagementResponse(_)) {}
        foe.ping();
    });
}

#[test]
fn solicited_data_that_never_comes_costs_nothing() {
    let mut daemon = daemon("");
    endure("hoarded solicitations", &mut daemon, 8 * MIB, |daemon| {
        let mut foes: Vec<_> = (0..8).map(|n| Foe::login(daemon.address(), options(n))).collect();
        for foe in &mut foes {
            for _ in 0..128 {
                let write = foe.write(1, 32768);
                foe.send(write).expect("sent");
            }
            foe.ping();
        }
        foes.iter_mut().for_each(Foe::ping);
    });
}

#[test]
fn solicited_data_that_almost_comes_is_bounded() {
    // A session may have asked for 8 MiB; or for one command's data, if that is more.
    for (blocks, least, bound) in [(2048, 7 << 20, 24), (65535, 31 << 20, 64)] {
        let mut daemon = daemon("");
        endure(&format!("hoarded data of {blocks} blocks"), &mut daemon, bound * MIB, |daemon| {
            let mut foe = Foe::login(daemon.address(), wide(1));
            for _ in 0..128 {
                let write = foe.write(1, blocks);
                foe.send(write).expect("sent");
            }
            // All of every command but its last PDU, for as long as R2Ts come.
            foe.set_patience(Duration::from_millis(500));
            let mut sent = 0;
            loop {
                match foe.try_recv() {
                    Ok(Response::R2t(r2t)) => {
                        let end = r2t.buffer_offset + r2t.desired_data_transfer_length;
                        sent += send_sequence(&mut foe, &r2t, end < u32::from(blocks) * 512);
                    }
                    Err(Error::Silent) => break,
                    other => panic!("{other:?}"),
                }
            }
            assert!((least..least + (2 << 20)).contains(&sent), "{sent} bytes were asked for at once");
            assert!(daemon.rss() > sent as u64, "it is all there: nothing was refused");
            foe.ping();
        });
    }
}

/// Whoever keeps a byte must not keep the buffer it came in.
#[test]
fn data_in_crumbs_is_not_worth_more_than_its_bytes() {
    for (crumb, number, bound) in [(1, 20_000, 4 * MIB), (512, 2000, 6 * MIB), (4096, 250, 6 * MIB)] {
        let mut daemon = daemon("");
        let mut foe = Foe::login(daemon.address(), wide(1));
        // Let the target read far ahead.
        for _ in 0..32 {
            let nop = foe.nop(vec![0; 256 << 10]);
            foe.send(nop).expect("sent");
        }
        foe.ping();
        endure(&format!("data in crumbs of {crumb}"), &mut daemon, bound, |_| {
            let write = foe.write(1, 2048);
            foe.send(write).expect("sent");
            let r2t = foe.r2t();
            for n in 0..number {
                let mut part = data_out(&r2t);
                (part.final_, part.data_sn, part.buffer_offset) = (false, DataSn(n), n * crumb);
                part.data.truncate(crumb as usize);
                foe.send(part).expect("sent");
                // Each in a read of its own.
                if n % 4 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            foe.ping();
        });
    }
}

#[test]
fn answers_that_nobody_reads_are_bounded() {
    for (what, lun, blocks, is_behind_a_write) in [
        ("small reads of memory", 0, 8, false),
        ("large reads of memory", 0, 65535, false),
        ("large reads of a file", 1, 65535, false),
        ("large reads of memory behind an ordered write", 0, 65535, true),
        ("large reads of a file behind an ordered write", 1, 65535, true),
    ] {
        let mut daemon = daemon("");
        // For each session, the backlog of 1 MiB and one answer of 32 MiB over it; or 16 MiB that are being read, and one
        // command of 32 MiB over that; and what is being sent.
        let sessions = 3;
        endure(&format!("unread answers, {what}"), &mut daemon, sessions * 96 * MIB, |daemon| {
            let mut foes: Vec<_> = (0..sessions).map(|n| Foe::login(daemon.address(), options(n as u32))).collect();
            for foe in &mut foes {
                let mut ordered = foe.write(lun, 8);
                ordered.attribute = TaskAttribute::ORDERED;
                let ordered = is_behind_a_write.then_some(ordered);
                match &ordered {
                    Some(write) => foe.send(write.clone()).expect("sent"),
                    None => foe.cmd_sn = foe.cmd_sn.previous(),
                }
                for _ in 0..READS {
                    let read = foe.read(lun, blocks);
                    foe.send(read).expect("sent");
                }
                if ordered.is_some() {
                    let data = data_out(&foe.r2t());
                    foe.send(data).expect("sent");
                }
            }
            // Nothing tells when it has taken up all it will.
            thread::sleep(Duration::from_secs(1));
            // And they are all there, for whoever reads in the end, without a pause between them.
            let foe = &mut foes[0];
            foe.set_patience(Duration::from_secs(3));
            let mut left = READS * usize::from(blocks) * 512;
            let mut buffer = vec![0; 1 << 20];
            while left > 0 {
                left = left.saturating_sub(foe.stream().read(&mut buffer).expect("more"));
            }
        });
    }
}

#[test]
fn echoes_and_rejects_that_nobody_reads_are_bounded() {
    for (what, wire) in [("echoes", true), ("rejects", false)].map(|(what, is_nop)| {
        let mut bytes = if is_nop { nop_without_data() } else { vec![0x5F; 48] };
        bytes[4..8].fill(0);
        (what, bytes.repeat(4096))
    }) {
        let mut daemon = daemon("");
        endure(&format!("unread {what}"), &mut daemon, 24 * MIB, |daemon| {
            let mut foe = Foe::login(daemon.address(), options(1));
            foe.stream().set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
            let mut written = 0;
            while written < 256 << 20 && foe.send_bytes(&wire).is_ok() {
                written += wire.len();
            }
            assert!(written < 256 << 20, "the target takes up {what} without end");
        });
    }
}

/// Immediate, with a tag.
fn nop_without_data() -> Vec<u8> {
    let mut nop = vec![0; 48];
    (nop[0], nop[1], nop[19]) = (0x40, 0x80, 1);
    nop[20..24].fill(0xFF);
    nop
}

/// Large bursts, many of them.
fn wide(number: u32) -> Options {
    options(number).with("MaxBurstLength", "1048576").with("MaxOutstandingR2T", "8")
}

/// In PDUs of 64 KiB; without the last, unless it is wanted.
fn send_sequence(foe: &mut Foe, r2t: &R2t, with_last: bool) -> usize {
    let (whole, mut sent) = (data_out(r2t), 0);
    for (data_sn, start) in (0..).zip((0..whole.data.len()).step_by(64 << 10)) {
        let end = whole.data.len().min(start + (64 << 10));
        let final_ = end == whole.data.len();
        if final_ && !with_last {
            break;
        }
        let buffer_offset = r2t.buffer_offset + start as u32;
        let (data_sn, data) = (DataSn(data_sn), whole.data.slice(start..end));
        foe.send(DataOut { final_, data_sn, buffer_offset, data, ..whole.clone() }).expect("sent");
        sent = end;
    }
    sent
}

/// What the command window holds, with one that waits before them.
const READS: usize = 127;
