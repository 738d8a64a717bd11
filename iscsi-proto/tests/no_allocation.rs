//! The hot path does not allocate: headers of SCSI Command and Data-Out are read, those of Data-In and SCSI Response written, on
//! the stack.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::Framer;
use iscsi_proto::pdu::{DataIn, DataInStatus, Pdu, Request, Residual, ScsiResponse, ScsiStatus};
use iscsi_proto::types::{CmdSn, DataSn, InitiatorTaskTag, Lun, StatSn, TargetTransferTag};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of `work`, the least of several times: what other threads of the test harness allocate meanwhile does not repeat.
fn allocations(mut work: impl FnMut()) -> usize {
    let counts = (0..5).map(|_| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        work();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    });
    counts.min().unwrap_or(usize::MAX)
}

#[test]
fn hot_path_stays_on_the_stack() {
    let mut digests = Digests { header: true, data: true };
    let data = Bytes::from(vec![0x5a; 4096]);
    let data_in = DataIn {
        final_: true,
        acknowledge: false,
        status: Some(DataInStatus { status: ScsiStatus::GOOD, residual: Residual::None, stat_sn: StatSn(1) }),
        lun: Lun::ZERO,
        initiator_task_tag: InitiatorTaskTag(1),
        target_transfer_tag: TargetTransferTag::RESERVED,
        exp_cmd_sn: CmdSn(1),
        max_cmd_sn: CmdSn(1),
        data_sn: DataSn(0),
        buffer_offset: 0,
        data: data.clone(),
    };
    let response = ScsiResponse::good(InitiatorTaskTag(1));
    let encode = allocations(|| {
        for _ in 0..100 {
            let bhs = black_box(&data_in).encode_header(4096);
            black_box((digests.after_header(&bhs, &[]), digests.after_data([&data[..]])));
            black_box(black_box(&response).encode_header(0));
        }
    });
    assert_eq!(encode, 0, "encoding");

    // A SCSI Command with immediate data (a write of 512 bytes), as the standard's READ(10) but for that.
    let mut bhs = [0; 48];
    (bhs[0], bhs[1], bhs[6], bhs[32]) = (0x01, 0xa1, 2, 0x2a);
    let mut wire = BytesMut::new();
    digests.header = false;
    let pdu = iscsi_proto::pdu::RawPdu { bhs, ahs: Bytes::new(), data: data.slice(..512) };
    (0..1000).for_each(|_| digests.put(&pdu, &mut wire));
    let mut framer = Framer::new();
    framer.negotiated(digests, 8192);
    // The first split makes the buffer a shared one: once a buffer, not once a PDU.
    framer.next(&mut wire).expect("good").expect("whole");
    let decode = allocations(|| {
        for _ in 0..100 {
            let pdu = framer.next(&mut wire).expect("good").expect("whole");
            let Ok(Request::ScsiCommand(command)) = Request::decode(pdu) else { panic!("a SCSI Command") };
            assert_eq!(black_box(command).data.len(), 512);
        }
    });
    assert_eq!(decode, 0, "framing and decoding");
}
