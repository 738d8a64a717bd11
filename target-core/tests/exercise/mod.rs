//! A logical unit over memory that takes any CDB with any data, and what must hold whatever they are. Shared by the fuzz
//! targets and the bounded random test.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use target_core::block::{BlockLength, Payload, Store, StoreSpec, open};
use target_core::lu::command::CommandComplete;
use target_core::lu::inventory::LunInventory;
use target_core::lu::nexus::{InitiatorPort, Nexus, NexusName, RelativeTargetPort};
use target_core::lu::options::{LuOptions, TargetPort};
use target_core::lu::orders::{NexusOrder, ORDERS_PENDING_MAX, Order, OrderSender};
use target_core::lu::persist::{Identity, StateStore};
use target_core::lu::{Admission, ItlNexus, LogicalUnit};
use target_core::scsi::opcodes;
use target_core::scsi::status::Status;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Bytes of the medium.
pub const CAPACITY: u64 = 1 << 20;
/// No list is longer; what transfers blocks is bounded by the medium, which COMPARE AND WRITE takes twice.
const DATA_MAX: u64 = 2 * CAPACITY;
/// Nothing on a medium in memory takes longer. Time passes only while nothing can be done.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two commands, for what goes on in the background.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Exercise {
    runtime: Runtime,
    inventory: Arc<LunInventory>,
    itl: ItlNexus,
    /// Another nexus, which obeys what the first orders it to do.
    _other: ItlNexus,
}

impl Exercise {
    pub fn new() -> Exercise {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let inside = runtime.enter();
        let size = Some(CAPACITY);
        let store = Store::Memory;
        let spec = StoreSpec { store, size, block_length: BlockLength::B512, read_only: false, thin: true };
        let options = LuOptions {
            thin: true,
            removable: true,
            long_cdbs: true,
            physical_block_exponent: 3,
            naa: Some(NAA.to_vec()),
            ..LuOptions::new("unit", Identity { uuid: uuid::Uuid::from_u128(1) })
        };
        let device = open(&spec).expect("memory is always there");
        let unit = LogicalUnit::new(options, device, StateStore::memory()).expect("nothing stored is wrong");
        let port = |relative| TargetPort {
            relative: RelativeTargetPort(relative),
            group: relative,
            target_name: "iqn.2026-11.net.example:t".into(),
            portal_group: relative,
        };
        unit.set_target_ports(vec![port(1), port(2)]);
        let attach = |initiator: &str| {
            let name = InitiatorPort { name: initiator.into(), isid: [0x80; 6] };
            let nexus = Nexus {
                name: NexusName { initiator: name, target_port: RelativeTargetPort(1) },
                session: 0,
                target_name: "iqn.2026-11.net.example:t".into(),
                portal_group: 1,
            };
            let (sender, mut orders) = mpsc::channel::<Order>(ORDERS_PENDING_MAX);
            runtime.spawn(async move {
                while let Some(order) = orders.recv().await {
                    let NexusOrder::AbortTasks { done } = order.order;
                    done.send(()).ok();
                }
            });
            unit.attach(Arc::new(nexus), OrderSender::new(0, sender))
        };
        let (itl, other) = (attach("iqn.2026-11.net.example:1"), attach("iqn.2026-11.net.example:2"));
        let inventory = Arc::new(LunInventory::new(vec![(0, unit.clone())]));
        drop(inside);
        Exercise { runtime, inventory, itl, _other: other }
    }

    /// Any CDB; the first two bytes say how much data the initiator offers.
    pub fn cdb(&self, input: &[u8]) -> Option<Status> {
        let (offered, cdb) = input.split_first_chunk::<2>()?;
        Some(self.run(cdb, u64::from(u16::from_be_bytes(*offered)), &[]))
    }

    /// A parameter list: which command's, a byte of that CDB, the list.
    pub fn parameter_list(&self, input: &[u8]) -> Option<Status> {
        let ([which, variety], list) = input.split_first_chunk::<2>().map(|(head, list)| (*head, list))?;
        let row = &LISTS[usize::from(which) % LISTS.len()];
        let mut cdb = vec![0; row.cdb_length];
        (cdb[0], cdb[1], cdb[2]) = (row.opcode, row.flags, variety & row.variety);
        let length = (list.len() as u64).to_be_bytes();
        cdb[row.length_at..row.length_at + row.length_bytes].copy_from_slice(&length[8 - row.length_bytes..]);
        Some(self.run(&cdb, list.len() as u64, list))
    }

    /// As a session runs it, with zeroes where `data` ends.
    fn run(&self, cdb: &[u8], offered: u64, data: &[u8]) -> Status {
        let parsed = opcodes::parse(cdb);
        let complete = match self.itl.prepare(cdb, offered, &self.inventory) {
            Admission::Complete(complete) => complete,
            Admission::Ready(prepared) => {
                assert!(parsed.is_ok(), "what cannot be parsed cannot run");
                assert!(prepared.data_out_length() <= DATA_MAX, "{cdb:02x?} asks for {}", prepared.data_out_length());
                assert!(
                    prepared.data_in_length() <= DATA_MAX,
                    "{cdb:02x?} makes room for {}",
                    prepared.data_in_length()
                );
                let mut bytes = data.to_vec();
                bytes.resize(prepared.data_out_length().min(offered) as usize, 0);
                let buffer = BytesMut::with_capacity(prepared.data_in_length() as usize);
                let execution = self.runtime.block_on(async {
                    tokio::time::timeout(PATIENCE, prepared.execute(Payload::from(Bytes::from(bytes)), buffer)).await
                });
                execution.unwrap_or_else(|_| panic!("{cdb:02x?} does not end"))
            }
        };
        check(cdb, &complete);
        self.runtime.block_on(async { tokio::time::sleep(PAUSE).await });
        complete.status
    }
}

fn check(cdb: &[u8], complete: &CommandComplete) {
    assert!(complete.data_in.len() <= DATA_MAX, "{cdb:02x?} answers {} bytes", complete.data_in.len());
    let has_sense = complete.sense.is_some();
    assert_eq!(has_sense, complete.status == Status::CheckCondition, "{cdb:02x?}: sense belongs to CHECK CONDITION");
    if let Some(sense) = &complete.sense {
        for descriptor in [false, true] {
            let bytes = sense.encode(descriptor);
            assert!((8..=252).contains(&bytes.len()), "{cdb:02x?}: sense data of {} bytes", bytes.len());
            assert_eq!(bytes[0] & 0x7E, if descriptor { 0x72 } else { 0x70 }, "{cdb:02x?}");
        }
    }
}

/// A command with a parameter list.
pub struct List {
    opcode: u8,
    flags: u8,
    cdb_length: usize,
    length_at: usize,
    length_bytes: usize,
    /// Bits of CDB byte 2 that may vary.
    variety: u8,
    /// A list that is taken, to begin from.
    pub sample: &'static [u8],
}

pub const LISTS: [List; 21] = [
    list(0x42, 0x00, 10, (7, 2), 0, &UNMAP),
    list(0x5F, 0x00, 10, (5, 4), 0xFF, &REGISTER),
    list(0x5F, 0x00, 10, (5, 4), 0xFF, &REGISTER_FOR_OTHERS),
    list(0x5F, 0x01, 10, (5, 4), 0xFF, &OF_THE_REGISTERED),
    list(0x5F, 0x02, 10, (5, 4), 0xFF, &OF_THE_REGISTERED),
    list(0x5F, 0x03, 10, (5, 4), 0xFF, &OF_THE_REGISTERED),
    list(0x5F, 0x04, 10, (5, 4), 0xFF, &PREEMPTING),
    list(0x5F, 0x05, 10, (5, 4), 0xFF, &PREEMPTING),
    list(0x5F, 0x06, 10, (5, 4), 0xFF, &REGISTER),
    list(0x5F, 0x07, 10, (5, 4), 0xFF, &REGISTER_AND_MOVE),
    list(0x83, 0x00, 16, (10, 4), 0, &COPY_LID1),
    list(0x83, 0x01, 16, (10, 4), 0, &COPY_LID4),
    list(0x15, 0x10, 6, (4, 1), 0, &[0, 0, 0, 0, 8, 0x12, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    list(0x55, 0x10, 10, (7, 2), 0, &[0, 0, 0, 0, 0, 0, 0, 0, 0x0A, 0x0A, 0x26, 0x10, 0, 0, 0, 0, 0x01, 0x2C, 0, 0]),
    list(0x04, 0x10, 6, (3, 0), 0, &[0, 0x82, 0, 0]),
    list(0x04, 0x30, 6, (3, 0), 0, &[0, 0x82, 0, 0, 0, 0, 0, 0]),
    list(0x48, 0x01, 10, (7, 2), 0, &[1, 0, 0, 4, 1, 2, 3, 4]),
    list(0x48, 0x81, 10, (7, 2), 0, &[0x82, 0, 0, 1, 0xAA]),
    list(0xA4, 0x06, 12, (6, 4), 0, b"identifying information"),
    list(0xA4, 0x0A, 12, (6, 4), 0, &[0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 2]),
    list(0xA4, 0x0F, 12, (6, 4), 0, &[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0]),
];

const fn list(
    opcode: u8,
    flags: u8,
    cdb_length: usize,
    (length_at, length_bytes): (usize, usize),
    variety: u8,
    sample: &'static [u8],
) -> List {
    List { opcode, flags, cdb_length, length_at, length_bytes, variety, sample }
}

/// One descriptor: 16 blocks at LBA 8.
const UNMAP: [u8; 24] = [0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0, 0];

/// SERVICE ACTION RESERVATION KEY 1, APTPL.
const REGISTER: [u8; 24] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0];

/// SPEC_I_PT with one TransportID.
const REGISTER_FOR_OTHERS: [u8; 60] =
    *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\x08\0\0\0\0\0\0\x20\x05\0\0\x1ciqn.2026-11.net.example:2\0\0\0";

/// RESERVATION KEY 1.
const OF_THE_REGISTERED: [u8; 24] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// RESERVATION KEY 1, and SERVICE ACTION RESERVATION KEY 1 as well: oneself.
const PREEMPTING: [u8; 24] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// To the other nexus, by name and ISID.
const REGISTER_AND_MOVE: [u8; 72] = *b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x30\
    \x45\0\0\x2Ciqn.2026-11.net.example:2,i,0x808080808080\0\0";

/// NAA 3h, the unit's designator.
const NAA: [u8; 8] = [0x30, 1, 2, 3, 4, 5, 6, 7];

const CSCD: [u8; 32] = {
    let mut cscd = [0; 32];
    (cscd[0], cscd[4], cscd[5], cscd[7], cscd[30]) = (0xE4, 1, 3, 8, 2);
    let mut at = 0;
    while at < NAA.len() {
        cscd[8 + at] = NAA[at];
        at += 1;
    }
    cscd
};

/// Block to block, 8 blocks from 0 to 64.
const SEGMENT: [u8; 28] = [0x02, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64];

const CSCD_AND_SEGMENT: [u8; 60] = join(CSCD, SEGMENT);

const COPY_LID1: [u8; 76] = join([1, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0], CSCD_AND_SEGMENT);

const COPY_LID4: [u8; 108] = {
    let mut header = [0; 48];
    (header[0], header[3], header[16], header[23], header[43], header[45]) = (1, 0x20, 0xFF, 1, 32, 28);
    join(header, CSCD_AND_SEGMENT)
};

const fn join<const A: usize, const B: usize, const C: usize>(first: [u8; A], second: [u8; B]) -> [u8; C] {
    assert!(A + B == C);
    let mut both = [0; C];
    let mut at = 0;
    while at < C {
        both[at] = if at < A { first[at] } else { second[at - A] };
        at += 1;
    }
    both
}
