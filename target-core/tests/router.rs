//! One session's commands over a device that waits when told to.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use iscsi_proto::pdu::{Cdb, Pdu, Response, ScsiCommand, ScsiStatus, TaskAttribute};
use iscsi_proto::session::{Connection, Event, Settings};
use iscsi_proto::types::{CmdSn, ExpStatSn, InitiatorTaskTag, Lun, StatSn};
use target_core::block::faulty::Operation;
use target_core::block::slow::SlowDevice;
use target_core::block::{BlockLength, Store, StoreSpec, open};
use target_core::lu::LogicalUnit;
use target_core::lu::inventory::LunInventory;
use target_core::lu::nexus::{InitiatorPort, Nexus, NexusName, RelativeTargetPort};
use target_core::lu::options::LuOptions;
use target_core::lu::orders::{ORDERS_PENDING_MAX, Order};
use target_core::lu::persist::{Identity, StateStore};
use target_core::target::router::TaskRouter;
use tokio::sync::mpsc;

const QUEUE_DEPTH: u32 = 4096;
const MIB: u32 = 1 << 20;

/// A session with one logical unit of 64 MiB.
struct Peer {
    session: Connection,
    router: TaskRouter,
    device: Arc<SlowDevice>,
    next: u32,
    _orders: mpsc::Receiver<Order>,
}

impl Peer {
    fn new() -> Peer {
        let size = Some(64 << 20);
        let block_length = BlockLength::B512;
        let spec = StoreSpec { store: Store::Memory, size, block_length, read_only: false, thin: true };
        let device = Arc::new(SlowDevice::new(open(&spec).expect("memory is always there")));
        let options = LuOptions::new("volume", Identity { uuid: uuid::Uuid::from_u128(1) });
        let unit = LogicalUnit::new(options, device.clone(), StateStore::memory()).expect("nothing stored is wrong");
        let initiator = InitiatorPort { name: "iqn.2026-11.net.example:host".into(), isid: [0; 6] };
        let nexus = Nexus {
            name: NexusName { initiator, target_port: RelativeTargetPort(1) },
            session: 1,
            target_name: "iqn.2026-11.net.example:t".into(),
            portal_group: 1,
        };
        let settings = Settings {
            initial_r2t: true,
            immediate_data: true,
            first_burst_length: 65536,
            max_burst_length: MIB,
            max_outstanding_r2t: 1,
            data_in_segment_max: MIB,
            queue_depth: QUEUE_DEPTH,
            solicited_bytes_max: 8 << 20,
            keepalive: None,
        };
        let session = Connection::new(settings, CmdSn(0), StatSn(0), Instant::now());
        let (sender, orders) = mpsc::channel(ORDERS_PENDING_MAX);
        let router = TaskRouter::new(Arc::new(nexus), LunInventory::new(vec![(0, unit)]), sender, 2);
        let mut peer = Peer { session, router, device, next: 0, _orders: orders };
        peer.command(TaskAttribute::SIMPLE, &[0; 6], 0);
        assert_eq!(peer.statuses(), [(0, ScsiStatus::CHECK_CONDITION)], "the unit attention of a new nexus");
        peer
    }

    /// Its tag is its number.
    fn command(&mut self, attribute: TaskAttribute, cdb: &[u8], data_in: u32) {
        let command = ScsiCommand {
            immediate: false,
            final_: true,
            read: data_in > 0,
            write: false,
            attribute,
            priority: 0,
            lun: Lun::ZERO,
            initiator_task_tag: InitiatorTaskTag(self.next),
            expected_data_transfer_length: data_in,
            cmd_sn: CmdSn(self.next),
            exp_stat_sn: ExpStatSn(0),
            cdb: Cdb::new(cdb).expect("at most 16 bytes"),
            bidirectional_read_expected_data_transfer_length: None,
            data: Bytes::new(),
        };
        self.next += 1;
        self.session.receive(command.to_raw(), Instant::now()).expect("the connection goes on");
        self.act();
    }

    fn read(&mut self, bytes: u32) {
        let [a, b, c, d] = (bytes / 512).to_be_bytes();
        self.command(TaskAttribute::SIMPLE, &[0xA8, 0, 0, 0, 0, 0, a, b, c, d, 0, 0], bytes);
    }

    fn act(&mut self) {
        loop {
            if self.router.start_held_back(&mut self.session) {
                continue;
            }
            let Some(event) = self.session.poll_event() else { return };
            let Event::Command(arrived) = event else { panic!("only commands are sent") };
            self.router.command(arrived, &mut self.session);
        }
    }

    async fn finish(&mut self, count: usize) {
        for _ in 0..count {
            let finished = poll_fn(|context| self.router.poll_finished(context)).await;
            self.router.finish(finished, &mut self.session);
            self.act();
        }
    }

    fn statuses(&mut self) -> Vec<(u32, ScsiStatus)> {
        let responses = std::iter::from_fn(|| self.session.poll_transmit());
        responses
            .filter_map(|raw| match Response::decode(raw).expect("what a target sends decodes") {
                Response::ScsiResponse(response) => Some((response.initiator_task_tag.0, response.status)),
                Response::DataIn(data) => data.status.map(|status| (data.initiator_task_tag.0, status.status)),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

#[tokio::test]
async fn a_full_window_behind_an_ordered_command_runs_in_order_and_not_up_the_stack() {
    let mut peer = Peer::new();
    peer.device.hold(&[Operation::Read]);
    peer.read(512);
    for n in 0..QUEUE_DEPTH - 1 {
        let attribute = if n % 3 == 0 { TaskAttribute::ORDERED } else { TaskAttribute::SIMPLE };
        peer.command(attribute, &[0; 6], 0);
    }
    assert_eq!(peer.statuses(), []);
    peer.device.release();
    peer.finish(1).await;
    assert_eq!(peer.statuses(), (1..=QUEUE_DEPTH).map(|tag| (tag, ScsiStatus::GOOD)).collect::<Vec<_>>());
    assert!(peer.router.is_idle());
}

#[tokio::test]
async fn reads_that_wait_for_the_device_hold_bounded_memory() {
    let mut peer = Peer::new();
    peer.device.hold(&[Operation::Read]);
    for _ in 0..5 {
        peer.read(16 * MIB);
    }
    peer.command(TaskAttribute::SIMPLE, &[0; 6], 0);
    assert_eq!(peer.device.waiting(), 2, "32 MiB are begun");
    assert_eq!(peer.statuses(), [(6, ScsiStatus::GOOD)], "what reads nothing does not wait");
    peer.device.release();
    peer.finish(2).await;
    assert_eq!(peer.statuses().len(), 5, "the rest needs no waiting");
    assert!(peer.router.is_idle());
}

#[tokio::test]
async fn a_lun_that_goes_away_lets_what_runs_end_and_tells_the_rest() {
    let mut peer = Peer::new();
    peer.device.hold(&[Operation::Read]);
    peer.read(512);
    peer.command(TaskAttribute::ORDERED, &[0; 6], 0);
    peer.router.replace_inventory(LunInventory::default(), &mut peer.session);
    assert_eq!(peer.statuses(), [(2, ScsiStatus::CHECK_CONDITION)], "LOGICAL UNIT NOT SUPPORTED");
    peer.device.release();
    peer.finish(1).await;
    assert_eq!(peer.statuses(), [(1, ScsiStatus::GOOD)]);
    assert!(peer.router.is_idle());
}
