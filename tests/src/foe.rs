//! An initiator that logs in properly and then keeps its own counsel about what it sends.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::initiator::Options;
use iscsi_proto::pdu::{
    Cdb, DataOut, NopOut, R2t, Request, Response, ScsiCommand, ScsiResponse, TaskAttribute, TaskManagementFunction,
    TaskManagementRequest,
};
use iscsi_proto::types::{CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Isid, Lun, TargetTransferTag};

use crate::initiator::{Error, Session};
use crate::ordeal::ATTACKED;

pub struct Foe {
    session: Session,
    /// Of its next numbered request.
    pub cmd_sn: CmdSn,
    next_tag: u32,
}

/// A login like any other; `number` makes it a session of its own.
pub fn options(number: u32) -> Options {
    let [a, b, c, d] = number.to_be_bytes();
    Options { isid: Isid([0x80, a, b, c, d, 0]), ..Options::normal("iqn.2026-11.net.example:foe", ATTACKED) }
}

impl Foe {
    /// Logged in, its first unit attentions behind it.
    pub fn login(address: SocketAddr, options: Options) -> Foe {
        let mut session = Session::login(address, options).expect("whoever is let in may log in");
        for lun in [0, 1] {
            session.command(lun, &[0; 6], "", 0).expect("TEST UNIT READY is answered");
        }
        let cmd_sn = session.initiator().cmd_sn();
        Foe { session, cmd_sn, next_tag: 0x0BAD_0000 }
    }

    pub fn stream(&mut self) -> &TcpStream {
        self.session.connection().stream()
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.session.connection().set_patience(patience).expect("a patience above zero");
    }

    pub fn new_tag(&mut self) -> InitiatorTaskTag {
        self.next_tag += 1;
        InitiatorTaskTag(self.next_tag)
    }

    /// The next command, W or R, without data of its own.
    pub fn command(&mut self, lun: u16, cdb: &[u8], write: bool, length: u32) -> ScsiCommand {
        let cmd_sn = self.cmd_sn;
        self.cmd_sn = cmd_sn.next();
        ScsiCommand {
            immediate: false,
            final_: true,
            read: !write && length > 0,
            write,
            attribute: TaskAttribute::SIMPLE,
            priority: 0,
            lun: Lun::from_u16(lun).expect("a single-level LUN"),
            initiator_task_tag: self.new_tag(),
            expected_data_transfer_length: length,
            cmd_sn,
            exp_stat_sn: ExpStatSn(0),
            cdb: Cdb::new(cdb).expect("a CDB of 260 bytes at most"),
            bidirectional_read_expected_data_transfer_length: None,
            data: Bytes::new(),
        }
    }

    /// A WRITE(10) of that many blocks at LBA 0, whose data is to be asked for.
    pub fn write(&mut self, lun: u16, blocks: u16) -> ScsiCommand {
        self.command(lun, &crate::bystander::write10(0, blocks), true, u32::from(blocks) * 512)
    }

    pub fn read(&mut self, lun: u16, blocks: u16) -> ScsiCommand {
        self.command(lun, &crate::bystander::read10(0, blocks), false, u32::from(blocks) * 512)
    }

    pub fn nop(&mut self, data: impl Into<Bytes>) -> NopOut {
        NopOut {
            immediate: true,
            lun: Lun::ZERO,
            initiator_task_tag: self.new_tag(),
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: ExpStatSn(0),
            data: data.into(),
        }
    }

    /// Immediate.
    pub fn task_management(&mut self, function: TaskManagementFunction, lun: u16) -> TaskManagementRequest {
        TaskManagementRequest {
            immediate: true,
            function,
            lun: Lun::from_u16(lun).expect("a single-level LUN"),
            initiator_task_tag: self.new_tag(),
            referenced_task_tag: InitiatorTaskTag::RESERVED,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: ExpStatSn(0),
            ref_cmd_sn: CmdSn(0),
            exp_data_sn: DataSn(0),
        }
    }

    pub fn send(&mut self, request: impl Into<Request>) -> Result<(), Error> {
        self.session.raw_send(request)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.session.raw_send_bytes(bytes)
    }

    pub fn recv(&mut self) -> Response {
        self.session.raw_recv().expect("an answer")
    }

    pub fn try_recv(&mut self) -> Result<Response, Error> {
        self.session.raw_recv()
    }

    /// The next R2T; whatever comes before it is forgotten.
    pub fn r2t(&mut self) -> R2t {
        loop {
            if let Response::R2t(r2t) = self.recv() {
                return r2t;
            }
        }
    }

    /// The SCSI Response to a command; whatever comes before it is forgotten.
    pub fn response(&mut self, tag: InitiatorTaskTag) -> ScsiResponse {
        loop {
            match self.recv() {
                Response::ScsiResponse(response) if response.initiator_task_tag == tag => return response,
                _ => {}
            }
        }
    }

    /// A NOP-Out and its echo: the session is well, and everything sent before it has been looked at.
    pub fn ping(&mut self) {
        let nop = self.nop("ping");
        let tag = nop.initiator_task_tag;
        self.send(nop).expect("the connection is open");
        loop {
            match self.recv() {
                Response::NopIn(echo) if echo.initiator_task_tag == tag => return assert_eq!(&echo.data[..], b"ping"),
                _ => {}
            }
        }
    }

    /// Reads until the target closes; false if it does not.
    pub fn is_closed(&mut self) -> bool {
        self.session.connection().expect_close().is_ok()
    }
}

/// A Data-Out that answers an R2T in full, to be spoilt.
pub fn data_out(r2t: &R2t) -> DataOut {
    DataOut {
        final_: true,
        lun: r2t.lun,
        initiator_task_tag: r2t.initiator_task_tag,
        target_transfer_tag: r2t.target_transfer_tag,
        exp_stat_sn: ExpStatSn(0),
        data_sn: DataSn(0),
        buffer_offset: r2t.buffer_offset,
        data: Bytes::from(vec![0x5A; r2t.desired_data_transfer_length as usize]),
    }
}

/// What a request is on the wire, without digests.
pub fn wire(request: impl Into<Request>) -> BytesMut {
    let mut bytes = BytesMut::new();
    Digests::NONE.put(&request.into().to_raw(), &mut bytes);
    bytes
}

/// A BHS of that opcode, immediate, that announces so many bytes to follow.
pub fn header(opcode: u8, ahs_words: u8, data_segment_length: u32) -> [u8; 48] {
    let mut bhs = [0; 48];
    bhs[0] = opcode | 0x40;
    bhs[1] = 0x80;
    bhs[4] = ahs_words;
    bhs[5..8].copy_from_slice(&data_segment_length.to_be_bytes()[1..]);
    bhs[16..20].copy_from_slice(&7_u32.to_be_bytes());
    bhs[20..24].fill(0xFF);
    bhs
}

/// Sense key, ASC and ASCQ of a CHECK CONDITION.
pub fn sense(response: &ScsiResponse) -> (u8, u8, u8) {
    // RFC 7143 §11.4.7.2: SenseLength, then the sense data; the tests' daemon answers in fixed format.
    let sense = response.data.get(2..).expect("a CHECK CONDITION has sense data");
    (sense[2] & 0x0F, sense[12], sense[13])
}
