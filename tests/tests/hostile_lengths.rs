//! CDBs whose lengths say 4 GiB, with an Expected Data Transfer Length to match: refused, or answered with what there is,
//! before a byte of room is made for them.

use std::fs;
use std::time::Duration;

use iscsi_proto::pdu::{Response, ScsiStatus};
use scenarios::daemon::Daemon;
use scenarios::foe::{Foe, options};
use scenarios::ordeal::{MIB, daemon, endure};

/// Name, opcode, service action, CDB length, where its length field is, how many bytes that has.
const TAKING: [(&str, u8, u8, usize, usize, usize); 14] = [
    ("PERSISTENT RESERVE OUT", 0x5F, 0x00, 10, 5, 4),
    ("PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x5F, 0x07, 10, 5, 4),
    ("EXTENDED COPY(LID1)", 0x83, 0x00, 16, 10, 4),
    ("EXTENDED COPY(LID4)", 0x83, 0x01, 16, 10, 4),
    ("UNMAP", 0x42, 0x00, 10, 7, 2),
    ("WRITE BUFFER", 0x3B, 0x02, 10, 6, 3),
    ("WRITE BUFFER, echo", 0x3B, 0x0A, 10, 6, 3),
    ("MODE SELECT(10)", 0x55, 0x10, 10, 7, 2),
    ("SET TARGET PORT GROUPS", 0xA4, 0x0A, 12, 6, 4),
    ("SET IDENTIFYING INFORMATION", 0xA4, 0x06, 12, 6, 4),
    ("SET TIMESTAMP", 0xA4, 0x0F, 12, 6, 4),
    ("SANITIZE OVERWRITE", 0x48, 0x81, 10, 7, 2),
    ("SEND DIAGNOSTIC", 0x1D, 0x10, 6, 3, 2),
    ("WRITE(16)", 0x8A, 0x00, 16, 10, 4),
];

const GIVING: [(&str, u8, u8, usize, usize, usize); 14] = [
    ("GET LBA STATUS(16)", 0x9E, 0x12, 16, 10, 4),
    ("REPORT LUNS", 0xA0, 0x00, 12, 6, 4),
    ("REPORT SUPPORTED OPERATION CODES", 0xA3, 0x0C, 12, 6, 4),
    ("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xA3, 0x0D, 12, 6, 4),
    ("REPORT TARGET PORT GROUPS", 0xA3, 0x0A, 12, 6, 4),
    ("REPORT IDENTIFYING INFORMATION", 0xA3, 0x05, 12, 6, 4),
    ("REPORT TIMESTAMP", 0xA3, 0x0F, 12, 6, 4),
    ("READ CAPACITY(16)", 0x9E, 0x10, 16, 10, 4),
    ("RECEIVE COPY OPERATING PARAMETERS", 0x84, 0x03, 16, 10, 4),
    ("READ DEFECT DATA(12)", 0xB7, 0x00, 12, 6, 4),
    ("READ BUFFER", 0x3C, 0x02, 10, 6, 3),
    ("READ BUFFER, echo", 0x3C, 0x0A, 10, 6, 3),
    ("PERSISTENT RESERVE IN", 0x5E, 0x00, 10, 7, 2),
    ("READ(16)", 0x88, 0x00, 16, 10, 4),
];

#[test]
fn enormous_parameter_lists_are_not_collected() {
    let mut daemon = daemon("");
    endure("parameter lists of 4 GiB", &mut daemon, 16 * MIB, |daemon| {
        for row in TAKING {
            let mut foe = Foe::login(daemon.address(), options(1));
            for _ in 0..16 {
                let command = foe.command(0, &cdb(row), true, u32::MAX);
                foe.send(command).expect("sent");
                match foe.recv() {
                    Response::ScsiResponse(response) => {
                        assert_eq!(response.status, ScsiStatus::CHECK_CONDITION, "{}", row.0);
                    }
                    // A length that is in order: what is asked for is that much, and no more.
                    Response::R2t(r2t) => {
                        assert!(r2t.desired_data_transfer_length <= 64 << 10, "{} asks for {r2t:?}", row.0);
                        break;
                    }
                    other => panic!("{}: {other:?}", row.0),
                }
            }
        }
    });
}

#[test]
fn enormous_allocation_lengths_make_no_room() {
    let mut daemon = daemon("");
    let before = address_space_max(&daemon);
    endure("allocation lengths of 4 GiB", &mut daemon, 16 * MIB, |daemon| {
        for row in GIVING {
            let mut foe = Foe::login(daemon.address(), options(1));
            foe.set_patience(Duration::from_secs(5));
            let (mut sent, mut answered) = (0, 0);
            for _ in 0..100 {
                let command = foe.command(0, &cdb(row), false, u32::MAX);
                foe.send(command).expect("sent");
                sent += 1;
            }
            while answered < sent {
                match foe.recv() {
                    Response::DataIn(data) => answered += u32::from(data.status.is_some()),
                    Response::ScsiResponse(_) => answered += 1,
                    other => panic!("{}: {other:?}", row.0),
                }
            }
        }
    });
    // Not even addresses: where memory may not be overcommitted, they are what runs out.
    let growth = address_space_max(&daemon) - before;
    assert!(growth < 1 << 30, "{growth} bytes of address space were taken");
}

fn cdb((_, opcode, service_action, length, at, bytes): (&str, u8, u8, usize, usize, usize)) -> Vec<u8> {
    let mut cdb = vec![0; length];
    cdb[0] = opcode;
    cdb[1] = service_action;
    cdb[at..at + bytes].fill(0xFF);
    cdb
}

/// VmPeak: the most address space it ever had, bytes.
fn address_space_max(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("the daemon lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("the kernel tells");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
}
