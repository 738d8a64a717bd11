//! Every command the target knows, parsed: the one vocabulary between the opcode table (`opcodes`), which makes a
//! [`Request`] of a CDB, and the device server (`lu`), which executes it.
//!
//! Addresses are as the initiator sent them, not yet checked against a capacity. ALLOCATION LENGTH and PARAMETER LIST
//! LENGTH are bytes; transfer lengths are logical blocks.

/// LBA and number of logical blocks as a CDB or descriptor has them; `Extent::new` is the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LbaRange {
    pub lba: u64,
    pub blocks: u64,
}

/// BYTCHK of VERIFY and WRITE AND VERIFY (SBC-4 §5.36).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteCheck {
    /// 00b: medium verification only, no Data-Out.
    MediumOnly,
    /// 01b: compare with as many blocks of Data-Out.
    Compare,
    /// 11b: compare each block with the one block of Data-Out. VERIFY only.
    CompareOneBlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteSame {
    pub range: LbaRange,
    pub unmap: bool,
    pub anchor: bool,
    /// No Data-Out buffer: the block is all zeroes.
    pub no_data_out: bool,
}

/// PAGE CONTROL of MODE SENSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageControl {
    Current,
    Changeable,
    Default,
    Saved,
}

/// PAGE CONTROL of LOG SENSE (SPC-5 table 189).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPageControl {
    Threshold,
    Cumulative,
    DefaultThreshold,
    DefaultCumulative,
}

/// PERSISTENT RESERVE IN service action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrIn {
    ReadKeys,
    ReadReservation,
    ReportCapabilities,
    ReadFullStatus,
}

/// PERSISTENT RESERVE OUT service action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrOut {
    Register,
    Reserve,
    Release,
    Clear,
    Preempt,
    PreemptAndAbort,
    RegisterAndIgnoreExistingKey,
    RegisterAndMove,
}

/// RECEIVE COPY RESULTS service action (opcode 84h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveCopy {
    /// 00h, LIST IDENTIFIER of 8 bits.
    StatusLid1 { list_id: u8 },
    /// 01h.
    DataLid1 { list_id: u8 },
    /// 03h.
    OperatingParameters,
    /// 04h.
    FailedSegmentDetailsLid1 { list_id: u8 },
    /// 05h, LIST IDENTIFIER of 32 bits.
    StatusLid4 { list_id: u32 },
}

/// REPORTING OPTIONS of REPORT SUPPORTED OPERATION CODES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportingOptions {
    All,
    /// 001b: one opcode without service actions.
    Opcode {
        opcode: u8,
    },
    /// 010b: one opcode with service actions.
    ServiceAction {
        opcode: u8,
        service_action: u16,
    },
    /// 011b: either.
    Either {
        opcode: u8,
        service_action: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanitizeAction {
    Overwrite,
    BlockErase,
    CryptographicErase,
    ExitFailureMode,
}

/// MODE field of READ BUFFER and WRITE BUFFER, what of it is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferMode {
    /// 02h
    Data,
    /// 03h, READ BUFFER only
    Descriptor,
    /// 0Ah
    EchoBuffer,
    /// 0Bh, READ BUFFER only
    EchoBufferDescriptor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    // SPC
    TestUnitReady,
    RequestSense {
        descriptor_format: bool,
        allocation_length: u32,
    },
    /// `page_code`: `Some` with EVPD set.
    Inquiry {
        page_code: Option<u8>,
        allocation_length: u32,
    },
    ReportLuns {
        select_report: u8,
        allocation_length: u32,
    },
    ModeSense {
        long_header: bool,
        disable_block_descriptors: bool,
        long_lba_accepted: bool,
        control: PageControl,
        page: u8,
        subpage: u8,
        allocation_length: u32,
    },
    ModeSelect {
        long_header: bool,
        page_format: bool,
        save_pages: bool,
        parameter_list_length: u32,
    },
    LogSense {
        control: LogPageControl,
        page: u8,
        subpage: u8,
        parameter_pointer: u16,
        allocation_length: u32,
    },
    Reserve {
        long: bool,
    },
    Release {
        long: bool,
    },
    PersistentReserveIn {
        action: PrIn,
        allocation_length: u32,
    },
    PersistentReserveOut {
        action: PrOut,
        scope: u8,
        kind: u8,
        parameter_list_length: u32,
    },
    ReportTargetPortGroups {
        extended_header: bool,
        allocation_length: u32,
    },
    SetTargetPortGroups {
        parameter_list_length: u32,
    },
    ReportSupportedOpcodes {
        options: ReportingOptions,
        timeouts: bool,
        allocation_length: u32,
    },
    ReportSupportedTaskManagement {
        extended: bool,
        allocation_length: u32,
    },
    ReportIdentifyingInformation {
        information_type: u8,
        allocation_length: u32,
    },
    SetIdentifyingInformation {
        information_type: u8,
        parameter_list_length: u32,
    },
    ReportTimestamp {
        allocation_length: u32,
    },
    SetTimestamp {
        parameter_list_length: u32,
    },
    SendDiagnostic {
        self_test: bool,
        self_test_code: u8,
        parameter_list_length: u32,
    },
    ReadBuffer {
        mode: BufferMode,
        buffer_id: u8,
        offset: u32,
        allocation_length: u32,
    },
    WriteBuffer {
        mode: BufferMode,
        buffer_id: u8,
        offset: u32,
        parameter_list_length: u32,
    },
    ExtendedCopy {
        lid4: bool,
        parameter_list_length: u32,
    },
    ReceiveCopyResults {
        action: ReceiveCopy,
        allocation_length: u32,
    },
    /// Accept: PREVENT = 01b.
    PreventAllowMediumRemoval {
        prevent: bool,
    },
    StartStopUnit {
        immediate: bool,
        power_condition: u8,
        no_flush: bool,
        load_eject: bool,
        start: bool,
    },

    // SBC
    ReadCapacity10,
    ReadCapacity16 {
        allocation_length: u32,
    },
    Read {
        range: LbaRange,
        fua: bool,
    },
    Write {
        range: LbaRange,
        fua: bool,
    },
    WriteAndVerify {
        range: LbaRange,
        check: ByteCheck,
    },
    WriteAtomic {
        range: LbaRange,
        fua: bool,
        boundary: u16,
    },
    OrWrite {
        range: LbaRange,
        fua: bool,
    },
    /// `range.blocks` blocks to compare, as many to write: Data-Out is twice that.
    CompareAndWrite {
        range: LbaRange,
        fua: bool,
    },
    Verify {
        range: LbaRange,
        check: ByteCheck,
    },
    WriteSame(WriteSame),
    Unmap {
        anchor: bool,
        parameter_list_length: u32,
    },
    GetLbaStatus {
        lba: u64,
        allocation_length: u32,
    },
    SynchronizeCache {
        range: LbaRange,
        immediate: bool,
    },
    PreFetch {
        range: LbaRange,
        immediate: bool,
    },
    ReadDefectData {
        long: bool,
        primary_list: bool,
        grown_list: bool,
        format: u8,
        allocation_length: u32,
    },
    /// The CDB has no PARAMETER LIST LENGTH: Data-Out is what the transport says it is.
    FormatUnit {
        format_data: bool,
        long_list: bool,
        format_protection: u8,
        /// The least Data-Out there must be: the header, where FMTDATA is set.
        parameter_list_length: u32,
    },
    Sanitize {
        action: SanitizeAction,
        immediate: bool,
        unrestricted_exit: bool,
        parameter_list_length: u32,
    },
}

impl Request {
    /// It changes what the logical unit remembers for all initiators, blocks apart.
    pub fn changes_unit(&self) -> bool {
        matches!(
            self,
            Request::ModeSelect { .. }
                | Request::PersistentReserveOut { .. }
                | Request::Reserve { .. }
                | Request::Release { .. }
                | Request::SetIdentifyingInformation { .. }
                | Request::SetTimestamp { .. }
        )
    }
}
