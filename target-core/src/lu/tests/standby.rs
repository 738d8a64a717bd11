//! What a mirrored volume answers on the node that does not serve it.

use mirror_link::replica::io::Standing;

use super::twins::Twins;
use super::*;
use crate::block::BlockError;
use crate::block::faulty::{self, Fault, FaultyDevice};
use crate::scsi::opcodes::{OPERATIONS, Operation};
use crate::scsi::sense::Asc;

/// SPC-5 §5.17.2.4.4 has the most of them; READ CAPACITY is for hosts that ask for the size of every path. Not among them
/// are commands that change what the owner would not hear of: MODE SELECT, PERSISTENT RESERVE OUT.
const RUN_IN_STANDBY: &[&str] = &[
    "REQUEST SENSE",
    "INQUIRY",
    "MODE SENSE(6)",
    "SEND DIAGNOSTIC",
    "READ CAPACITY(10)",
    "WRITE BUFFER",
    "READ BUFFER",
    "LOG SENSE",
    "MODE SENSE(10)",
    "PERSISTENT RESERVE IN, READ KEYS",
    "PERSISTENT RESERVE IN, READ RESERVATION",
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES",
    "PERSISTENT RESERVE IN, READ FULL STATUS",
    "READ CAPACITY(16)",
    "REPORT LUNS",
    "REPORT IDENTIFYING INFORMATION",
    "REPORT TARGET PORT GROUPS",
    "REPORT SUPPORTED OPERATION CODES",
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
    "REPORT TIMESTAMP",
    "SET TARGET PORT GROUPS",
];

fn not_ready(qualifier: u8) -> Answer {
    Answer::Check(2, 0x04, qualifier)
}

/// A CDB that its parser takes.
fn sample(operation: &Operation) -> Vec<u8> {
    let mut cdb = vec![0; operation.usage.len()];
    cdb[0] = operation.opcode;
    match (operation.opcode, operation.service_action) {
        (0x7F, Some(action)) => {
            cdb[7] = 24;
            cdb[8..10].copy_from_slice(&action.to_be_bytes());
        }
        (_, Some(action)) => cdb[1] |= action as u8,
        _ => {}
    }
    match operation.name {
        "SANITIZE, OVERWRITE" => cdb[8] = 5,
        "SEND DIAGNOSTIC" => cdb[1] = 0x04,
        "WRITE BUFFER" | "READ BUFFER" => cdb[1] = 0x0A,
        _ => {}
    }
    assert!(opcodes_take(&cdb), "{operation:?}: {cdb:02x?}");
    cdb
}

fn opcodes_take(cdb: &[u8]) -> bool {
    crate::scsi::opcodes::parse(cdb).is_ok()
}

fn runs(session: &Session, operation: &Operation, qualifier: u8) -> bool {
    let refused = match session.prepared(&sample(operation), 0) {
        Admission::Ready(_) => false,
        Admission::Complete(complete) => {
            let sense = complete.sense.map(|sense| sense.asc);
            sense == Some(Asc { code: 0x04, qualifier })
        }
    };
    !refused
}

#[tokio::test]
async fn in_standby_and_while_waiting_few_commands_run() {
    for (standing, qualifier) in [(Standing::Standby, 0x0B), (Standing::Waiting, 0x01)] {
        let twins = Twins::with_options(LuOptions { long_cdbs: true, ..options() });
        let session = twins.alpha.session("a");
        twins.alpha.unit.set_standing(standing);
        assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 6));
        let run: Vec<&str> =
            OPERATIONS.iter().filter(|operation| runs(&session, operation, qualifier)).map(|each| each.name).collect();
        assert_eq!(run, RUN_IN_STANDBY, "{standing:?}");
        twins.alpha.unit.set_standing(Standing::Active);
        assert_eq!(session.run(&TEST_UNIT_READY).await, Answer::Check(6, 0x2A, 6));
        assert_eq!(session.run(&TEST_UNIT_READY).await, GOOD);
    }
}

#[tokio::test]
async fn port_groups_and_sense_tell_of_standby() {
    const REPORT: [u8; 12] = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    let twins = Twins::new();
    let session = twins.beta.session("a");
    let Answer::Good(report) = session.run(&REPORT).await else { panic!("runs in standby") };
    let (standby, active, implicit) = (2, 0, 2);
    assert_eq!((report[4] & 0x0F, report[16] & 0x0F, report[9]), (standby, standby, implicit));
    let Answer::Good(sense) = session.run(&[0x03, 0, 0, 0, 252, 0]).await else { panic!("GOOD") };
    assert_eq!((sense[2], sense[12], sense[13]), (2, 0x04, 0x0B));
    let Answer::Good(inquiry) = session.run(&[0x12, 0, 0, 0, 96, 0]).await else { panic!("GOOD") };
    assert_eq!((inquiry[0], inquiry[5] & 0x30), (0, 0x30), "it is there; TPGS: implicit and explicit");
    twins.beta.unit.set_standing(Standing::Active);
    session.run(&TEST_UNIT_READY).await;
    let Answer::Good(report) = session.run(&REPORT).await else { panic!("GOOD") };
    assert_eq!((report[4] & 0x0F, report[9]), (active, implicit));
}

#[tokio::test]
async fn an_initiator_does_not_promote() {
    let twins = Twins::new();
    let session = twins.beta.session("a");
    let set = |state: u8| ([0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], [0, 0, 0, 0, state, 0, 0, 1]);
    let (cdb, list) = set(0);
    assert_eq!(session.send(&cdb, &list).await, Answer::Check(5, 0x67, 0x0A));
    let (cdb, list) = set(2);
    assert_eq!(session.send(&cdb, &list).await, GOOD, "what it is anyway");
    assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, not_ready(0x0B));
}

#[tokio::test]
async fn what_the_device_fences_is_a_path_in_standby_and_what_it_holds_is_busy() {
    let device = Arc::new(FaultyDevice::new(memory()));
    let session = Fixture::with(options(), device.clone(), StateStore::memory()).session("a");
    let block = [1; BLOCK];
    let pair = [1; 2 * BLOCK];
    let unmap = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut compare_and_write = [0; 16];
    (compare_and_write[0], compare_and_write[13]) = (0x89, 1);
    session.send(&cdb10(0x2A, 0, 0, 1), &block).await;
    let commands: [(&[u8], &[u8]); 9] = [
        (&cdb10(0x2A, 0, 0, 1), &block),
        (&cdb10(0x2E, 0, 0, 1), &block),
        (&cdb10(0x41, 0, 0, 1), &block),
        (&cdb10(0x41, 8, 0, 1), &block),
        (&cdb16(0x8B, 0, 0, 1), &block),
        (&compare_and_write, &pair),
        (&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &unmap),
        (&cdb10(0x35, 0, 0, 0), &[]),
        (&EJECT, &[]),
    ];
    for (error, answer) in [(BlockError::Fenced, not_ready(0x0B)), (BlockError::Stalled, Answer::Other(Status::Busy))] {
        use faulty::Operation::*;
        device.inject(Fault::always(&[Write, WriteZeroes, Unmap, Flush], error));
        for (cdb, data) in commands {
            assert_eq!(session.send(cdb, data).await, answer, "{cdb:02x?} where writes end with {error:?}");
        }
        device.clear();
        device.inject(Fault::always(&[Read], error));
        assert_eq!(session.run(&cdb10(0x28, 0, 0, 1)).await, answer);
        assert_eq!(session.send(&cdb10(0x2F, 2, 0, 1), &block).await, answer);
        device.clear();
    }
}
