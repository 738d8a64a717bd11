//! Headers of the data path, read and written: what each command and each of its answers costs before anything is done.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::Framer;
use iscsi_proto::pdu::{
    Cdb, DataIn, DataInStatus, DataOut, Pdu, RawPdu, Request, Residual, Response, ScsiCommand, ScsiResponse,
    ScsiStatus, TaskAttribute,
};
use iscsi_proto::types::{CmdSn, DataSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

fn command() -> ScsiCommand {
    ScsiCommand {
        immediate: false,
        final_: true,
        read: true,
        write: false,
        attribute: TaskAttribute::SIMPLE,
        priority: 0,
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag(7),
        expected_data_transfer_length: 4096,
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(1),
        // READ (16) of 8 blocks.
        cdb: Cdb::new(&[0x88, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 8, 0, 0]).expect("16 bytes"),
        bidirectional_read_expected_data_transfer_length: None,
        data: Bytes::new(),
    }
}

fn data_in() -> DataIn {
    DataIn {
        final_: true,
        acknowledge: false,
        status: Some(DataInStatus { status: ScsiStatus::GOOD, residual: Residual::None, stat_sn: StatSn(1) }),
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag(7),
        target_transfer_tag: TargetTransferTag::RESERVED,
        exp_cmd_sn: CmdSn(1),
        max_cmd_sn: CmdSn(128),
        data_sn: DataSn(0),
        buffer_offset: 0,
        data: vec![0x5a; 4096].into(),
    }
}

fn data_out() -> DataOut {
    DataOut {
        final_: true,
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag(7),
        target_transfer_tag: TargetTransferTag(3),
        exp_stat_sn: StatSn(1),
        data_sn: DataSn(0),
        buffer_offset: 0,
        data: vec![0x5a; 4096].into(),
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let (command, data_in, data_out) = (command(), data_in(), data_out());
    let response = ScsiResponse::good(InitiatorTaskTag(7));
    group.bench_function("SCSI Command", |b| b.iter(|| black_box(&command).encode_header(0)));
    group.bench_function("SCSI Data-In", |b| b.iter(|| black_box(&data_in).encode_header(4096)));
    group.bench_function("SCSI Data-Out", |b| b.iter(|| black_box(&data_out).encode_header(4096)));
    group.bench_function("SCSI Response", |b| b.iter(|| black_box(&response).encode_header(0)));
    group.finish();
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    // A clone counts a reference up, which a PDU off the socket is spared.
    let request = |pdu: &RawPdu| Request::decode(black_box(pdu).clone());
    let response = |pdu: &RawPdu| Response::decode(black_box(pdu).clone());
    let (command, data_in, data_out) = (command().to_raw(), data_in().to_raw(), data_out().to_raw());
    let good = ScsiResponse::good(InitiatorTaskTag(7)).to_raw();
    group.bench_function("SCSI Command", |b| b.iter(|| request(&command)));
    group.bench_function("SCSI Data-In", |b| b.iter(|| response(&data_in)));
    group.bench_function("SCSI Data-Out", |b| b.iter(|| request(&data_out)));
    group.bench_function("SCSI Response", |b| b.iter(|| response(&good)));
    group.finish();
}

/// Bytes to PDUs, 32 commands of one receive; the copy that fills the buffer anew is in it.
fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame and parse");
    group.throughput(Throughput::Elements(32));
    for (name, digests) in [("no digests", Digests::NONE), ("digests", Digests { header: true, data: true })] {
        let mut wire = BytesMut::new();
        (0..32).for_each(|_| digests.put(&command().to_raw(), &mut wire));
        let mut framer = Framer::new();
        framer.negotiated(digests, 8192);
        let mut buffer = BytesMut::with_capacity(2 * wire.len());
        group.bench_function(format!("32 SCSI Commands, {name}"), |b| {
            b.iter(|| {
                buffer.extend_from_slice(&wire);
                while let Some(pdu) = framer.next(&mut buffer).expect("what put wrote is good") {
                    drop(black_box(Request::decode(pdu)));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode, parse, frame);
criterion_main!(benches);
