//! What the copy manager remembers of each copy.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::scsi::copy::ListId;
use crate::scsi::copy::limits::CONCURRENT_COPIES_MAX;
use crate::scsi::copy::results::{CopyPhase, CopyStatus};
use crate::scsi::sense::{Asc, Sense};

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct Records {
    records: VecDeque<Arc<Record>>,
}

#[derive(Debug)]
pub(super) struct Record {
    /// A LIST IDENTIFIER belongs to the I_T nexus that chose it.
    pub session: u64,
    pub list_id: Option<ListId>,
    status: Mutex<CopyStatus>,
    cancelled: AtomicBool,
}

impl Records {
    pub fn admit(&mut self, session: u64, list_id: Option<ListId>, background: bool) -> Result<Arc<Record>, Sense> {
        let same = |record: &Record| list_id.is_some() && record.session == session && record.list_id == list_id;
        let running = self.records.iter().filter(|record| record.is_running());
        // "… the list identifier … is in use by another third-party copy command from the same I_T nexus" (§6.4.3.2).
        if running.clone().any(|record| same(record)) {
            return Err(Sense::illegal_request(Asc::OPERATION_IN_PROGRESS));
        }
        if running.count() >= usize::from(CONCURRENT_COPIES_MAX) {
            return Err(Sense::illegal_request(Asc::INSUFFICIENT_RESOURCES));
        }
        self.forget(|record| same(record) || record.list_id.is_none());
        while self.records.len() >= RECORDS_MAX {
            let finished = self.records.iter().position(|record| !record.is_running());
            self.records.remove(finished.expect("fewer copies run than are remembered"));
        }
        let status = CopyStatus {
            phase: CopyPhase::InProgress { background },
            segments_processed: 0,
            bytes_copied: 0,
            operations: 0,
        };
        let record =
            Arc::new(Record { session, list_id, status: Mutex::new(status), cancelled: AtomicBool::new(false) });
        self.records.push_back(record.clone());
        Ok(record)
    }

    pub fn find(&self, session: u64, list_id: ListId) -> Option<Arc<Record>> {
        self.records.iter().find(|record| record.session == session && record.list_id == Some(list_id)).cloned()
    }

    /// Finished ones only: a running copy counts until it ends.
    pub fn forget(&mut self, chosen: impl Fn(&Record) -> bool) {
        self.records.retain(|record| record.is_running() || !chosen(record));
    }

    pub fn cancel(&self) {
        for record in &self.records {
            record.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Record {
    pub fn status(&self) -> CopyStatus {
        self.status.lock().clone()
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub fn copied(&self, bytes: u64) {
        let mut status = self.status.lock();
        status.bytes_copied += bytes;
        status.operations = status.operations.wrapping_add(1);
    }

    pub fn segment_processed(&self) {
        self.status.lock().segments_processed += 1;
    }

    /// The first end counts.
    pub fn finish(&self, phase: CopyPhase) {
        let mut status = self.status.lock();
        if matches!(status.phase, CopyPhase::InProgress { .. }) {
            status.phase = phase;
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.status.lock().phase, CopyPhase::InProgress { .. })
    }
}

/// Copies remembered for a logical unit, running ones included: a list of results for some sessions, not an archive.
const RECORDS_MAX: usize = 64;
const _: () = assert!(RECORDS_MAX > CONCURRENT_COPIES_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_list_identifier_is_one_copy_of_a_session() {
        let mut records = Records::default();
        let one = Some(ListId::Lid1(1));
        let first = records.admit(7, one, false).unwrap();
        let busy = Sense::illegal_request(Asc::OPERATION_IN_PROGRESS);
        assert_eq!(records.admit(7, one, false).unwrap_err(), busy);
        records.admit(7, Some(ListId::Lid4(1)), false).unwrap();
        records.admit(8, one, false).unwrap();
        first.finish(CopyPhase::Completed);
        first.finish(CopyPhase::Aborted);
        assert_eq!(records.find(7, ListId::Lid1(1)).unwrap().status().phase, CopyPhase::Completed);
        let second = records.admit(7, one, false).unwrap();
        assert!(Arc::ptr_eq(&records.find(7, ListId::Lid1(1)).unwrap(), &second));
    }

    #[test]
    fn running_copies_and_results_are_bounded() {
        let mut records = Records::default();
        for id in 0..200u32 {
            records.admit(1, Some(ListId::Lid4(id)), false).unwrap().finish(CopyPhase::Completed);
        }
        assert_eq!(records.records.len(), RECORDS_MAX);
        assert!(records.find(1, ListId::Lid4(199)).is_some() && records.find(1, ListId::Lid4(100)).is_none());
        let _running: Vec<_> = (0..CONCURRENT_COPIES_MAX).map(|_| records.admit(1, None, false).unwrap()).collect();
        let full = Sense::illegal_request(Asc::INSUFFICIENT_RESOURCES);
        assert_eq!(records.admit(2, None, false).unwrap_err(), full);
        records.forget(|_| true);
        assert_eq!(records.records.len(), usize::from(CONCURRENT_COPIES_MAX), "running ones stay");
    }
}
