//! Text Requests of the full feature phase: SendTargets, and keys that may change in it.

use std::net::{IpAddr, SocketAddr};

use iscsi_proto::pdu::{RejectReason, TextRequest};
use iscsi_proto::session::Connection;
use iscsi_proto::text::{
    DiscoveredTarget, Pair, Received, SendTargets, SessionType, TextExchange, TextPart, TextRefusal, TextReply,
};
use iscsi_proto::types::Tpgt;

use super::daemon::Shared;
use super::sessions::SessionKey;

/// A connection's text negotiation, with what its answers are looked up by.
pub struct TextDesk {
    exchange: TextExchange,
    /// The initiator's MaxRecvDataSegmentLength.
    data_segment_max: u32,
    peer: SocketAddr,
    /// Where the initiator came in: what it is told instead of a wildcard address.
    local: Option<IpAddr>,
}

impl TextDesk {
    pub fn new(
        session_type: SessionType,
        data_segment_max: u32,
        peer: SocketAddr,
        local: Option<SocketAddr>,
    ) -> TextDesk {
        let local = local.map(|address| address.ip().to_canonical());
        TextDesk { exchange: TextExchange::new(session_type), data_segment_max, peer, local }
    }

    pub fn receive(&mut self, request: &TextRequest, shared: &Shared, key: &SessionKey, session: &mut Connection) {
        let part = TextPart {
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag: request.target_transfer_tag,
            is_final: request.final_,
            more_follows: request.continue_,
            data: &request.data,
        };
        let reply = match self.exchange.receive(part, session.fresh_transfer_tag(), self.data_segment_max) {
            Ok(Received::Reply(reply)) => reply,
            Ok(Received::SendTargets(wanted)) => {
                let records = self.records(&wanted, shared, key);
                match self.exchange.answer_send_targets(records, self.data_segment_max) {
                    Some(reply) => reply,
                    None => return,
                }
            }
            Err(refusal) => {
                tracing::debug!(initiator = %key.initiator, %refusal, "Text Request rejected");
                let reason = match refusal {
                    TextRefusal::ProtocolError(_) => RejectReason::PROTOCOL_ERROR,
                    TextRefusal::StaleTransferTag(_) => RejectReason::INVALID_PDU_FIELD,
                };
                return session.reject_text(request, reason);
            }
        };
        let TextReply { target_transfer_tag, is_final, more_follows, data, effects } = reply;
        session.respond_text(request, target_transfer_tag, is_final, more_follows, data);
        if let Some(bytes) = effects.initiator_max_recv_data_segment_length {
            self.data_segment_max = bytes;
            session.set_data_in_segment_max(bytes);
        }
    }

    fn records(&self, wanted: &SendTargets, shared: &Shared, key: &SessionKey) -> Vec<Pair> {
        let catalog = shared.catalog.load();
        let portals = shared.portals.load();
        // An initiator is told only of what it may log in to.
        let visible: Vec<DiscoveredTarget> = catalog
            .config
            .targets
            .iter()
            .filter(|(_, target)| target.admit(key.initiator.as_str(), self.peer.ip(), None).is_ok())
            .map(|(name, target)| DiscoveredTarget {
                name: name.clone(),
                portals: portals
                    .iter()
                    .filter(|(tag, _)| target.portal_groups.contains(tag))
                    .filter_map(|(tag, address)| Some((self.reachable(*address)?.to_string(), Tpgt(*tag))))
                    .collect(),
            })
            .filter(|target| !target.portals.is_empty())
            .collect();
        wanted.answer(&visible, key.target.as_ref())
    }

    /// A portal's address as the initiator can use it. A wildcard stands for the address it came in by, where that is of
    /// the same family.
    fn reachable(&self, portal: SocketAddr) -> Option<SocketAddr> {
        if !portal.ip().is_unspecified() {
            return Some(portal);
        }
        let local = self.local.filter(|local| local.is_ipv4() == portal.is_ipv4())?;
        Some(SocketAddr::new(local, portal.port()))
    }
}
