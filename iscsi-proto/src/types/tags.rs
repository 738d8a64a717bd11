//! Task tags: 32 bits that their maker chooses, and one value that stands for none.

macro_rules! tag {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The value that is no tag.
            pub const RESERVED: Self = Self(0xffff_ffff);

            pub const fn is_reserved(self) -> bool {
                self.0 == Self::RESERVED.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:#010x}", self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:#010x}", self.0)
            }
        }
    };
}

tag! {
    /// Names a task, session-wide: "An ITT value of 0xffffffff is reserved and MUST NOT be assigned for a task by the
    /// initiator" (RFC 7143 §11.2.1.8).
    InitiatorTaskTag
}
tag! {
    /// Names what the target waits for: an R2T's data, the rest of a text, the answer to a ping (RFC 7143 §11.7.4).
    TargetTransferTag
}
