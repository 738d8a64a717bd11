//! Who is logged in: the registry through which sessions are found, replaced, told of changes and ended.
//!
//! A session's state belongs to its own task; the rest of the program holds a [`SessionHandle`], a bounded channel to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
use iscsi_proto::types::{Cid, Isid, Tsih};
use tokio::sync::{mpsc, watch};

use crate::target::catalog::Catalog;
use crate::target::config::IscsiName;

/// Orders a session may have waiting. There are five kinds and none repeats often; who finds the channel full waits.
const ORDERS_MAX: usize = 16;

/// What makes two logins the same session (RFC 7143 §4.4.3.1: InitiatorName, ISID, target name, TPGT).
/// Discovery sessions have no target name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub initiator: IscsiName,
    pub isid: Isid,
    pub target: Option<IscsiName>,
    pub portal_group: u16,
}

/// What the rest of the program may ask of a session.
#[derive(Debug)]
pub enum SessionOrder {
    /// The configuration changed: look again who may log in and which LUNs there are.
    Reconfigured(Arc<Catalog>),
    /// Ask the initiator to log out, and go when it does (or at shutdown's deadline).
    RequestLogout,
    /// Go now.
    End(EndReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// RFC 7143 §6.3.5.
    #[error("the same initiator port logged in again")]
    Reinstated,
    #[error("the target is shutting down")]
    Shutdown,
    #[error("the target was cold reset")]
    TargetReset,
}

#[derive(Debug)]
pub struct SessionHandle {
    pub id: u64,
    pub tsih: Tsih,
    pub cid: Cid,
    pub key: SessionKey,
    orders: mpsc::Sender<SessionOrder>,
    ended: watch::Receiver<bool>,
}

impl SessionHandle {
    pub async fn order(&self, order: SessionOrder) {
        // A closed channel is a session that has ended, which is what any order would lead to.
        let _ = self.orders.send(order).await;
    }

    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender's end is the session's end, however it came.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// The session's own side.
#[derive(Debug)]
pub struct Registration {
    pub handle: Arc<SessionHandle>,
    pub orders: mpsc::Receiver<SessionOrder>,
    registry: Arc<Sessions>,
    _ended: watch::Sender<bool>,
}

/// Why a session can't be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Daemon { max: usize },
    Target { max: usize },
}

#[derive(Debug, Default)]
pub struct Sessions {
    by_key: DashMap<SessionKey, Arc<SessionHandle>>,
    tsihs: DashSet<Tsih>,
    next_id: AtomicU64,
}

impl Sessions {
    /// Make room for `key`: a session that has it is ended first, and this waits until it is gone.
    pub async fn register(
        self: &Arc<Sessions>,
        key: SessionKey,
        cid: Cid,
        sessions_max: usize,
        of_target_max: usize,
    ) -> Result<Registration, Full> {
        loop {
            if let Some(old) = self.find(&key) {
                old.order(SessionOrder::End(EndReason::Reinstated)).await;
                old.ended().await;
                // Its registration removes itself before `ended` is told; a task that was killed might not have.
                self.by_key.remove_if(&key, |_, handle| handle.id == old.id);
            }
            if self.by_key.len() >= sessions_max {
                return Err(Full::Daemon { max: sessions_max });
            }
            // The count is worth its while only where it can be reached.
            if self.by_key.len() >= of_target_max
                && self.by_key.iter().filter(|entry| entry.key().target == key.target).count() >= of_target_max
            {
                return Err(Full::Target { max: of_target_max });
            }
            let (orders_in, orders) = mpsc::channel(ORDERS_MAX);
            let (ended_in, ended) = watch::channel(false);
            let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
            let tsih = self.take_tsih(id);
            let handle = Arc::new(SessionHandle { id, tsih, cid, key: key.clone(), orders: orders_in, ended });
            match self.by_key.entry(key.clone()) {
                Entry::Occupied(_) => {
                    self.tsihs.remove(&tsih);
                    continue;
                }
                Entry::Vacant(vacant) => vacant.insert(Arc::clone(&handle)),
            };
            return Ok(Registration { handle, orders, registry: Arc::clone(self), _ended: ended_in });
        }
    }

    pub fn find(&self, key: &SessionKey) -> Option<Arc<SessionHandle>> {
        self.by_key.get(key).map(|entry| Arc::clone(entry.value()))
    }

    /// "The TSIH 0 is reserved" (RFC 7143 §11.12.6); a number that no session has, starting from the session's own.
    fn take_tsih(&self, id: u64) -> Tsih {
        let candidates = (id..).map(|id| Tsih((id % u64::from(u16::MAX)) as u16 + 1));
        let mut free = candidates.take(usize::from(u16::MAX)).filter(|tsih| self.tsihs.insert(*tsih));
        free.next().expect("limits.max_sessions is below 65535")
    }

    pub fn all(&self) -> Vec<Arc<SessionHandle>> {
        self.by_key.iter().map(|entry| Arc::clone(entry.value())).collect()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.by_key.remove_if(&self.handle.key, |_, handle| handle.id == self.handle.id);
        self.registry.tsihs.remove(&self.handle.tsih);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(target: &str) -> SessionKey {
        SessionKey {
            initiator: name("iqn.1993-08.org.debian:01:a"),
            isid: Isid([0; 6]),
            target: Some(name(target)),
            portal_group: 1,
        }
    }

    #[tokio::test]
    async fn the_same_port_takes_the_old_sessions_place() {
        let sessions = Arc::new(Sessions::default());
        let mut first = sessions.register(key("iqn.2026-11.a:t"), Cid(0), 4, 4).await.expect("there is room");
        let second = tokio::spawn({
            let sessions = Arc::clone(&sessions);
            async move { sessions.register(key("iqn.2026-11.a:t"), Cid(0), 4, 4).await.expect("reinstated").handle.id }
        });
        assert!(matches!(first.orders.recv().await, Some(SessionOrder::End(EndReason::Reinstated))));
        let first_id = first.handle.id;
        drop(first);
        assert_ne!(second.await.expect("no panic"), first_id);
        assert!(sessions.all().is_empty(), "both are gone");
    }

    #[tokio::test]
    async fn limits_refuse_by_name() {
        let sessions = Arc::new(Sessions::default());
        let _a = sessions.register(key("iqn.2026-11.a:t"), Cid(0), 2, 1).await.expect("there is room");
        assert_eq!(
            sessions.register(key_of("iqn.1993-08.org.debian:01:b", "iqn.2026-11.a:t"), Cid(0), 2, 1).await.err(),
            Some(Full::Target { max: 1 })
        );
        let _b = sessions.register(key("iqn.2026-11.a:u"), Cid(0), 2, 1).await.expect("another target");
        assert_eq!(sessions.register(key("iqn.2026-11.a:v"), Cid(0), 2, 1).await.err(), Some(Full::Daemon { max: 2 }));
    }

    fn name(text: &str) -> IscsiName {
        IscsiName::new(text).expect("a name")
    }

    fn key_of(initiator: &str, target: &str) -> SessionKey {
        SessionKey { initiator: name(initiator), ..key(target) }
    }
}
