//! What a command needs of a reserved logical unit: the columns of SPC-5's "commands that are allowed in the presence of
//! various reservations" (§5.14.1) and SBC-4's table of the same name (§4.17), told for every [`Request`].

use super::request::Request;

/// Which row of the tables a command stands in; `lu::reservations` holds the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationAccess {
    /// Allowed whoever reserved, by either method: INQUIRY, REPORT LUNS, REQUEST SENSE, LOG SENSE, …
    Always,
    /// Allowed under every persistent reservation; conflicts with another's RESERVE (SPC-2): TEST UNIT READY, …
    Status,
    /// Allowed under another's Write Exclusive; a conflict under
    /// Exclusive Access. MODE SENSE stands here too.
    Read,
    /// Conflicts under another's reservation unless registrants share it.
    Write,
    /// PERSISTENT RESERVE IN and OUT: conflict with any RESERVE (SPC-2), else `lu::reservations` decides.
    PersistentReserve,
    /// RESERVE and RELEASE: `lu::reservations` decides.
    ReserveRelease,
}

impl ReservationAccess {
    pub fn of(request: &Request) -> ReservationAccess {
        use ReservationAccess::*;
        match request {
            Request::Inquiry { .. }
            | Request::ReportLuns { .. }
            | Request::RequestSense { .. }
            | Request::LogSense { .. }
            | Request::ReadCapacity10
            | Request::ReadCapacity16 { .. }
            | Request::PreventAllowMediumRemoval { prevent: false } => Always,
            // "START STOP UNIT with START bit set to one and POWER CONDITION field set to 0h": allowed (SBC-4 table 13).
            Request::StartStopUnit { start: true, power_condition: 0, .. } => Always,

            Request::TestUnitReady
            | Request::ReportTargetPortGroups { .. }
            | Request::ReportIdentifyingInformation { .. }
            | Request::ReportTimestamp { .. } => Status,

            // SPC-5 has MODE SENSE, READ BUFFER and the reports of supported functions beside READ: "Allowed, Conflict,
            // Allowed, Allowed, Conflict".
            Request::Read { .. }
            | Request::Verify { .. }
            | Request::PreFetch { .. }
            | Request::GetLbaStatus { .. }
            | Request::ReadDefectData { .. }
            | Request::ModeSense { .. }
            | Request::ReadBuffer { .. }
            | Request::ReportSupportedOpcodes { .. }
            | Request::ReportSupportedTaskManagement { .. } => Read,

            Request::ModeSelect { .. }
            | Request::SetTargetPortGroups { .. }
            | Request::SetIdentifyingInformation { .. }
            | Request::SetTimestamp { .. }
            | Request::SendDiagnostic { .. }
            | Request::WriteBuffer { .. }
            | Request::ExtendedCopy { .. }
            | Request::ReceiveCopyResults { .. }
            | Request::PreventAllowMediumRemoval { prevent: true }
            | Request::StartStopUnit { .. }
            | Request::Write { .. }
            | Request::WriteAndVerify { .. }
            | Request::WriteAtomic { .. }
            | Request::OrWrite { .. }
            | Request::CompareAndWrite { .. }
            | Request::WriteSame(_)
            | Request::Unmap { .. }
            | Request::SynchronizeCache { .. }
            | Request::FormatUnit { .. }
            | Request::Sanitize { .. } => Write,

            // "PERSISTENT RESERVE IN (all service actions) … Allowed", by persistent reservations.
            Request::PersistentReserveIn { .. } | Request::PersistentReserveOut { .. } => PersistentReserve,
            Request::Reserve { .. } | Request::Release { .. } => ReserveRelease,
        }
    }
}
