//! CmdSN ordering and the window the initiator may send in (RFC 7143 §4.2.2.1).
//!
//! ```text
//!            ExpCmdSN                    MaxCmdSN
//!   … taken │ next │ held early or missing │ outside: ignored …
//! ```

use std::collections::BTreeMap;

use crate::types::CmdSn;

/// What became of a non-immediate command on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next: ExpCmdSN moved past it.
    InOrder,
    /// Within the window but after a gap: keep it until [`CommandWindow::take_next`] asks for it.
    Early,
    /// "MUST silently ignore any non-immediate command outside of this range or non-immediate duplicates within the
    /// range" (RFC 7143 §4.2.2.1).
    Ignore,
}

/// The window, and the commands `T` that came before their turn. They are bounded by the window itself.
#[derive(Debug)]
pub struct CommandWindow<T> {
    expected: CmdSn,
    maximum: CmdSn,
    /// Commands that may be outstanding at once.
    depth: u32,
    /// By distance from `origin`, so that the order survives the wrap of the number.
    early: BTreeMap<u32, T>,
    origin: CmdSn,
}

impl<T> CommandWindow<T> {
    /// `depth` commands at once, the first of which carries `expected`.
    pub fn new(expected: CmdSn, depth: u32) -> CommandWindow<T> {
        assert!((1..1 << 16).contains(&depth), "a window holds at least one command and is far below 2^31");
        let mut window =
            CommandWindow { expected, maximum: expected.previous(), depth, early: BTreeMap::new(), origin: expected };
        window.open(0);
        window
    }

    pub fn expected(&self) -> CmdSn {
        self.expected
    }

    pub fn maximum(&self) -> CmdSn {
        self.maximum
    }

    /// Where `cmd_sn` falls. [`Arrival::InOrder`] moves ExpCmdSN on.
    pub fn arrive(&mut self, cmd_sn: CmdSn) -> Arrival {
        if cmd_sn == self.expected && !self.maximum.precedes(cmd_sn) {
            self.expected = self.expected.next();
            return Arrival::InOrder;
        }
        let in_window = !cmd_sn.precedes(self.expected) && !self.maximum.precedes(cmd_sn);
        match in_window && !self.early.contains_key(&self.place(cmd_sn)) {
            true => Arrival::Early,
            false => Arrival::Ignore,
        }
    }

    /// Keep a command that arrived [`Arrival::Early`].
    pub fn hold(&mut self, cmd_sn: CmdSn, command: T) {
        let place = self.place(cmd_sn);
        self.early.insert(place, command);
    }

    /// Those that wait for their turn.
    pub fn early_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.early.values_mut()
    }

    /// The command whose turn has come, if it is here; ExpCmdSN moves past it.
    pub fn take_next(&mut self) -> Option<T> {
        let command = self.early.remove(&self.place(self.expected))?;
        self.expected = self.expected.next();
        if self.early.is_empty() {
            self.origin = self.expected;
        }
        Some(command)
    }

    /// Treat `cmd_sn` as received although its command never comes (RFC 7143 §11.6.1, ABORT TASK). False: out of the window.
    pub fn forget(&mut self, cmd_sn: CmdSn, stand_in: T) -> bool {
        match self.arrive(cmd_sn) {
            Arrival::InOrder => true,
            Arrival::Early => {
                self.hold(cmd_sn, stand_in);
                true
            }
            Arrival::Ignore => false,
        }
    }

    /// Open the window as far as `outstanding` tasks leave room. MaxCmdSN never goes back: "the initiator MUST … ignore"
    /// a smaller one, so a promise made stays made.
    pub fn open(&mut self, outstanding: u32) {
        let room = self.depth.saturating_sub(outstanding);
        let maximum = self.expected.advanced(room).previous();
        if self.maximum.precedes(maximum) {
            self.maximum = maximum;
        }
    }

    fn place(&self, cmd_sn: CmdSn) -> u32 {
        cmd_sn.distance_from(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(expected: u32, depth: u32) -> CommandWindow<u32> {
        CommandWindow::new(CmdSn(expected), depth)
    }

    #[test]
    fn table_of_arrivals() {
        use Arrival::*;
        // (ExpCmdSN, depth, CmdSN, arrival); MaxCmdSN = ExpCmdSN + depth - 1
        for (expected, depth, cmd_sn, arrival) in [
            (10, 4, 10, InOrder),
            (10, 4, 11, Early),
            (10, 4, 13, Early),
            (10, 4, 14, Ignore),
            (10, 4, 9, Ignore),
            (10, 1, 11, Ignore),
            (u32::MAX, 4, u32::MAX, InOrder),
            (u32::MAX, 4, 0, Early),
            (u32::MAX, 4, 2, Early),
            (u32::MAX, 4, 3, Ignore),
            (0, 4, u32::MAX, Ignore),
            (0, 4, 1 << 31, Ignore),
        ] {
            assert_eq!(window(expected, depth).arrive(CmdSn(cmd_sn)), arrival, "{cmd_sn} in {expected}+{depth}");
        }
    }

    #[test]
    fn early_commands_come_out_in_order_across_the_wrap() {
        let mut w = window(u32::MAX - 1, 8);
        for cmd_sn in [1, u32::MAX, 0] {
            assert_eq!(w.arrive(CmdSn(cmd_sn)), Arrival::Early);
            w.hold(CmdSn(cmd_sn), cmd_sn);
            assert_eq!(w.arrive(CmdSn(cmd_sn)), Arrival::Ignore, "a duplicate within the range");
        }
        assert_eq!(w.take_next(), None);
        assert_eq!(w.arrive(CmdSn(u32::MAX - 1)), Arrival::InOrder);
        assert_eq!(
            [w.take_next(), w.take_next(), w.take_next(), w.take_next()],
            [Some(u32::MAX), Some(0), Some(1), None]
        );
        assert_eq!(w.expected(), CmdSn(2));
    }

    #[test]
    fn a_full_window_closes_and_opens_and_never_goes_back() {
        let mut w = window(100, 2);
        assert_eq!(w.maximum(), CmdSn(101));
        assert_eq!(w.arrive(CmdSn(100)), Arrival::InOrder);
        w.open(1);
        assert_eq!(w.maximum(), CmdSn(101), "one is outstanding, one may come");
        assert_eq!(w.arrive(CmdSn(101)), Arrival::InOrder);
        w.open(2);
        assert_eq!((w.expected(), w.maximum()), (CmdSn(102), CmdSn(101)), "closed: MaxCmdSN = ExpCmdSN - 1");
        assert_eq!(w.arrive(CmdSn(102)), Arrival::Ignore);
        w.open(0);
        assert_eq!(w.maximum(), CmdSn(103));
        w.open(2);
        assert_eq!(w.maximum(), CmdSn(103));
    }

    #[test]
    fn an_aborted_gap_closes() {
        let mut w = window(5, 4);
        w.hold(CmdSn(6), 6);
        assert!(w.forget(CmdSn(5), 0));
        assert_eq!(w.take_next(), Some(6));
        assert!(!w.forget(CmdSn(5), 0), "already received");
    }
}
