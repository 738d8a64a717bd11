//! The numbers an initiator keeps (RFC 7143 §4.2.2).

use super::Violation;
use crate::types::{CmdSn, ExpStatSn, StatSn};

#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// For the next numbered request.
    pub cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    /// All StatSN before are acknowledged.
    pub exp_stat_sn: ExpStatSn,
}

impl Numbers {
    pub fn new(cmd_sn: CmdSn) -> Numbers {
        Numbers { cmd_sn, max_cmd_sn: cmd_sn, exp_stat_sn: StatSn(0) }
    }

    pub fn window_is_open(&self) -> bool {
        !self.max_cmd_sn.precedes(self.cmd_sn)
    }

    /// A response that used up a StatSN.
    pub fn counted(&mut self, got: StatSn, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) -> Result<(), Violation> {
        let announced = self.announced(got, exp_cmd_sn, max_cmd_sn);
        self.exp_stat_sn = got.next();
        announced
    }

    /// A PDU that carries the next StatSN and leaves it.
    pub fn announced(&mut self, got: StatSn, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) -> Result<(), Violation> {
        self.window_moved(exp_cmd_sn, max_cmd_sn);
        let expected = self.exp_stat_sn;
        if got == expected { Ok(()) } else { Err(Violation::StatSn { expected, got }) }
    }

    /// "If the PDU MaxCmdSN is less than the PDU ExpCmdSN - 1 …, they are both ignored. If the PDU MaxCmdSN is greater than
    /// the local MaxCmdSN …, it updates the local MaxCmdSN; otherwise, it is ignored." (§4.2.2.1)
    pub fn window_moved(&mut self, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) {
        if !max_cmd_sn.precedes(exp_cmd_sn.previous()) && self.max_cmd_sn.precedes(max_cmd_sn) {
            self.max_cmd_sn = max_cmd_sn;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_only_grows() {
        let mut numbers = Numbers::new(CmdSn(u32::MAX));
        assert!(numbers.window_is_open());
        numbers.window_moved(CmdSn(0), CmdSn(5));
        assert_eq!(numbers.max_cmd_sn, CmdSn(5));
        numbers.window_moved(CmdSn(0), CmdSn(4));
        assert_eq!(numbers.max_cmd_sn, CmdSn(5), "older news");
        numbers.window_moved(CmdSn(20), CmdSn(10));
        assert_eq!(numbers.max_cmd_sn, CmdSn(5), "a window that ends before it begins");
        numbers.cmd_sn = CmdSn(6);
        assert!(!numbers.window_is_open());
    }

    #[test]
    fn status_counts_by_one() {
        let mut numbers = Numbers { exp_stat_sn: StatSn(7), ..Numbers::new(CmdSn(1)) };
        assert_eq!(numbers.counted(StatSn(7), CmdSn(1), CmdSn(1)), Ok(()));
        assert_eq!(numbers.announced(StatSn(8), CmdSn(1), CmdSn(1)), Ok(()));
        let gap = Violation::StatSn { expected: StatSn(8), got: StatSn(9) };
        assert_eq!(numbers.counted(StatSn(9), CmdSn(1), CmdSn(1)), Err(gap));
    }
}
