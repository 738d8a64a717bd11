//! A session from its framer to its logical units, in this process: no socket between whoever sends and what is tested.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::BytesMut;
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::{FrameError, Framer};
use iscsi_proto::pdu::{LogoutResponseCode, R2t, RejectReason, Response, ScsiStatus, TextRequest};
use iscsi_proto::session::{Connection, Event, Settings};
use iscsi_proto::text::{Received, SessionType, TextExchange, TextPart};
use iscsi_proto::types::{CmdSn, InitiatorTaskTag, Lun, StatSn};
use target_core::block::{BlockLength, Store, StoreSpec, open};
use target_core::lu::LogicalUnit;
use target_core::lu::inventory::LunInventory;
use target_core::lu::nexus::{InitiatorPort, Nexus, NexusName, RelativeTargetPort};
use target_core::lu::options::{LuOptions, TargetPort};
use target_core::lu::orders::{ORDERS_PENDING_MAX, Order};
use target_core::lu::persist::{Identity, StateStore};
use target_core::target::router::{Afterwards, TaskRouter};
use tokio::sync::mpsc;

use crate::judge::Judge;

/// Blocks of every unit: small, so that commands of all of it are many.
pub const BLOCKS: u32 = 2048;
const TARGET: &str = "iqn.2026-11.net.example:live";

/// MaxRecvDataSegmentLength, both ways, and the bursts: small, so that there are many of each.
pub const SEGMENT_MAX: u32 = 8192;
pub const FIRST_BURST: u32 = 16384;
pub const BURST_MAX: u32 = 32768;
const QUEUE_DEPTH: u32 = 32;
const SOLICITED_MAX: u64 = 128 << 10;

/// Logical units over memory: thin and removable, 4096-byte blocks, read-only, with descriptor sense and long CDBs.
pub fn units() -> LunInventory {
    let unit = |lun: u16, block_length: BlockLength, edit: fn(&mut LuOptions)| {
        let mut options = LuOptions::new(&format!("unit-{lun}"), Identity { uuid: uuid::Uuid::from_u128(lun.into()) });
        options.naa = Some(naa(lun).to_vec());
        edit(&mut options);
        let size = Some(u64::from(BLOCKS) * u64::from(block_length.bytes()));
        let (read_only, thin) = (options.read_only, options.thin);
        let device = open(&StoreSpec { store: Store::Memory, size, block_length, read_only, thin }).expect("memory");
        let unit = LogicalUnit::new(options, device, StateStore::memory()).expect("nothing stored is wrong");
        let port = |relative| TargetPort {
            relative: RelativeTargetPort(relative),
            group: relative,
            target_name: TARGET.into(),
            portal_group: relative,
        };
        unit.set_target_ports(vec![port(1), port(2)]);
        let lun = Lun::from_u16(lun).expect("a single-level LUN");
        (u64::from_be_bytes(lun.0), unit)
    };
    LunInventory::new(vec![
        unit(0, BlockLength::B512, |options| {
            (options.thin, options.removable, options.physical_block_exponent) = (true, true, 3);
        }),
        unit(1, BlockLength::B4096, |options| options.long_cdbs = true),
        unit(2, BlockLength::B512, |options| options.read_only = true),
    ])
}

/// NAA 3h, the designator of a unit.
pub fn naa(lun: u16) -> [u8; 8] {
    [0x30, 0, 0, 0, 0, 0, 0, lun as u8]
}

/// The target's end of a session, and its judge.
pub struct Live {
    session: Connection,
    framer: Framer,
    received: BytesMut,
    router: TaskRouter,
    text: TextExchange,
    orders: mpsc::Receiver<Order>,
    judge: Judge,
    now: Instant,
    pub digests: Digests,
    /// R2Ts not answered yet, the last few of them.
    pub r2ts: Vec<R2t>,
    /// Tags of answers, the last few of them.
    pub tags: Vec<InitiatorTaskTag>,
    /// PDUs the framer gave to the session.
    pub taken: u64,
    pub answers: Answers,
    /// Nothing more comes of it.
    pub is_over: bool,
}

/// PDUs of the target, by what they say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    pub good: u64,
    pub not_good: u64,
    pub r2ts: u64,
    pub rejects: u64,
    pub others: u64,
}

impl Answers {
    fn count(&mut self, response: &Response) {
        let kind = match response {
            Response::ScsiResponse(response) if response.status == ScsiStatus::GOOD => &mut self.good,
            Response::ScsiResponse(_) => &mut self.not_good,
            Response::DataIn(data_in) if data_in.status.is_some() => &mut self.good,
            Response::R2t(_) => &mut self.r2ts,
            Response::Reject(_) => &mut self.rejects,
            _ => &mut self.others,
        };
        *kind += 1;
    }

    pub fn add(&mut self, more: &Answers) {
        self.good += more.good;
        self.not_good += more.not_good;
        self.r2ts += more.r2ts;
        self.rejects += more.rejects;
        self.others += more.others;
    }
}

/// What is kept to refer to.
const KEPT_MAX: usize = 16;

impl Live {
    pub fn new(units: &LunInventory, number: u64, digests: Digests, initial_r2t: bool) -> Live {
        let settings = Settings {
            initial_r2t,
            immediate_data: true,
            first_burst_length: FIRST_BURST,
            max_burst_length: BURST_MAX,
            max_outstanding_r2t: 2,
            data_in_segment_max: SEGMENT_MAX,
            queue_depth: QUEUE_DEPTH,
            solicited_bytes_max: SOLICITED_MAX,
            keepalive: None,
        };
        // Near the wrap, so that it is passed.
        let (cmd_sn, stat_sn) = (CmdSn(u32::MAX - 20), StatSn(u32::MAX - 40));
        let now = Instant::now();
        let initiator =
            InitiatorPort { name: format!("iqn.2026-11.net.example:{}", number % 3).into(), isid: [0x80; 6] };
        let nexus = Nexus {
            name: NexusName { initiator, target_port: RelativeTargetPort(1 + (number % 2) as u16) },
            session: number,
            target_name: TARGET.into(),
            portal_group: 1 + (number % 2) as u16,
        };
        let (orders_in, orders) = mpsc::channel(ORDERS_PENDING_MAX);
        let mut framer = Framer::new();
        framer.negotiated(digests, SEGMENT_MAX);
        Live {
            session: Connection::new(settings, cmd_sn, stat_sn, now),
            framer,
            received: BytesMut::new(),
            router: TaskRouter::new(Arc::new(nexus), units.clone(), orders_in, 2),
            text: TextExchange::new(SessionType::Normal),
            orders,
            judge: Judge::new(stat_sn, cmd_sn, QUEUE_DEPTH, SEGMENT_MAX, BURST_MAX),
            now,
            digests,
            r2ts: Vec::new(),
            tags: Vec::new(),
            taken: 0,
            answers: Answers::default(),
            is_over: false,
        }
    }

    pub fn expected_cmd_sn(&self) -> CmdSn {
        self.session.expected_cmd_sn()
    }

    /// Bytes off the wire, and all that follows of them. What the target did wrong.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.received.extend_from_slice(bytes);
        while !self.is_over {
            match self.framer.next(&mut self.received) {
                Ok(Some(pdu)) => {
                    self.taken += 1;
                    self.is_over |= self.session.receive(pdu, self.now).is_err();
                }
                Ok(None) => break,
                Err(FrameError::DataDigest(error)) => {
                    self.taken += 1;
                    self.session.receive_damaged(error, self.now);
                }
                Err(_) => self.is_over = true,
            }
            self.settle()?;
        }
        let most = SEGMENT_MAX as usize + 512;
        match self.framer.wanted() <= most {
            true => Ok(()),
            false => Err(format!("the framer wants {} bytes", self.framer.wanted())),
        }
    }

    /// Acts on everything that can be acted on now.
    pub fn settle(&mut self) -> Result<(), String> {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            while let Ok(order) = self.orders.try_recv() {
                let afterwards = self.router.order(order, &mut self.session);
                self.afterwards(afterwards);
            }
            let acted = self.router.start_held_back(&mut self.session) || self.act();
            self.transmit()?;
            if acted {
                continue;
            }
            match self.router.poll_finished(&mut context) {
                std::task::Poll::Ready(finished) => {
                    let afterwards = self.router.finish(finished, &mut self.session);
                    self.afterwards(afterwards);
                }
                std::task::Poll::Pending => break,
            }
        }
        self.transmit()
    }

    fn act(&mut self) -> bool {
        let Some(event) = self.session.poll_event() else { return false };
        match event {
            Event::Command(arrived) => self.router.command(arrived, &mut self.session),
            Event::Data { task, data } => self.router.data(task, data, &mut self.session),
            Event::DataFault { task, fault } => self.router.data_fault(task, fault, &mut self.session),
            Event::TaskManagement(request) => {
                let afterwards = self.router.task_management(request, &mut self.session);
                self.afterwards(afterwards);
            }
            Event::Text(request) => self.text(&request),
            Event::Logout(request) => {
                self.session.respond_logout(&request, LogoutResponseCode::CLOSED_SUCCESSFULLY);
                self.is_over = true;
            }
        }
        true
    }

    fn text(&mut self, request: &TextRequest) {
        let part = TextPart {
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag: request.target_transfer_tag,
            is_final: request.final_,
            more_follows: request.continue_,
            data: &request.data,
        };
        let reply = match self.text.receive(part, self.session.fresh_transfer_tag(), SEGMENT_MAX) {
            Ok(Received::Reply(reply)) => reply,
            Ok(Received::SendTargets(_)) => match self.text.answer_send_targets(Vec::new(), SEGMENT_MAX) {
                Some(reply) => reply,
                None => return,
            },
            Err(_) => return self.session.reject_text(request, RejectReason::PROTOCOL_ERROR),
        };
        let (tag, data) = (reply.target_transfer_tag, reply.data);
        self.session.respond_text(request, tag, reply.is_final, reply.more_follows, data);
    }

    fn afterwards(&mut self, afterwards: Afterwards) {
        self.is_over |= afterwards == Afterwards::EndSessionsOfTarget;
    }

    fn transmit(&mut self) -> Result<(), String> {
        while let Some(pdu) = self.session.poll_transmit() {
            let response = self.judge.observe(pdu)?;
            self.answers.count(&response);
            match response {
                Response::R2t(r2t) => keep(&mut self.r2ts, r2t),
                Response::ScsiResponse(response) => {
                    self.r2ts.retain(|r2t| r2t.initiator_task_tag != response.initiator_task_tag);
                    keep(&mut self.tags, response.initiator_task_tag);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Its end: what runs comes to an end as well.
    pub async fn end(mut self) {
        self.router.abort_everything(&mut self.session);
        self.router.drain().await;
    }
}

fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() == KEPT_MAX {
        kept.remove(0);
    }
    kept.push(one);
}
