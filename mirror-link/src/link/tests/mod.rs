//! Two nodes over loopback, with a line between them that can be cut, and groups that record what they are told.

mod fake;
mod groups;
mod line;
mod lives;
mod node;
mod trouble;
