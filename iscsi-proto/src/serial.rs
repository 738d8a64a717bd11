//! Serial number arithmetic (RFC 1982) with SERIAL_BITS = 32.
//!
//! "Comparisons and arithmetic on the ExpCmdSN and MaxCmdSN MUST use Serial Number Arithmetic as defined in [RFC1982]
//! where SERIAL_BITS = 32." (RFC 7143 §4.2.2.1)
//!
//! There is no `Ord`: the order is not transitive, and a sorted container of serial numbers would be a mistake.

/// Numbers half the space apart have no order; a window must be smaller than this (RFC 1982 §3.2).
pub const HALF: u32 = 1 << 31;

/// True if `a` comes before `b`.
pub const fn precedes(a: u32, b: u32) -> bool {
    let distance = b.wrapping_sub(a);
    distance != 0 && distance < HALF
}

/// True if `number` is one of `first ..= last`. `last == first - 1` is the closed window, which holds nothing; so does a
/// window of half the space or more, where the ends have no order.
pub const fn in_window(number: u32, first: u32, last: u32) -> bool {
    let size = last.wrapping_sub(first).wrapping_add(1);
    size < HALF && number.wrapping_sub(first) < size
}

/// A serial number of its own kind, so that a StatSN is never compared with a CmdSN.
macro_rules! serial_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }

            /// The number before this one.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.wrapping_sub(1))
            }

            /// This number plus `count`.
            #[must_use]
            pub const fn advanced(self, count: u32) -> Self {
                Self(self.0.wrapping_add(count))
            }

            /// This number is before `other`.
            pub const fn precedes(self, other: Self) -> bool {
                crate::serial::precedes(self.0, other.0)
            }

            /// This number is one of `first ..= last`; nothing is when `last` is the one before `first`.
            pub const fn in_window(self, first: Self, last: Self) -> bool {
                crate::serial::in_window(self.0, first.0, last.0)
            }

            /// How many steps forward from `earlier` to this number.
            pub const fn distance_from(self, earlier: Self) -> u32 {
                self.0.wrapping_sub(earlier.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
pub(crate) use serial_number;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::CmdSn;

    #[test]
    fn order_survives_the_wrap() {
        assert!(precedes(0xffff_ffff, 0));
        assert!(!precedes(0, 0xffff_ffff));
        assert!(!precedes(7, 7));
        assert!(precedes(0, HALF - 1));
        assert!(!precedes(0, HALF) && !precedes(HALF, 0), "half the space apart: no order either way");
        assert_eq!(CmdSn(u32::MAX).next(), CmdSn(0));
        assert_eq!(CmdSn(2).distance_from(CmdSn(u32::MAX)), 3);
    }

    #[test]
    fn window_holds_its_ends_and_the_closed_one_nothing() {
        assert!(in_window(10, 10, 12) && in_window(12, 10, 12));
        assert!(!in_window(9, 10, 12) && !in_window(13, 10, 12));
        assert!(in_window(0, 0xffff_fffe, 2) && !in_window(3, 0xffff_fffe, 2));
        assert!(!in_window(10, 10, 9), "MaxCmdSN = ExpCmdSN - 1 is a closed window");
        assert!(!in_window(5, 0, HALF), "too large a window has no order");
    }

    proptest! {
        #[test]
        fn moving_both_changes_nothing(a: u32, distance in 1..HALF, shift: u32) {
            let b = a.wrapping_add(distance);
            prop_assert!(precedes(a.wrapping_add(shift), b.wrapping_add(shift)));
            prop_assert!(!precedes(b.wrapping_add(shift), a.wrapping_add(shift)));
        }
    }
}
