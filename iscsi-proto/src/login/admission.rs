//! The table of RFC 7143 §6.3.1: what a login means for the sessions there are.

use super::error::{LoginError, Refusal};
use crate::types::{Cid, Tsih};

/// The session with the same initiator name, ISID, target name and portal group tag.
#[derive(Clone, Copy, Debug)]
pub struct ExistingSession<'a> {
    pub tsih: Tsih,
    pub connections: &'a [Cid],
    /// Negotiated MaxConnections.
    pub max_connections: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    NewSession,
    /// "Implicitly logging out the session that corresponds to the ISID and reinstating a new iSCSI session in its
    /// place" (§6.3.5).
    ReinstateSession(Tsih),
    AddConnection(Tsih),
    /// "The implicit logging out of the connection corresponding to the CID and reinstatement of a new Full Feature
    /// Phase iSCSI connection in its place (with the same CID)" (§6.3.4).
    ReinstateConnection(Tsih),
}

pub fn decide(existing: Option<ExistingSession<'_>>, tsih: Tsih, cid: Cid) -> Result<Action, Refusal> {
    match existing {
        None if tsih.is_new_session() => Ok(Action::NewSession),
        Some(session) if tsih.is_new_session() => Ok(Action::ReinstateSession(session.tsih)),
        Some(session) if session.tsih == tsih && session.connections.contains(&cid) => {
            Ok(Action::ReinstateConnection(tsih))
        }
        Some(session) if session.tsih == tsih && session.connections.len() < usize::from(session.max_connections) => {
            Ok(Action::AddConnection(tsih))
        }
        Some(session) if session.tsih == tsih => Err(Refusal::new(
            LoginError::TooManyConnections,
            format!("session {tsih} negotiated MaxConnections={} and has as many", session.max_connections),
        )),
        None | Some(_) => Err(Refusal::new(
            LoginError::SessionDoesNotExist,
            format!("the initiator has no session {tsih} with this ISID here"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_row_by_row() {
        let one = |max_connections| ExistingSession { tsih: Tsih(5), connections: &[Cid(0)], max_connections };
        let decide = |existing, tsih, cid| decide(existing, Tsih(tsih), Cid(cid)).map_err(|refusal| refusal.error);
        assert_eq!(decide(None, 5, 0), Err(LoginError::SessionDoesNotExist));
        assert_eq!(decide(None, 0, 0), Ok(Action::NewSession));
        assert_eq!(decide(Some(one(1)), 0, 9), Ok(Action::ReinstateSession(Tsih(5))));
        assert_eq!(decide(Some(one(2)), 5, 1), Ok(Action::AddConnection(Tsih(5))));
        assert_eq!(decide(Some(one(1)), 5, 1), Err(LoginError::TooManyConnections));
        assert_eq!(decide(Some(one(1)), 5, 0), Ok(Action::ReinstateConnection(Tsih(5))));
        assert_eq!(decide(Some(one(1)), 6, 0), Err(LoginError::SessionDoesNotExist));
    }
}
