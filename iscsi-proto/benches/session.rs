//! One command through the target's session machine, from its decoded PDU to the PDU that ends it: numbers, window, transfer,
//! residuals. Neither socket nor device.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use iscsi_proto::pdu::{Cdb, DataOut, Pdu, R2t, Response, ScsiCommand, TaskAttribute};
use iscsi_proto::session::{Answer, Connection, Event, Settings};
use iscsi_proto::types::{CmdSn, DataSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

const BLOCK: u32 = 4096;

/// A session, and the initiator's numbers in it.
struct Bench {
    target: Connection,
    cmd_sn: CmdSn,
    now: Instant,
    data: Bytes,
}

impl Bench {
    fn new() -> Bench {
        let settings = Settings {
            initial_r2t: false,
            immediate_data: true,
            first_burst_length: 256 << 10,
            max_burst_length: 1 << 20,
            max_outstanding_r2t: 1,
            data_in_segment_max: 256 << 10,
            queue_depth: 128,
            solicited_bytes_max: 8 << 20,
            keepalive: None,
        };
        let (now, cmd_sn) = (Instant::now(), CmdSn(1));
        let target = Connection::new(settings, cmd_sn, StatSn(1), now);
        Bench { target, cmd_sn, now, data: vec![0x5a; BLOCK as usize].into() }
    }

    fn command(&mut self, write: bool, immediate: Bytes) -> InitiatorTaskTag {
        let tag = InitiatorTaskTag(self.cmd_sn.0 & 0xff);
        let command = ScsiCommand {
            immediate: false,
            final_: true,
            read: !write,
            write,
            attribute: TaskAttribute::SIMPLE,
            priority: 0,
            lun: Lun::ZERO,
            initiator_task_tag: tag,
            expected_data_transfer_length: BLOCK,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: StatSn(1),
            cdb: Cdb::new(&[0x88; 16]).expect("16 bytes"),
            bidirectional_read_expected_data_transfer_length: None,
            data: immediate,
        };
        self.cmd_sn = self.cmd_sn.next();
        self.target.receive(command.to_raw(), self.now).expect("the connection goes on");
        tag
    }

    fn event(&mut self) -> Event {
        self.target.poll_event().expect("something happened")
    }

    fn end(&mut self, tag: InitiatorTaskTag, data_in: Bytes) {
        let answer = Answer { data_in, transfer_length: BLOCK.into(), ..Answer::default() };
        self.target.respond(tag, answer);
        black_box(self.target.poll_transmit().expect("the command is answered"));
        self.target.taken(self.now);
    }

    fn read(&mut self) {
        let tag = self.command(false, Bytes::new());
        assert!(matches!(self.event(), Event::Command(_)));
        self.end(tag, self.data.clone());
    }

    fn write_immediate(&mut self) {
        let tag = self.command(true, self.data.clone());
        assert!(matches!(self.event(), Event::Command(_)));
        self.end(tag, Bytes::new());
    }

    fn write_solicited(&mut self) {
        let tag = self.command(true, Bytes::new());
        assert!(matches!(self.event(), Event::Command(_)));
        assert!(self.target.solicit(tag, BLOCK.into()).is_none(), "none of it is here");
        let r2t: R2t = match self.target.poll_transmit().map(Response::decode) {
            Some(Ok(Response::R2t(r2t))) => r2t,
            other => panic!("an R2T, not {other:?}"),
        };
        let data_out = DataOut {
            final_: true,
            lun: Lun::ZERO,
            initiator_task_tag: tag,
            target_transfer_tag: TargetTransferTag(r2t.target_transfer_tag.0),
            exp_stat_sn: StatSn(1),
            data_sn: DataSn(0),
            buffer_offset: 0,
            data: self.data.clone(),
        };
        self.target.receive(data_out.to_raw(), self.now).expect("the connection goes on");
        assert!(matches!(self.event(), Event::Data { .. }));
        self.end(tag, Bytes::new());
    }
}

fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("session, 4 KiB");
    let mut run = |name, command: fn(&mut Bench)| {
        let mut bench = Bench::new();
        group.bench_function(name, |b| b.iter(|| command(&mut bench)));
    };
    run("READ", Bench::read);
    run("WRITE, immediate data", Bench::write_immediate);
    run("WRITE, R2T", Bench::write_solicited);
    group.finish();
}

criterion_group!(benches, commands);
criterion_main!(benches);
