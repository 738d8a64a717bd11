//! The things RFC 7143 names, each a type: sequence numbers, tags, session identifiers, names, LUNs.

mod identifiers;
mod lun;
mod name;
mod sequence;
mod tags;

pub use identifiers::{Cid, Isid, Tpgt, Tsih};
pub use lun::Lun;
pub use name::{ISCSI_NAME_BYTES_MAX, IscsiName, NameError};
pub use sequence::{CmdSn, DataSn, ExpStatSn, R2tSn, StatSn};
pub use tags::{InitiatorTaskTag, TargetTransferTag};
