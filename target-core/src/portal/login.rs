//! The login phase of a connection: carries Login Requests to the login state machine and answers its questions from the
//! configuration, the session registry and the system's random numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::Framer;
use iscsi_proto::login::admission::{Action, ExistingSession, decide};
use iscsi_proto::login::chap::{CHALLENGE_BYTES, Challenge, ChapRequirement, Credential};
use iscsi_proto::login::{
    Admission, Allow, AuthRequirement, Knock, Login, LoginError, Refusal, Rejected, Step, Verdict, chap,
};
use iscsi_proto::pdu::{LoginRequest, LoginResponse, Pdu, RawPdu, Request};
use iscsi_proto::session::keepalive::KeepaliveTimes;
use iscsi_proto::session::{Connection, Settings};
use iscsi_proto::text::{Digest, Offers, OperationalParameters, SessionType};
use iscsi_proto::types::{IscsiName, StatSn, Tpgt};
use tokio::net::TcpStream;

use super::connection::Ended;
use super::daemon::Shared;
use super::sessions::{Full, Registration, SessionKey};
use super::transmit::Transmitter;
use crate::lu::inventory::LunInventory;
use crate::lu::nexus::{InitiatorPort, Nexus, NexusName, RelativeTargetPort};
use crate::target::access;
use crate::target::catalog::Catalog;
use crate::target::config::{Auth, ChapAlgorithm, SessionLimits, TargetConfig};

/// Data-Out that a session may have solicited at once, in bytes: keeps a fast line full, and bounds what a session holds.
const SOLICITED_BYTES_MAX: u64 = 8 << 20;

/// A connection that has come through login, and all that its full feature phase starts with.
pub struct LoggedIn {
    pub peer: SocketAddr,
    pub registration: Registration,
    pub session: Connection,
    pub session_type: SessionType,
    pub framer: Framer,
    pub received: BytesMut,
    pub transmitter: Transmitter,
    pub nexus: Arc<Nexus>,
    pub inventory: LunInventory,
    pub protocol_level: u8,
    pub chap_user: Option<String>,
}

/// See the module. Bounded by `login_timeout`.
pub async fn perform(
    stream: &TcpStream,
    peer: SocketAddr,
    portal_group: u16,
    shared: &Arc<Shared>,
) -> Result<LoggedIn, Ended> {
    let limit = shared.limits.current().login_timeout;
    let catalog = shared.catalog.load_full();
    let mut exchange = Exchange {
        stream,
        framer: Framer::new(),
        received: BytesMut::new(),
        transmitter: Transmitter::new(Digests::NONE),
    };
    let clerk = Clerk { peer, portal_group, catalog, shared };
    match tokio::time::timeout(limit, clerk.log_in(&mut exchange)).await {
        Ok(Ok(done)) => {
            let Exchange { mut framer, received, mut transmitter, .. } = exchange;
            let digests = Digests {
                header: done.parameters.header_digest == Digest::Crc32c,
                data: done.parameters.data_digest == Digest::Crc32c,
            };
            framer.negotiated(digests, done.parameters.max_recv_data_segment_length);
            transmitter.set_digests(digests);
            Ok(LoggedIn {
                peer,
                registration: done.registration,
                session: done.session,
                session_type: done.session_type,
                framer,
                received,
                transmitter,
                nexus: done.nexus,
                inventory: done.inventory,
                protocol_level: done.parameters.iscsi_protocol_level,
                chap_user: done.chap_user,
            })
        }
        Ok(Err(ended)) => Err(ended),
        Err(_) => Err(Ended::LoginTimeout(limit)),
    }
}

/// The LUNs that a session of `initiator` sees on `target`, or why it may not be.
pub fn inventory_for(
    catalog: &Catalog,
    target: &IscsiName,
    initiator: &IscsiName,
    portal_group: u16,
    peer: SocketAddr,
    chap_user: Option<&str>,
) -> Result<LunInventory, Refusal> {
    let config = served(catalog, target, portal_group)?;
    let rule = config.admit(initiator.as_str(), peer.ip(), chap_user).map_err(not_admitted)?;
    if let Some(auth) = &config.auth {
        let refused = |why: String| Refusal::new(LoginError::AuthenticationFailure, why);
        match chap_user {
            None => return Err(refused("the target has come to require CHAP".to_owned())),
            Some(user) if !auth.users.iter().any(|known| known.name == user) => {
                return Err(refused(format!("there is no longer a user {user} in auth.chap")));
            }
            Some(_) => {}
        }
    }
    Ok(catalog.inventory(config.luns_under(rule)))
}

fn served<'a>(catalog: &'a Catalog, target: &IscsiName, portal_group: u16) -> Result<&'a TargetConfig, Refusal> {
    let not_found = |why: String| Refusal::new(LoginError::NotFound, why);
    let config = catalog.target(target).ok_or_else(|| not_found(format!("no target is named {target}")))?;
    match config.portal_groups.contains(&portal_group) {
        true => Ok(config),
        false => Err(not_found(format!("{target} is not served in portal group {portal_group}"))),
    }
}

fn not_admitted(refusal: access::Refusal) -> Refusal {
    Refusal::new(LoginError::AuthorizationFailure, refusal.to_string())
}

/// Login PDUs over the socket.
struct Exchange<'a> {
    stream: &'a TcpStream,
    framer: Framer,
    received: BytesMut,
    transmitter: Transmitter,
}

impl Exchange<'_> {
    async fn receive(&mut self) -> Result<RawPdu, Ended> {
        loop {
            if let Some(pdu) = self.framer.next(&mut self.received)? {
                return Ok(pdu);
            }
            self.received.reserve(self.framer.wanted());
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => return Err(Ended::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send(&mut self, response: &LoginResponse) -> Result<(), Ended> {
        self.transmitter.push(response.to_raw());
        while !self.transmitter.send(self.stream)? {
            self.stream.writable().await?;
        }
        Ok(())
    }
}

/// Answers the login's questions.
struct Clerk<'a> {
    peer: SocketAddr,
    portal_group: u16,
    catalog: Arc<Catalog>,
    shared: &'a Arc<Shared>,
}

struct Done {
    registration: Registration,
    session: Connection,
    session_type: SessionType,
    nexus: Arc<Nexus>,
    inventory: LunInventory,
    parameters: OperationalParameters,
    chap_user: Option<String>,
}

impl Clerk<'_> {
    async fn log_in(&self, exchange: &mut Exchange<'_>) -> Result<Done, Ended> {
        let mut login = Login::new(StatSn(random()));
        loop {
            let mut step = match self.receive_request(exchange, login).await? {
                Ok((login, request)) => login.handle(request),
                Err(rejected) => Err(rejected),
            };
            login = loop {
                step = match step {
                    Ok(Step::Send(response, login)) => {
                        exchange.send(&response).await?;
                        break login;
                    }
                    Ok(Step::Authorize(question)) => {
                        let verdict = self.authorize(&question.knock);
                        question.answer(verdict)
                    }
                    Ok(Step::Challenge(question)) => Ok(question.answer(challenge())),
                    Ok(Step::Admit(question)) => match self.admit(&question.admission).await {
                        Ok((registration, inventory)) => {
                            let (response, logged_in) = question.admit(registration.handle.tsih);
                            exchange.send(&response).await?;
                            return Ok(self.done(registration, inventory, logged_in));
                        }
                        Err(refusal) => Err(question.refuse(refusal)),
                    },
                    Err(rejected) => return Err(self.refuse(exchange, *rejected).await),
                };
            };
        }
    }

    async fn receive_request(
        &self,
        exchange: &mut Exchange<'_>,
        login: Login,
    ) -> Result<Result<(Login, LoginRequest), Box<Rejected>>, Ended> {
        let pdu = exchange.receive().await?;
        Ok(match Request::decode(pdu) {
            Ok(Request::LoginRequest(request)) => Ok((login, request)),
            Ok(other) => {
                let rule = format!("expected a Login Request, got {}", other.opcode());
                Err(login.refuse(Refusal::new(LoginError::InvalidDuringLogin, rule)))
            }
            Err(error) => Err(login.refuse(Refusal::new(LoginError::InitiatorError, error.to_string()))),
        })
    }

    async fn refuse(&self, exchange: &mut Exchange<'_>, rejected: Rejected) -> Ended {
        // The answer is a courtesy: the login has failed whether it arrives or not.
        let _ = exchange.send(&rejected.response).await;
        let name = |name: &Option<IscsiName>| name.as_ref().map_or("?".to_owned(), ToString::to_string);
        Ended::LoginRefused(format!(
            "initiator {} to target {}: {rejected}",
            name(&rejected.initiator_name),
            name(&rejected.target_name)
        ))
    }

    fn authorize(&self, knock: &Knock) -> Verdict {
        let (auth, limits, alias) = match (&knock.session_type, &knock.target_name) {
            (SessionType::Normal, Some(target)) => {
                let config = match served(&self.catalog, target, self.portal_group) {
                    Ok(config) => config,
                    Err(refusal) => return Verdict::Refuse(refusal),
                };
                if let Err(refusal) = config.admit(knock.initiator_name.as_str(), self.peer.ip(), None) {
                    return Verdict::Refuse(not_admitted(refusal));
                }
                if let Some(redirect) = &config.redirect {
                    return Verdict::Redirect { address: redirect.address.clone(), permanent: redirect.permanent };
                }
                let alias = config.alias.clone().unwrap_or_else(|| self.catalog.config.node.clone());
                (&config.auth, &config.limits, Some(alias))
            }
            _ => (&self.catalog.config.discovery_auth, &self.catalog.config.session_limits, None),
        };
        Verdict::Allow(Allow {
            auth: auth.as_ref().map_or(AuthRequirement::None, |auth| AuthRequirement::Chap(requirement(auth))),
            tpgt: Tpgt(self.portal_group),
            target_alias: alias,
            offers: offers(limits),
            command_window: limits.queue_depth,
        })
    }

    async fn admit(&self, admission: &Admission) -> Result<(Registration, LunInventory), Refusal> {
        let user = admission.chap_user.as_deref();
        let is_normal = admission.session_type == SessionType::Normal;
        let (inventory, of_target_max) = match &admission.target_name {
            Some(target) if is_normal => {
                let (initiator, tag) = (&admission.initiator_name, self.portal_group);
                let inventory = inventory_for(&self.catalog, target, initiator, tag, self.peer, user)?;
                let limits = self.catalog.target(target).map_or(usize::MAX, |config| config.limits.max_sessions);
                (inventory, limits)
            }
            _ => (LunInventory::default(), usize::MAX),
        };
        let key = SessionKey {
            initiator: admission.initiator_name.clone(),
            isid: admission.isid,
            target: admission.target_name.clone().filter(|_| is_normal),
            portal_group: self.portal_group,
        };
        self.decide(admission, &key)?;
        let sessions_max = self.shared.limits.current().max_sessions;
        match self.shared.sessions.register(key, admission.cid, sessions_max, of_target_max).await {
            Ok(registration) => {
                // A reload between the login's beginning and here has not told this session, which was not one yet; one
                // after here will.
                let current = self.shared.catalog.load();
                match &admission.target_name {
                    Some(target) if is_normal && !Arc::ptr_eq(&current, &self.catalog) => {
                        let (initiator, tag) = (&admission.initiator_name, self.portal_group);
                        let inventory = inventory_for(&current, target, initiator, tag, self.peer, user)?;
                        Ok((registration, inventory))
                    }
                    _ => Ok((registration, inventory)),
                }
            }
            Err(Full::Daemon { max }) => {
                let rule = format!("{max} sessions are open, which is limits.max_sessions");
                Err(Refusal::new(LoginError::OutOfResources, rule))
            }
            Err(Full::Target { max }) => {
                let rule = format!("{max} sessions are open to this target, which is its limits.max_sessions");
                Err(Refusal::new(LoginError::OutOfResources, rule))
            }
        }
    }

    /// RFC 7143 §6.3.1: a session of its own, or in the place of the old one. With MaxConnections=1 none is joined.
    fn decide(&self, admission: &Admission, key: &SessionKey) -> Result<(), Refusal> {
        let existing = self.shared.sessions.find(key);
        let connections = existing.as_ref().map(|handle| [handle.cid]);
        let existing = existing.as_ref().zip(connections.as_ref());
        let existing = existing.map(|(handle, connections)| ExistingSession {
            tsih: handle.tsih,
            connections,
            max_connections: 1,
        });
        match decide(existing, admission.tsih, admission.cid)? {
            Action::NewSession | Action::ReinstateSession(_) => Ok(()),
            Action::AddConnection(tsih) | Action::ReinstateConnection(tsih) => Err(Refusal::new(
                LoginError::CannotIncludeInSession,
                format!("session {tsih} keeps the one connection it began with; log in anew with TSIH 0"),
            )),
        }
    }

    fn done(
        &self,
        registration: Registration,
        inventory: LunInventory,
        logged_in: iscsi_proto::login::LoggedIn,
    ) -> Done {
        let key = &registration.handle.key;
        let limits = key
            .target
            .as_ref()
            .and_then(|target| self.catalog.target(target))
            .map_or(&self.catalog.config.session_limits, |config| &config.limits);
        let parameters = logged_in.parameters;
        let settings = Settings {
            initial_r2t: parameters.initial_r2t,
            immediate_data: parameters.immediate_data,
            first_burst_length: parameters.first_burst_length,
            max_burst_length: parameters.max_burst_length,
            max_outstanding_r2t: parameters.max_outstanding_r2t,
            data_in_segment_max: parameters.initiator_max_recv_data_segment_length,
            queue_depth: limits.queue_depth,
            solicited_bytes_max: SOLICITED_BYTES_MAX,
            keepalive: Some(KeepaliveTimes { interval: limits.keepalive_interval, timeout: limits.keepalive_timeout }),
        };
        let nexus = Nexus {
            name: NexusName {
                initiator: InitiatorPort { name: key.initiator.shared(), isid: key.isid.0 },
                target_port: key
                    .target
                    .as_ref()
                    .map_or(RelativeTargetPort(0), |target| self.catalog.target_port(target, self.portal_group)),
            },
            session: registration.handle.id,
            target_name: key.target.as_ref().map_or_else(|| "".into(), IscsiName::shared),
            portal_group: self.portal_group,
        };
        Done {
            session: Connection::new(settings, logged_in.exp_cmd_sn, logged_in.next_stat_sn, Instant::now()),
            session_type: logged_in.session_type,
            registration,
            nexus: Arc::new(nexus),
            inventory,
            parameters,
            chap_user: logged_in.chap_user,
        }
    }
}

fn requirement(auth: &Auth) -> ChapRequirement {
    let credential = |given: &crate::target::config::ChapCredentials| Credential {
        user: given.name.clone(),
        secret: chap::Secret::new(given.secret.0.clone()),
    };
    ChapRequirement {
        users: auth.users.iter().map(credential).collect(),
        mutual: auth.mutual.as_ref().map(credential),
        algorithms: auth
            .algorithms
            .iter()
            .map(|algorithm| match algorithm {
                ChapAlgorithm::Md5 => chap::Algorithm::Md5,
                ChapAlgorithm::Sha1 => chap::Algorithm::Sha1,
                ChapAlgorithm::Sha256 => chap::Algorithm::Sha256,
                ChapAlgorithm::Sha3_256 => chap::Algorithm::Sha3_256,
            })
            .collect(),
    }
}

fn offers(limits: &SessionLimits) -> Offers {
    Offers {
        initial_r2t: limits.initial_r2t,
        immediate_data: limits.immediate_data,
        max_recv_data_segment_length: limits.max_recv_data_segment_length,
        max_burst_length: limits.max_burst_length,
        first_burst_length: limits.first_burst_length,
        max_outstanding_r2t: limits.max_outstanding_r2t,
        ..Offers::default()
    }
}

fn challenge() -> Challenge {
    let mut octets = [0; CHALLENGE_BYTES];
    getrandom::fill(&mut octets).expect("Linux gives random bytes");
    Challenge { identifier: random() as u8, octets }
}

fn random() -> u32 {
    getrandom::u32().expect("Linux gives random bytes")
}
