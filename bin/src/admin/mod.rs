//! The admin interface's serving side; what it speaks is in [`lunmirror::api`].
//!
//! ```text
//!   door: socket or port ──► connection ──► routes ──► Target, which the running daemon is
//! ```

mod daemon;
mod door;
mod explain;
mod routes;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lunmirror::api::shown::word;
use lunmirror::api::{About, Command, Done, GroupReport, PeerStatus, VolumeStatus, WhatIf};
use target_core::mirror::Refusal;
use target_core::target::config;

pub use daemon::Served;
use door::Door;
pub use door::DoorError;
use routes::Rights;

/// What the admin interface needs of the target.
pub trait Target: Send + Sync + 'static {
    fn about(&self) -> About;

    fn peers(&self) -> Vec<PeerStatus>;

    fn groups(&self) -> Vec<GroupReport>;

    fn volumes(&self) -> Vec<VolumeStatus>;

    /// In sentences. `None`: there is no group of that name.
    fn what_if(&self, group: &str, what: WhatIf) -> Option<Vec<String>>;

    /// `None`: there is no group of that name. Under way from the call on, whether the answer is waited for or not.
    fn command(&self, group: &str, command: Command) -> Option<Answer>;
}

/// `db Primary, UpToDate, established`
pub fn in_short(group: &GroupReport) -> String {
    let status = &group.status;
    format!("{} {:?}, {:?}, {}", group.name, status.role, status.disk, word(status.link))
}

pub type Answer = Pin<Box<dyn Future<Output = Result<Done, Refusal>> + Send>>;

/// The doors that are open; closed by dropping it.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    socket: Option<Arc<Door>>,
    http: Option<Arc<Door>>,
}

impl Admin {
    /// With the doors of `wanted`: those that are open already stay, the others are opened. Of a failure nothing remains.
    pub fn changed(&self, wanted: &config::Admin, target: &Arc<dyn Target>) -> Result<Admin, DoorError> {
        let socket = match &wanted.socket {
            Some(path) => Some(match self.socket.as_ref().filter(|door| door.is_at_path(path)) {
                Some(open) => Arc::clone(open),
                None => Arc::new(Door::socket(path, routes::router(Arc::clone(target), Rights::Everything))?),
            }),
            None => None,
        };
        let http = match wanted.http {
            Some(address) => Some(match self.http.as_ref().filter(|door| door.is_at_address(address)) {
                Some(open) => Arc::clone(open),
                None => Arc::new(Door::http(address, routes::router(Arc::clone(target), Rights::Reading))?),
            }),
            None => None,
        };
        Ok(Admin { socket, http })
    }
}
