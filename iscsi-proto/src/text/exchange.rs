//! One Text negotiation of the full feature phase, from its first Text Request to the response with F=1 (RFC 7143 §6.4,
//! §11.10, §11.11).
//!
//! ```text
//!          request, TTT=ffffffff            all of it received                     text too long for one PDU
//!   Idle ------------------------> Asking ----------------------> (answer) ----------------------------------> Answering
//!     ^                              ^  | C=1: empty response         |  F=0: more to negotiate                    |
//!     |                              |  +---------------------------- | ---> Asking                                |
//!     +-------------------------------- F=1 sent ---------------------+--------------------------------------------+
//! ```

use super::{FullFeatureAnswer, KeySet, Outgoing, Pair, Reassembly, SendTargets, SessionType, TextError, full_feature};
use crate::types::{InitiatorTaskTag, TargetTransferTag};
use bytes::Bytes;

/// What a Text Request says to the exchange.
#[derive(Clone, Copy, Debug)]
pub struct TextPart<'a> {
    pub initiator_task_tag: InitiatorTaskTag,
    pub target_transfer_tag: TargetTransferTag,
    /// F.
    pub is_final: bool,
    /// C.
    pub more_follows: bool,
    pub data: &'a [u8],
}

/// What the Text Response is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextReply {
    pub target_transfer_tag: TargetTransferTag,
    /// F.
    pub is_final: bool,
    /// C.
    pub more_follows: bool,
    pub data: Bytes,
    /// What holds once this response has been sent.
    pub effects: TextEffects,
}

/// Declarations of the initiator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextEffects {
    pub initiator_max_recv_data_segment_length: Option<u32>,
    pub initiator_alias: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Reply(TextReply),
    /// Look up the targets and hand [`SendTargets::answer`] to [`TextExchange::answer_send_targets`].
    SendTargets(SendTargets),
}

/// Answered with a Reject PDU; the negotiation is reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextRefusal {
    /// "The target MUST respond with a Reject PDU with a reason of "Protocol Error"" (RFC 7143 §6.4).
    #[error(transparent)]
    ProtocolError(#[from] TextError),
    /// "The target may reject subsequent Text Requests with the Target Transfer Tag set to the "stale" value"
    /// (§11.11.4): the reason is Invalid PDU field.
    #[error("Target Transfer Tag {0} names no text negotiation of this connection")]
    StaleTransferTag(TargetTransferTag),
}

/// A connection's text negotiation: "An initiator MUST NOT have more than one outstanding Text Request on a connection
/// at any given time" (§11.10).
#[derive(Debug)]
pub struct TextExchange {
    session_type: SessionType,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Asking(Negotiating, Reassembly),
    /// SendTargets was asked; the shell looks the targets up.
    LookingUp {
        negotiating: Negotiating,
        answers: Vec<Pair>,
        is_final: bool,
    },
    Answering(Negotiating, Outgoing),
}

/// What stays the same until the last response.
#[derive(Debug)]
struct Negotiating {
    initiator_task_tag: InitiatorTaskTag,
    target_transfer_tag: TargetTransferTag,
    seen: KeySet,
    effects: TextEffects,
}

impl TextExchange {
    pub fn new(session_type: SessionType) -> TextExchange {
        TextExchange { session_type, state: State::Idle }
    }

    /// `fresh_tag` is used if this request begins a negotiation that will need a Target Transfer Tag.
    /// `data_segment_bytes_max` is the initiator's MaxRecvDataSegmentLength.
    pub fn receive(
        &mut self,
        part: TextPart<'_>,
        fresh_tag: TargetTransferTag,
        data_segment_bytes_max: u32,
    ) -> Result<Received, TextRefusal> {
        // A refusal leaves Idle behind: "A target may reset an operational parameter negotiation by answering a Text
        // Request with a Reject PDU" (§6.4).
        let state = std::mem::take(&mut self.state);
        if part.more_follows && part.is_final {
            return Err(TextError::ContinueAndFinal.into());
        }
        match self.continued(state, part, fresh_tag)? {
            State::Answering(negotiating, outgoing) => {
                if !part.data.is_empty() {
                    return Err(TextError::AnswerInterrupted.into());
                }
                Ok(self.send(negotiating, outgoing, part.is_final, data_segment_bytes_max))
            }
            State::Asking(negotiating, received) => self.ask(negotiating, received, part, data_segment_bytes_max),
            State::Idle | State::LookingUp { .. } => Err(TextRefusal::StaleTransferTag(part.target_transfer_tag)),
        }
    }

    /// The target records for the SendTargets just received. `None` if none was: the negotiation was reset meanwhile.
    pub fn answer_send_targets(&mut self, records: Vec<Pair>, data_segment_bytes_max: u32) -> Option<TextReply> {
        let State::LookingUp { negotiating, mut answers, is_final } = std::mem::take(&mut self.state) else {
            return None;
        };
        answers.extend(records);
        match self.send(negotiating, Outgoing::new(&answers), is_final, data_segment_bytes_max) {
            Received::Reply(reply) => Some(reply),
            Received::SendTargets(_) => None,
        }
    }

    /// The negotiation that `part` belongs to. "When the Target Transfer Tag is set to the reserved value 0xffffffff,
    /// it tells the target that this is a new request, and the target resets any internal state" (§11.10.4).
    fn continued(&self, state: State, part: TextPart<'_>, fresh_tag: TargetTransferTag) -> Result<State, TextRefusal> {
        if part.target_transfer_tag.is_reserved() {
            let negotiating = Negotiating {
                initiator_task_tag: part.initiator_task_tag,
                target_transfer_tag: fresh_tag,
                seen: KeySet::default(),
                effects: TextEffects::default(),
            };
            return Ok(State::Asking(negotiating, Reassembly::default()));
        }
        match &state {
            State::Asking(negotiating, _) | State::Answering(negotiating, _)
                if negotiating.target_transfer_tag == part.target_transfer_tag
                    && negotiating.initiator_task_tag == part.initiator_task_tag =>
            {
                Ok(state)
            }
            _ => Err(TextRefusal::StaleTransferTag(part.target_transfer_tag)),
        }
    }

    fn ask(
        &mut self,
        mut negotiating: Negotiating,
        mut received: Reassembly,
        part: TextPart<'_>,
        data_segment_bytes_max: u32,
    ) -> Result<Received, TextRefusal> {
        let Some(pairs) = received.receive(part.data, part.more_follows)? else {
            let reply = TextReply {
                target_transfer_tag: negotiating.target_transfer_tag,
                is_final: false,
                more_follows: false,
                data: Bytes::new(),
                effects: TextEffects::default(),
            };
            self.state = State::Asking(negotiating, received);
            return Ok(Received::Reply(reply));
        };
        let outcome: FullFeatureAnswer = full_feature(&pairs, self.session_type, &mut negotiating.seen)?;
        if outcome.initiator_max_recv_data_segment_length.is_some() {
            negotiating.effects.initiator_max_recv_data_segment_length = outcome.initiator_max_recv_data_segment_length;
        }
        if outcome.initiator_alias.is_some() {
            negotiating.effects.initiator_alias = outcome.initiator_alias;
        }
        if let Some(wanted) = outcome.send_targets {
            self.state = State::LookingUp { negotiating, answers: outcome.answers, is_final: part.is_final };
            return Ok(Received::SendTargets(wanted));
        }
        Ok(self.send(negotiating, Outgoing::new(&outcome.answers), part.is_final, data_segment_bytes_max))
    }

    fn send(
        &mut self,
        negotiating: Negotiating,
        mut outgoing: Outgoing,
        initiator_is_done: bool,
        data_segment_bytes_max: u32,
    ) -> Received {
        let data = outgoing.next(usize::try_from(data_segment_bytes_max).unwrap_or(usize::MAX));
        let more_follows = outgoing.more_follows();
        // "A Text Response with the F bit set to 1 in response to a Text Request with the F bit set to 0 is a protocol
        // error."
        if initiator_is_done && !more_follows {
            self.state = State::Idle;
            return Received::Reply(TextReply {
                // "A Text Response with the F bit set to 1 MUST have a Target Transfer Tag field set to the reserved
                // value"
                target_transfer_tag: TargetTransferTag::RESERVED,
                is_final: true,
                more_follows: false,
                data,
                effects: negotiating.effects,
            });
        }
        let target_transfer_tag = negotiating.target_transfer_tag;
        self.state = if more_follows {
            State::Answering(negotiating, outgoing)
        } else {
            State::Asking(negotiating, Reassembly::default())
        };
        let effects = TextEffects::default();
        Received::Reply(TextReply { target_transfer_tag, is_final: false, more_follows, data, effects })
    }
}

#[cfg(test)]
mod tests {
    use super::super::DiscoveredTarget;
    use super::*;
    use crate::types::{IscsiName, Tpgt};

    const ITT: InitiatorTaskTag = InitiatorTaskTag(7);
    const TAG: TargetTransferTag = TargetTransferTag(0x12345678);
    const NONE: TargetTransferTag = TargetTransferTag::RESERVED;

    fn part(ttt: TargetTransferTag, flags: &str, data: &'static [u8]) -> TextPart<'static> {
        TextPart {
            initiator_task_tag: ITT,
            target_transfer_tag: ttt,
            is_final: flags.contains('F'),
            more_follows: flags.contains('C'),
            data,
        }
    }

    /// The reply as `F|C ttt text`.
    fn show(received: Received) -> String {
        match received {
            Received::SendTargets(wanted) => format!("{wanted:?}"),
            Received::Reply(reply) => {
                let flags = [(reply.is_final, "F"), (reply.more_follows, "C")];
                let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
                let text = String::from_utf8_lossy(&reply.data).replace('\0', "|");
                format!("{flags} {:08x} {text}", reply.target_transfer_tag.0)
            }
        }
    }

    #[test]
    fn one_request_one_response() {
        let mut exchange = TextExchange::new(SessionType::Normal);
        let request = part(NONE, "F", b"MaxRecvDataSegmentLength=65536\0X-a=b\0");
        let Ok(Received::Reply(reply)) = exchange.receive(request, TAG, 8192) else { panic!("a reply") };
        assert_eq!(reply.effects.initiator_max_recv_data_segment_length, Some(65536));
        assert_eq!(show(Received::Reply(reply)), "F ffffffff X-a=NotUnderstood|");
    }

    #[test]
    fn parameters_take_effect_when_the_negotiation_ends() {
        let mut exchange = TextExchange::new(SessionType::Normal);
        let request = part(NONE, "", b"MaxRecvDataSegmentLength=65536\0");
        let Ok(Received::Reply(reply)) = exchange.receive(request, TAG, 8192) else { panic!("a reply") };
        assert_eq!(reply.effects, TextEffects::default());
        assert_eq!(show(Received::Reply(reply)), " 12345678 ");
        let Ok(Received::Reply(reply)) = exchange.receive(part(TAG, "F", b""), TAG, 8192) else { panic!("a reply") };
        assert_eq!(reply.effects.initiator_max_recv_data_segment_length, Some(65536));
    }

    #[test]
    fn a_request_may_span_pdus() {
        let mut exchange = TextExchange::new(SessionType::Discovery);
        let step = |exchange: &mut TextExchange, part| exchange.receive(part, TAG, 8192).map(show);
        assert_eq!(step(&mut exchange, part(NONE, "C", b"SendTar")), Ok(" 12345678 ".into()));
        assert_eq!(step(&mut exchange, part(TAG, "C", b"gets=A")), Ok(" 12345678 ".into()));
        assert_eq!(step(&mut exchange, part(TAG, "F", b"ll\0")), Ok("All".into()));
        let reply = exchange.answer_send_targets(vec![], 8192).expect("asked for");
        assert_eq!(show(Received::Reply(reply)), "F ffffffff ");
        assert_eq!(exchange.answer_send_targets(vec![], 8192), None);
    }

    /// The figure of RFC 7143 §11.10.4.
    #[test]
    fn a_long_answer_is_fetched_part_by_part() {
        let name = IscsiName::new("iqn.2026-11.net.example:a").expect("well formed");
        let target = DiscoveredTarget { name, portals: vec![("10.0.0.1:3260".into(), Tpgt(1))] };
        let mut exchange = TextExchange::new(SessionType::Discovery);
        let wanted = exchange.receive(part(NONE, "F", b"SendTargets=All\0"), TAG, 512);
        let Ok(Received::SendTargets(wanted)) = wanted else { panic!("a question") };
        let reply = exchange.answer_send_targets(wanted.answer(&[target], None), 32).expect("asked for");
        assert_eq!(show(Received::Reply(reply)), "C 12345678 TargetName=iqn.2026-11.net.examp");
        let step = |exchange: &mut TextExchange, part| exchange.receive(part, TAG, 32).map(show);
        assert_eq!(step(&mut exchange, part(TAG, "F", b"")), Ok("C 12345678 le:a|TargetAddress=10.0.0.1:3260".into()));
        assert_eq!(step(&mut exchange, part(TAG, "F", b"")), Ok("F ffffffff ,1|".into()));
        assert_eq!(step(&mut exchange, part(TAG, "F", b"")), Err(TextRefusal::StaleTransferTag(TAG)));
    }

    #[test]
    fn misuse_is_refused_and_resets() {
        let mut exchange = TextExchange::new(SessionType::Normal);
        let both = exchange.receive(part(NONE, "FC", b"X-a=b\0"), TAG, 8192);
        assert_eq!(both, Err(TextError::ContinueAndFinal.into()));
        exchange.receive(part(NONE, "C", b"X-a"), TAG, 8192).expect("more follows");
        exchange.receive(part(NONE, "F", b"X-b=b\0"), TAG, 8192).expect("the reserved tag begins anew");
        let other_task = TextPart { initiator_task_tag: InitiatorTaskTag(8), ..part(TAG, "F", b"") };
        exchange.receive(part(NONE, "", b"X-a=b\0"), TAG, 8192).expect("under way");
        assert_eq!(exchange.receive(other_task, TAG, 8192), Err(TextRefusal::StaleTransferTag(TAG)));
    }

    #[test]
    fn a_continued_answer_is_not_interrupted() {
        let mut exchange = TextExchange::new(SessionType::Normal);
        exchange.receive(part(NONE, "F", b"X-a=b\0X-b=c\0"), TAG, 8).expect("answered in parts");
        let interrupted = exchange.receive(part(TAG, "F", b"X-c=d\0"), TAG, 8);
        assert_eq!(interrupted, Err(TextError::AnswerInterrupted.into()));
    }
}
