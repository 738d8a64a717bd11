//! Answers to the operational keys, out of the table (RFC 7143 §6.2, §13).

use super::keys::{InDiscovery, Kind, Senders, Stage, Usage};
use super::value::{self, IRRELEVANT, NOT_UNDERSTOOD, REJECT};
use super::{Key, KeySet, Offers, OperationalParameters, Pair, SendTargets, SessionType, TextError};
use std::collections::HashSet;
use std::ops::RangeInclusive;

/// The LoginOperationalNegotiation stage of one login.
#[derive(Clone, Debug)]
pub struct Negotiation {
    offers: Offers,
    session_type: SessionType,
    leading: bool,
    parameters: OperationalParameters,
    seen: KeySet,
    declared: bool,
}

impl Negotiation {
    /// `leading`: the login of the session's first connection (TSIH 0), which alone may carry the LO keys.
    pub fn new(offers: Offers, session_type: SessionType, leading: bool) -> Negotiation {
        Negotiation {
            offers,
            session_type,
            leading,
            parameters: OperationalParameters::default(),
            seen: KeySet::default(),
            declared: false,
        }
    }

    /// The answers to one logical text data segment, in its order, and on the first call what we declare ourselves.
    pub fn answer(&mut self, pairs: &[Pair]) -> Result<Vec<Pair>, TextError> {
        refuse_duplicates(pairs)?;
        let mut answers = Vec::new();
        // FirstBurstLength depends on InitialR2T, ImmediateData and MaxBurstLength: "Checking for compliance with the
        // integrity rule must only be performed after all the parameters are available" (§6.2).
        let (dependent, others): (Vec<&Pair>, Vec<&Pair>) =
            pairs.iter().partition(|pair| pair.key == Key::FirstBurstLength.name());
        for pair in others.into_iter().chain(dependent) {
            answers.extend(self.answer_one(pair)?);
        }
        if !self.declared {
            self.declared = true;
            self.parameters.max_recv_data_segment_length = self.offers.max_recv_data_segment_length;
            let ours = self.offers.max_recv_data_segment_length.to_string();
            answers.push(Pair::new(Key::MaxRecvDataSegmentLength.name(), ours));
        }
        Ok(answers)
    }

    /// The parameters that were agreed on, or an error if a digest is required and was not.
    pub fn finish(mut self) -> Result<OperationalParameters, TextError> {
        for (key, allowed, agreed) in [
            (Key::HeaderDigest, &self.offers.header_digests, self.parameters.header_digest),
            (Key::DataDigest, &self.offers.data_digests, self.parameters.data_digest),
        ] {
            if !allowed.contains(&agreed) {
                return Err(TextError::NotAdmissible { key: key.name().to_owned(), value: agreed.name().to_owned() });
            }
        }
        // "FirstBurstLength MUST NOT exceed MaxBurstLength" (§13.14): a default may, when only the other was
        // negotiated.
        self.parameters.first_burst_length = self.parameters.first_burst_length.min(self.parameters.max_burst_length);
        if self.session_type == SessionType::Discovery {
            // "The Discovery session implies MaxConnections = 1 and overrides both the default and an explicit
            // setting."
            self.parameters.max_connections = 1;
            self.parameters.error_recovery_level = 0;
        }
        Ok(self.parameters)
    }

    fn answer_one(&mut self, pair: &Pair) -> Result<Option<Pair>, TextError> {
        let Some(key) = Key::named(&pair.key) else {
            // "The answer for a key that is not understood MUST be key=NotUnderstood" (§6.2).
            return Ok(Some(Pair::new(pair.key.as_str(), NOT_UNDERSTOOD)));
        };
        let rule = key.rule();
        if rule.stage == Stage::Any {
            return Ok(None); // the login reads these, in every stage
        }
        if rule.senders == Senders::Target {
            return Err(TextError::NotForInitiators(pair.key.clone()));
        }
        let not_now = |allowed, now| TextError::NotNow { key: pair.key.clone(), allowed, now };
        if rule.stage == Stage::Security {
            return Err(not_now(rule.stage.describe(), "in the LoginOperationalNegotiation stage"));
        }
        match rule.usage {
            Usage::FullFeaturePhaseOnly => return Err(not_now(rule.usage.describe(), "during login")),
            Usage::LeadingOnly if !self.leading => {
                return Err(not_now(rule.usage.describe(), "in the login of a further connection"));
            }
            Usage::LeadingOnly | Usage::InitializeOnly | Usage::All => {}
        }
        refuse_reserved(pair)?;
        if !self.seen.insert(key) {
            return Err(TextError::Duplicate(pair.key.clone()));
        }
        let irrelevant = rule.discovery == InDiscovery::Irrelevant && self.session_type == SessionType::Discovery;
        let without_first_burst = self.parameters.initial_r2t && !self.parameters.immediate_data;
        // "Irrelevant when: ( InitialR2T=Yes and ImmediateData=No )" (§13.14).
        if irrelevant || (key == Key::FirstBurstLength && without_first_burst) {
            return Ok(Some(Pair::new(rule.name, IRRELEVANT)));
        }
        let answer = self.decide(key, pair)?;
        Ok(answer.map(|value| Pair::new(rule.name, value)))
    }

    /// The value answered; `None` where no answer is due.
    fn decide(&mut self, key: Key, pair: &Pair) -> Result<Option<String>, TextError> {
        let (offers, parameters, proposed) = (&self.offers, &mut self.parameters, pair.value.as_str());
        let answer = match &key.rule().kind {
            Kind::Declarative | Kind::Authentication | Kind::SendTargets => return Ok(None),
            Kind::DeclarativeNumber { range, set, .. } => {
                set(parameters, declared_number(pair, range)?);
                return Ok(None);
            }
            Kind::List { choose } => {
                value::list(proposed).find(|value| choose(offers, parameters, value)).unwrap_or(REJECT).to_owned()
            }
            Kind::And { ours, set } => boolean(proposed, |theirs| theirs && ours(offers), |v| set(parameters, v)),
            Kind::Or { ours, set } => boolean(proposed, |theirs| theirs || ours(offers), |v| set(parameters, v)),
            Kind::Minimum { range, ours, set } => {
                let ceiling = if key == Key::FirstBurstLength { parameters.max_burst_length } else { u32::MAX };
                number(proposed, range, |theirs| theirs.min(ours(offers)).min(ceiling), |v| set(parameters, v))
            }
            Kind::Maximum { range, ours, set } => {
                number(proposed, range, |theirs| theirs.max(ours(offers)), |v| set(parameters, v))
            }
            // An agreement on No where No was proposed; a proposal of anything else is rejected.
            Kind::ObsoleteMarker if proposed == "No" => "No".to_owned(),
            Kind::ObsoleteMarker | Kind::ObsoleteMarkerInterval => REJECT.to_owned(),
        };
        Ok(Some(answer))
    }
}

/// What a Text negotiation in the full feature phase comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullFeatureAnswer {
    pub answers: Vec<Pair>,
    /// The targets asked for: their records are to be appended to the answers.
    pub send_targets: Option<SendTargets>,
    /// The longest data segment the initiator takes from now on, once this answer has been sent ("Parameters negotiated
    /// by a text exchange negotiation sequence only become effective after the negotiation sequence is completed",
    /// §6.4).
    pub initiator_max_recv_data_segment_length: Option<u32>,
    pub initiator_alias: Option<String>,
}

/// Answers to one logical text data segment of the full feature phase. `seen`: the keys of this negotiation so far.
pub fn full_feature(
    pairs: &[Pair],
    session_type: SessionType,
    seen: &mut KeySet,
) -> Result<FullFeatureAnswer, TextError> {
    refuse_duplicates(pairs)?;
    let mut outcome = FullFeatureAnswer::default();
    for pair in pairs {
        let Some(key) = Key::named(&pair.key) else {
            outcome.answers.push(Pair::new(pair.key.as_str(), NOT_UNDERSTOOD));
            continue;
        };
        let rule = key.rule();
        if rule.senders == Senders::Target {
            return Err(TextError::NotForInitiators(pair.key.clone()));
        }
        refuse_reserved(pair)?;
        if !seen.insert(key) {
            return Err(TextError::Duplicate(pair.key.clone()));
        }
        match (rule.usage, &rule.kind) {
            // "If the acceptor sends "Reject" as an answer, the negotiated key is left at its current value" (§6.2).
            (Usage::InitializeOnly | Usage::LeadingOnly, _) => outcome.answers.push(Pair::new(rule.name, REJECT)),
            (_, Kind::SendTargets) => match SendTargets::parse(&pair.value, session_type) {
                Some(wanted) => outcome.send_targets = Some(wanted),
                None => outcome.answers.push(Pair::new(rule.name, REJECT)),
            },
            (_, Kind::DeclarativeNumber { range, .. }) => {
                outcome.initiator_max_recv_data_segment_length = Some(declared_number(pair, range)?);
            }
            (_, _) if key == Key::InitiatorAlias => outcome.initiator_alias = Some(pair.value.clone()),
            (Usage::All | Usage::FullFeaturePhaseOnly, _) => {}
        }
    }
    Ok(outcome)
}

/// "Neither the initiator nor the target should attempt to declare or negotiate a parameter more than once" (§6.3);
/// nothing that an initiator sends may be repeated.
pub fn refuse_duplicates(pairs: &[Pair]) -> Result<(), TextError> {
    let mut names = HashSet::with_capacity(pairs.len());
    match pairs.iter().find(|pair| !names.insert(pair.key.as_str())) {
        Some(pair) => Err(TextError::Duplicate(pair.key.clone())),
        None => Ok(()),
    }
}

fn refuse_reserved(pair: &Pair) -> Result<(), TextError> {
    if value::is_reserved_for_answers(&pair.value) {
        return Err(TextError::ReservedValue { key: pair.key.clone(), value: pair.value.clone() });
    }
    Ok(())
}

fn declared_number(pair: &Pair, range: &RangeInclusive<u32>) -> Result<u32, TextError> {
    admissible(&pair.value, range)
        .ok_or_else(|| TextError::NotAdmissible { key: pair.key.clone(), value: pair.value.clone() })
}

fn admissible(value: &str, range: &RangeInclusive<u32>) -> Option<u32> {
    let number = u32::try_from(value::numerical(value)?).ok()?;
    range.contains(&number).then_some(number)
}

/// "Proposing a value not admissible (e.g., not within the specified bounds) MAY be answered with the constant
/// "Reject"" (§6.2.2).
fn number(
    proposed: &str,
    range: &RangeInclusive<u32>,
    select: impl FnOnce(u32) -> u32,
    set: impl FnOnce(u32),
) -> String {
    let Some(theirs) = admissible(proposed, range) else { return REJECT.to_owned() };
    let selected = select(theirs);
    set(selected);
    selected.to_string()
}

fn boolean(proposed: &str, select: impl FnOnce(bool) -> bool, set: impl FnOnce(bool)) -> String {
    let Some(theirs) = value::boolean(proposed) else { return REJECT.to_owned() };
    let selected = select(theirs);
    set(selected);
    value::yes_or_no(selected).to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{Digest, TaskReporting};
    use super::*;

    fn answer_in(negotiation: &mut Negotiation, text: &str) -> Result<String, TextError> {
        let pairs: Vec<Pair> = text
            .split_whitespace()
            .map(|pair| pair.split_once('=').map(|(key, value)| Pair::new(key, value)).expect("key=value"))
            .collect();
        let answers = negotiation.answer(&pairs)?;
        Ok(answers.iter().map(Pair::to_string).collect::<Vec<_>>().join(" "))
    }

    fn negotiation(session_type: SessionType) -> Negotiation {
        let mut negotiation = Negotiation::new(Offers::default(), session_type, true);
        assert_eq!(answer_in(&mut negotiation, ""), Ok("MaxRecvDataSegmentLength=262144".into()), "declared once");
        negotiation
    }

    /// The answer to each key alone, in a normal and in a discovery session.
    #[test]
    fn golden_answers() {
        for (proposal, normal, discovery) in [
            ("HeaderDigest=CRC32C,None", "CRC32C", "CRC32C"),
            ("HeaderDigest=None,CRC32C", "None", "None"),
            ("HeaderDigest=Y-net.example.sum,CRC32C", "CRC32C", "CRC32C"),
            ("DataDigest=CRC32C", "CRC32C", "CRC32C"),
            ("DataDigest=SHA1", "Reject", "Reject"),
            ("DataDigest=", "Reject", "Reject"),
            ("MaxConnections=8", "1", "Irrelevant"),
            ("MaxConnections=0", "Reject", "Irrelevant"),
            ("MaxConnections=65536", "Reject", "Irrelevant"),
            ("InitialR2T=No", "No", "Irrelevant"),
            ("InitialR2T=Yes", "Yes", "Irrelevant"),
            ("InitialR2T=yes", "Reject", "Irrelevant"),
            ("ImmediateData=Yes", "Yes", "Irrelevant"),
            ("ImmediateData=No", "No", "Irrelevant"),
            ("MaxBurstLength=16776192", "1048576", "Irrelevant"),
            ("MaxBurstLength=0x1000", "4096", "Irrelevant"),
            ("MaxBurstLength=511", "Reject", "Irrelevant"),
            ("MaxBurstLength=16777216", "Reject", "Irrelevant"),
            ("MaxBurstLength=01024", "Reject", "Irrelevant"),
            ("FirstBurstLength=512", "512", "Irrelevant"),
            ("FirstBurstLength=16777215", "262144", "Irrelevant"),
            ("DefaultTime2Wait=2", "2", "2"),
            ("DefaultTime2Wait=3601", "Reject", "Reject"),
            ("DefaultTime2Retain=20", "0", "0"),
            ("MaxOutstandingR2T=1", "1", "Irrelevant"),
            ("MaxOutstandingR2T=64", "8", "Irrelevant"),
            ("DataPDUInOrder=No", "Yes", "Irrelevant"),
            ("DataSequenceInOrder=Yes", "Yes", "Irrelevant"),
            ("ErrorRecoveryLevel=2", "0", "0"),
            ("ErrorRecoveryLevel=3", "Reject", "Reject"),
            ("TaskReporting=FastAbort,ResponseFence,RFC3720", "RFC3720", "Irrelevant"),
            ("TaskReporting=FastAbort", "Reject", "Irrelevant"),
            ("iSCSIProtocolLevel=2", "2", "Irrelevant"),
            ("iSCSIProtocolLevel=31", "2", "Irrelevant"),
            ("iSCSIProtocolLevel=32", "Reject", "Irrelevant"),
            ("IFMarker=No", "No", "No"),
            ("OFMarker=Yes", "Reject", "Reject"),
            ("IFMarkInt=2048~8192", "Reject", "Reject"),
            ("OFMarkInt=2048", "Reject", "Reject"),
            ("X-com.example.feature=3", "NotUnderstood", "NotUnderstood"),
            ("Z-com.example.method=3", "NotUnderstood", "NotUnderstood"),
            ("RDMAExtensions=Yes", "NotUnderstood", "NotUnderstood"),
        ] {
            let (key, _) = proposal.split_once('=').expect("key=value");
            for (session_type, expected) in [(SessionType::Normal, normal), (SessionType::Discovery, discovery)] {
                let answer = answer_in(&mut negotiation(session_type), proposal);
                assert_eq!(answer, Ok(format!("{key}={expected}")), "{proposal} in a {session_type:?} session");
            }
        }
    }

    #[test]
    fn declarations_get_no_answer() {
        let mut negotiation = negotiation(SessionType::Normal);
        assert_eq!(
            answer_in(&mut negotiation, "MaxRecvDataSegmentLength=16777215 X#NodeArchitecture=a/1"),
            Ok(String::new())
        );
        assert_eq!(negotiation.finish().map(|p| p.initiator_max_recv_data_segment_length), Ok(16_777_215));
    }

    #[test]
    fn results_are_kept() {
        let mut negotiation = negotiation(SessionType::Normal);
        let proposal = "HeaderDigest=CRC32C DataDigest=CRC32C InitialR2T=No ImmediateData=No MaxBurstLength=8192 \
             FirstBurstLength=65536 DefaultTime2Wait=5 MaxOutstandingR2T=4 iSCSIProtocolLevel=2 TaskReporting=RFC3720";
        answer_in(&mut negotiation, proposal).expect("admissible");
        assert_eq!(
            negotiation.finish(),
            Ok(OperationalParameters {
                header_digest: Digest::Crc32c,
                data_digest: Digest::Crc32c,
                initial_r2t: false,
                immediate_data: false,
                max_recv_data_segment_length: 262_144,
                max_burst_length: 8192,
                first_burst_length: 8192,
                default_time2wait: 5,
                max_outstanding_r2t: 4,
                iscsi_protocol_level: 2,
                task_reporting: TaskReporting::Rfc3720,
                ..OperationalParameters::default()
            })
        );
    }

    /// The example of RFC 7143 §6.2.
    #[test]
    fn first_burst_length_is_irrelevant_without_unsolicited_data() {
        let offers = Offers { initial_r2t: true, immediate_data: false, ..Offers::default() };
        let mut negotiation = Negotiation::new(offers, SessionType::Normal, true);
        assert_eq!(
            answer_in(&mut negotiation, "FirstBurstLength=4192 InitialR2T=No ImmediateData=Yes"),
            Ok("InitialR2T=Yes ImmediateData=No FirstBurstLength=Irrelevant MaxRecvDataSegmentLength=262144".into())
        );
    }

    #[test]
    fn first_burst_never_exceeds_max_burst() {
        let mut only_max_burst = negotiation(SessionType::Normal);
        answer_in(&mut only_max_burst, "MaxBurstLength=1024").expect("admissible");
        assert_eq!(only_max_burst.finish().map(|p| p.first_burst_length), Ok(1024));
    }

    #[test]
    fn a_required_digest_has_to_be_agreed_on() {
        let offers = Offers { header_digests: vec![Digest::Crc32c], ..Offers::default() };
        let without = Negotiation::new(offers.clone(), SessionType::Normal, true);
        assert!(matches!(without.finish(), Err(TextError::NotAdmissible { .. })));
        let mut with = Negotiation::new(offers, SessionType::Normal, true);
        answer_in(&mut with, "HeaderDigest=None,CRC32C").expect("admissible");
        assert_eq!(with.finish().map(|p| p.header_digest), Ok(Digest::Crc32c));
    }

    #[test]
    fn protocol_errors_are_refused() {
        for proposal in [
            "ImmediateData=Yes ImmediateData=Yes",
            "X-a=1 X-a=2",
            "HeaderDigest=Reject",
            "InitialR2T=Irrelevant",
            "MaxRecvDataSegmentLength=NotUnderstood",
            "MaxRecvDataSegmentLength=511",
            "MaxRecvDataSegmentLength=16777216",
            "MaxRecvDataSegmentLength=many",
            "SendTargets=All",
            "AuthMethod=None",
            "CHAP_R=0x00",
        ] {
            assert!(answer_in(&mut negotiation(SessionType::Normal), proposal).is_err(), "{proposal}");
        }
        let mut twice = negotiation(SessionType::Normal);
        answer_in(&mut twice, "ErrorRecoveryLevel=0").expect("the first time");
        assert_eq!(
            answer_in(&mut twice, "ErrorRecoveryLevel=0"),
            Err(TextError::Duplicate("ErrorRecoveryLevel".into()))
        );
        let mut further = Negotiation::new(Offers::default(), SessionType::Normal, false);
        assert!(matches!(answer_in(&mut further, "MaxConnections=1"), Err(TextError::NotNow { .. })));
        assert!(answer_in(&mut further, "HeaderDigest=None").is_ok());
    }

    #[test]
    fn full_feature_phase_answers() {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(k, v)| Pair::new(*k, *v)).collect::<Vec<_>>();
        let mut seen = KeySet::default();
        let answer = full_feature(
            &pairs(&[
                ("MaxRecvDataSegmentLength", "65536"),
                ("InitiatorAlias", "host"),
                ("MaxBurstLength", "8192"),
                ("HeaderDigest", "None"),
                ("X-com.example.a", "b"),
            ]),
            SessionType::Normal,
            &mut seen,
        )
        .expect("admissible");
        assert_eq!(answer.initiator_max_recv_data_segment_length, Some(65536));
        assert_eq!(answer.initiator_alias.as_deref(), Some("host"));
        assert_eq!(
            answer.answers,
            pairs(&[("MaxBurstLength", "Reject"), ("HeaderDigest", "Reject"), ("X-com.example.a", "NotUnderstood")])
        );
        let again = full_feature(&pairs(&[("MaxRecvDataSegmentLength", "8192")]), SessionType::Normal, &mut seen);
        assert_eq!(again, Err(TextError::Duplicate("MaxRecvDataSegmentLength".into())));
        let ours = full_feature(&pairs(&[("TargetAlias", "x")]), SessionType::Normal, &mut KeySet::default());
        assert_eq!(ours, Err(TextError::NotForInitiators("TargetAlias".into())));
    }
}
