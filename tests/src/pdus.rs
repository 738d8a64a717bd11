//! Requests of a session as an initiator sends them, and what becomes of them when bits, fields, lengths and order change.

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::pdu::{
    Cdb, DataOut, LogoutReason, LogoutRequest, NopOut, RawPdu, Request, ScsiCommand, Snack, SnackType, TaskAttribute,
    TaskManagementFunction, TaskManagementRequest, TextRequest,
};
use iscsi_proto::types::{Cid, CmdSn, DataSn, ExpStatSn, InitiatorTaskTag, Lun, TargetTransferTag};

use crate::commands;
use crate::live::{FIRST_BURST, Live, SEGMENT_MAX};
use crate::random::Random;

/// A request, right as far as a guess at the session's state can be.
pub fn valid(random: &mut Random, live: &mut Live) -> RawPdu {
    let request: Request = match random.below(100) {
        0..63 => command(random, live).into(),
        63..83 => match live.r2ts.is_empty() {
            true => command(random, live).into(),
            false => data_out(random, live).into(),
        },
        83..86 => task_management(random, live).into(),
        86..91 => text(random, live).into(),
        91..98 => nop(random, live).into(),
        98 => snack(random, live).into(),
        _ if random.once_in(20) => logout(random, live).into(),
        _ => nop(random, live).into(),
    };
    request.to_raw()
}

fn tag(random: &mut Random) -> InitiatorTaskTag {
    InitiatorTaskTag(random.word() & 0xFFFF)
}

fn known_tag(random: &mut Random, live: &Live) -> InitiatorTaskTag {
    match live.tags.is_empty() {
        true => tag(random),
        false => random.pick(&live.tags),
    }
}

fn lun(random: &mut Random) -> Lun {
    Lun::from_u16(match random.below(40) {
        0..24 => 0,
        24..36 => 1,
        36..39 => 2,
        _ => 3,
    })
    .expect("a single-level LUN")
}

fn numbered(random: &mut Random, live: &Live) -> (bool, CmdSn) {
    let ahead = if random.once_in(20) { random.below(8) as u32 } else { 0 };
    (random.once_in(10), live.expected_cmd_sn().advanced(ahead))
}

fn command(random: &mut Random, live: &Live) -> ScsiCommand {
    let command = commands::any(random);
    let (immediate, cmd_sn) = numbered(random, live);
    let expected = match random.once_in(8) {
        true => random.pick(&[0, 1, 511, 513, 4096, 65536, u32::MAX]),
        false => command.length,
    };
    let mut data = Bytes::new();
    let mut final_ = true;
    if command.is_write {
        let first_burst = expected.min(FIRST_BURST).min(SEGMENT_MAX) as usize;
        let most = if random.once_in(4) { 0 } else { first_burst };
        let mut all = command.data;
        all.resize(most.min(all.len().max(command.length as usize)), 0x5A);
        data = all.into();
        final_ = !random.once_in(10);
    }
    ScsiCommand {
        immediate,
        final_,
        read: !command.is_write && expected > 0,
        write: command.is_write,
        attribute: match random.below(64) {
            0..8 => TaskAttribute::ORDERED,
            8..14 => TaskAttribute::HEAD_OF_QUEUE,
            14..18 => TaskAttribute::UNTAGGED,
            18 => TaskAttribute::ACA,
            _ => TaskAttribute::SIMPLE,
        },
        priority: 0,
        lun: lun(random),
        initiator_task_tag: tag(random),
        expected_data_transfer_length: expected,
        cmd_sn,
        exp_stat_sn: ExpStatSn(0),
        cdb: Cdb::new(&command.cdb).expect("a CDB of 260 bytes at most"),
        bidirectional_read_expected_data_transfer_length: None,
        data,
    }
}

/// Answers an R2T, PDU by PDU as far as one PDU goes.
fn data_out(random: &mut Random, live: &mut Live) -> DataOut {
    let at = random.below(live.r2ts.len());
    let r2t = &mut live.r2ts[at];
    let length = r2t.desired_data_transfer_length.min(SEGMENT_MAX);
    let data_out = DataOut {
        final_: length == r2t.desired_data_transfer_length,
        lun: r2t.lun,
        initiator_task_tag: r2t.initiator_task_tag,
        target_transfer_tag: r2t.target_transfer_tag,
        exp_stat_sn: ExpStatSn(0),
        // R2TSN has done its work here: it counts the PDUs of the sequence.
        data_sn: DataSn(r2t.r2t_sn.0 >> 16),
        buffer_offset: r2t.buffer_offset,
        data: vec![random.byte(); length as usize].into(),
    };
    r2t.r2t_sn.0 = r2t.r2t_sn.0.wrapping_add(1 << 16) & 0xFFFF_0000;
    r2t.buffer_offset = r2t.buffer_offset.wrapping_add(length);
    r2t.desired_data_transfer_length -= length;
    if data_out.final_ {
        live.r2ts.remove(at);
    }
    data_out
}

fn task_management(random: &mut Random, live: &Live) -> TaskManagementRequest {
    let (_, cmd_sn) = numbered(random, live);
    TaskManagementRequest {
        immediate: !random.once_in(4),
        // Without TARGET COLD RESET most of the time: it ends the session.
        function: TaskManagementFunction(match random.below(40) {
            n @ 0..39 => random.pick(&[1, 1, 1, 1, 2, 2, 3, 4, 4, 5, 6, 8, 9, 9, 10, 10, 11, 12, 12, (n & 0x7F) as u8]),
            _ => 7,
        }),
        lun: lun(random),
        initiator_task_tag: tag(random),
        referenced_task_tag: known_tag(random, live),
        cmd_sn,
        exp_stat_sn: ExpStatSn(0),
        ref_cmd_sn: cmd_sn.advanced(random.below(4) as u32),
        exp_data_sn: DataSn(0),
    }
}

fn text(random: &mut Random, live: &Live) -> TextRequest {
    let (immediate, cmd_sn) = numbered(random, live);
    let pairs: [&[u8]; 6] = [
        b"SendTargets=All\0",
        b"SendTargets=\0",
        b"MaxRecvDataSegmentLength=8192\0",
        b"X-com.example.key=1\0",
        b"InitiatorAlias=a\0",
        b"InitialR2T=Yes\0",
    ];
    let data: Vec<u8> = (0..random.below(3)).flat_map(|_| random.pick(&pairs).iter().copied()).collect();
    TextRequest {
        immediate,
        final_: !random.once_in(4),
        continue_: random.once_in(8),
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag(random.below(3) as u32),
        target_transfer_tag: if random.once_in(2) {
            TargetTransferTag::RESERVED
        } else {
            TargetTransferTag(random.below(100) as u32)
        },
        cmd_sn,
        exp_stat_sn: ExpStatSn(0),
        data: data.into(),
    }
}

fn nop(random: &mut Random, live: &Live) -> NopOut {
    let (immediate, cmd_sn) = numbered(random, live);
    let length = if random.once_in(10) { random.below(SEGMENT_MAX as usize) } else { random.below(16) };
    NopOut {
        immediate,
        lun: Lun::ZERO,
        initiator_task_tag: tag(random),
        target_transfer_tag: TargetTransferTag::RESERVED,
        cmd_sn,
        exp_stat_sn: ExpStatSn(0),
        data: vec![0x50; length].into(),
    }
}

fn snack(random: &mut Random, live: &Live) -> Snack {
    Snack {
        kind: SnackType(random.below(4) as u8),
        lun: lun(random),
        initiator_task_tag: known_tag(random, live),
        target_transfer_tag: TargetTransferTag::RESERVED,
        exp_stat_sn: ExpStatSn(0),
        beg_run: random.below(4) as u32,
        run_length: random.below(4) as u32,
    }
}

fn logout(random: &mut Random, live: &Live) -> LogoutRequest {
    let (immediate, cmd_sn) = numbered(random, live);
    LogoutRequest {
        immediate,
        reason: LogoutReason(random.below(3) as u8),
        initiator_task_tag: tag(random),
        cid: Cid(0),
        cmd_sn,
        exp_stat_sn: ExpStatSn(0),
    }
}

/// Changes one to four things, and puts the PDU on the wire. Digests are made anew, but for one in fifty.
pub fn mutated(random: &mut Random, mut pdu: RawPdu, digests: Digests, wire: &mut BytesMut) {
    let mut data = pdu.data.to_vec();
    for _ in 0..random.pick(&[1, 1, 1, 2, 4]) {
        match random.below(12) {
            0..3 => pdu.bhs[place(random)] ^= 1 << random.below(8),
            3..5 => pdu.bhs[place(random)] = random.byte(),
            5..8 => word(random, &mut pdu.bhs[..]),
            8 if data.is_empty() => data = random.bytes(1 + 8),
            8 => {
                let at = random.below(data.len());
                data[at] = random.byte();
            }
            9 => data.truncate(random.below(data.len() + 1)),
            10 => data.resize(data.len() + random.below(64), 0),
            _ => {
                let words = random.below(5);
                let mut ahs = random.bytes(4 * words);
                if let Some(header) = ahs.first_chunk_mut::<3>() {
                    // A length that fits, and one of the types there are or another.
                    *header = [0, (4 * words - 3) as u8, random.byte() & 3];
                }
                pdu.ahs = ahs.into();
            }
        }
    }
    data.truncate(SEGMENT_MAX as usize);
    // The lengths tell what is there, but for a few.
    if !random.once_in(60) {
        pdu.bhs[4] = (pdu.ahs.len() / 4) as u8;
        pdu.bhs[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
    }
    pdu.data = data.into();
    let start = wire.len();
    digests.put(&pdu, wire);
    if random.once_in(50) {
        let at = start + random.below(wire.len() - start);
        wire[at] ^= 1 << random.below(8);
    }
}

/// A byte of the BHS; its lengths are seen to elsewhere.
fn place(random: &mut Random) -> usize {
    random.pick(&[
        0, 1, 1, 2, 3, 9, 16, 22, 27, 31, 19, 20, 23, 24, 27, 28, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
        47,
    ])
}

/// A field of four bytes becomes one of the values at which things go wrong.
fn word(random: &mut Random, bhs: &mut [u8]) {
    let at = random.pick(&[16, 20, 20, 24, 24, 28, 32, 36, 36, 40, 40, 44, 8]);
    let field: &mut [u8; 4] = bhs[at..].first_chunk_mut().expect("within the BHS");
    let value = u32::from_be_bytes(*field);
    let interesting =
        [0, 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX, value.wrapping_add(1), value.wrapping_sub(1), value << 8];
    *field = random.pick(&interesting).to_be_bytes();
}
