//! The logical unit's behaviour, command by command, over a memory device.

mod alua;
mod atomic;
mod attentions;
mod background;
mod copy;
mod medium;
mod pages;
mod provisioning;
mod reads_and_writes;
mod reservations;
mod standby;
mod task_management;
mod twins;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::inventory::LunInventory;
use super::nexus::{InitiatorPort, Nexus, NexusName, RelativeTargetPort};
use super::options::{LuOptions, TargetPort};
use super::orders::{NexusOrder, ORDERS_PENDING_MAX, Order, OrderSender};
use super::persist::{Identity, StateStore};
use super::*;
use crate::block::{BlockDevice, BlockLength, Payload, Store, StoreSpec, open};
use crate::scsi::status::Status;

pub(crate) const BLOCK: usize = 512;
/// 4 MiB
pub(crate) const CAPACITY: u64 = 8192;

/// How a command ended, in numbers that are easily compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Good(Vec<u8>),
    /// Sense key, additional sense code, its qualifier.
    Check(u8, u8, u8),
    Other(Status),
}

pub(crate) const GOOD: Answer = Answer::Good(Vec::new());
pub(crate) const CONFLICT: Answer = Answer::Other(Status::ReservationConflict);

/// A logical unit and whom it is logged in by.
pub(crate) struct Fixture {
    pub unit: Arc<LogicalUnit>,
    pub inventory: Arc<LunInventory>,
}

/// A nexus and the orders to it.
pub(crate) struct Session {
    pub itl: ItlNexus,
    pub orders: mpsc::Receiver<Order>,
    inventory: Arc<LunInventory>,
}

pub(crate) fn options() -> LuOptions {
    let identity = Identity { uuid: uuid::Uuid::from_u128(1) };
    LuOptions { thin: true, removable: true, physical_block_exponent: 3, ..LuOptions::new("volume", identity) }
}

pub(crate) fn memory() -> Arc<dyn BlockDevice> {
    let size = Some(CAPACITY * BLOCK as u64);
    let spec = StoreSpec { store: Store::Memory, size, block_length: BlockLength::B512, read_only: false, thin: true };
    open(&spec).expect("memory is always there")
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::with(options(), memory(), StateStore::memory())
    }

    pub fn with(options: LuOptions, device: Arc<dyn BlockDevice>, store: StateStore) -> Fixture {
        Fixture::of(LogicalUnit::new(options, device, store).expect("nothing stored is wrong"))
    }

    pub fn of(unit: Arc<LogicalUnit>) -> Fixture {
        let port = |relative| TargetPort {
            relative: RelativeTargetPort(relative),
            group: relative,
            target_name: "iqn.2026-11.net.example:t".into(),
            portal_group: relative,
        };
        unit.set_target_ports(vec![port(1), port(2)]);
        let inventory = Arc::new(LunInventory::new(vec![(0, unit.clone())]));
        Fixture { unit, inventory }
    }

    /// A nexus that has its first unit attention still before it.
    pub fn fresh(&self, initiator: &str, port: u16) -> Session {
        let initiator = InitiatorPort { name: initiator.into(), isid: [0; 6] };
        let nexus = Nexus {
            name: NexusName { initiator, target_port: RelativeTargetPort(port) },
            session: 0,
            target_name: "iqn.2026-11.net.example:t".into(),
            portal_group: port,
        };
        let (sender, orders) = mpsc::channel(ORDERS_PENDING_MAX);
        let itl = self.unit.attach(Arc::new(nexus), OrderSender::new(0, sender));
        Session { itl, orders, inventory: self.inventory.clone() }
    }

    pub fn session(&self, initiator: &str) -> Session {
        let session = self.fresh(initiator, 1);
        assert!(matches!(session.prepared(&[0; 6], 0), Admission::Complete(_)));
        session
    }
}

impl Session {
    pub fn prepared(&self, cdb: &[u8], expected: u64) -> Admission {
        self.itl.prepare(cdb, expected, &self.inventory)
    }

    /// Run a command with no Data-Out.
    pub async fn run(&self, cdb: &[u8]) -> Answer {
        self.send(cdb, &[]).await
    }

    /// Run a command as an initiator with that much to send would have it.
    pub async fn send(&self, cdb: &[u8], data: &[u8]) -> Answer {
        self.complete(cdb, data).await.into()
    }

    pub async fn complete(&self, cdb: &[u8], data: &[u8]) -> command::CommandComplete {
        match self.prepared(cdb, data.len() as u64) {
            Admission::Complete(complete) => complete,
            Admission::Ready(prepared) => {
                let length = (prepared.data_out_length() as usize).min(data.len());
                let buffer = BytesMut::with_capacity(prepared.data_in_length() as usize);
                prepared.execute(Payload::from(Bytes::copy_from_slice(&data[..length])), buffer).await
            }
        }
    }
}

impl From<command::CommandComplete> for Answer {
    fn from(complete: command::CommandComplete) -> Answer {
        match (complete.status, complete.sense) {
            (Status::Good, None) => Answer::Good(complete.data_in.contiguous().to_vec()),
            (Status::CheckCondition, Some(sense)) => {
                Answer::Check(sense.key as u8, sense.asc.code, sense.asc.qualifier)
            }
            (status, None) => Answer::Other(status),
            (status, Some(sense)) => panic!("{status:?} with {sense:?}"),
        }
    }
}

/// A 10-byte CDB of opcode, flags, LBA and length.
pub(crate) fn cdb10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let (l, b) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, flags, l[0], l[1], l[2], l[3], 0, b[0], b[1], 0]
}

/// A 16-byte CDB of opcode, flags, LBA and length in bytes 10 to 13.
pub(crate) fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub(crate) const TEST_UNIT_READY: [u8; 6] = [0; 6];
pub(crate) const EJECT: [u8; 6] = [0x1B, 0, 0, 0, 0x02, 0];
pub(crate) const LOAD: [u8; 6] = [0x1B, 0, 0, 0, 0x03, 0];
pub(crate) const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
pub(crate) const RELEASE: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

/// Answer abort orders until the sender of them is gone; the count.
pub(crate) async fn obey(mut orders: mpsc::Receiver<Order>) -> usize {
    let mut obeyed = 0;
    while let Some(Order { order: NexusOrder::AbortTasks { done }, .. }) = orders.recv().await {
        obeyed += 1;
        done.send(()).ok();
    }
    obeyed
}
