//! From an address to a session that is ready for its data phase: connection, login, READ CAPACITY (16).

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iscsi_proto::initiator::{
    BinaryEncoding, Chap, ChapAlgorithm, Command, Event, Initiator, LoginFailure, Options, Outcome, Parameters,
    decode_pairs,
};
use iscsi_proto::pdu::{Cdb, LoginStatus, ScsiStatus};
use iscsi_proto::types::{CmdSn, ExpStatSn, Isid, Lun};
use lunmirror::api::Failure;

use super::super::{EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, Ended};
use super::arguments::BenchArguments;
use super::sense::{Told, in_words};
use super::trouble::STALL;
use super::url::Url;

/// A session whose unit answers.
#[derive(Debug)]
pub struct Opened {
    pub stream: TcpStream,
    pub parameters: Parameters,
    pub cmd_sn: CmdSn,
    pub max_cmd_sn: CmdSn,
    pub exp_stat_sn: ExpStatSn,
    pub capacity: Capacity,
    /// What came off the socket and is not a whole PDU.
    pub rest: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub blocks: u64,
    pub block_bytes: u32,
}

/// The login's part of the command line.
#[derive(Clone, Debug)]
pub struct Credentials {
    chap: Option<Chap>,
    /// Of this run: two that took the same would end each other's sessions.
    isid_random: [u8; 3],
}

impl Credentials {
    pub fn new(arguments: &BenchArguments) -> Result<Credentials, Ended> {
        let mut isid_random = [0; 3];
        getrandom::fill(&mut isid_random).map_err(|error| {
            (Failure::new(format!("the system has no random numbers: {error}"), "try again"), EXIT_FAILED)
        })?;
        let (Some(user), Some(file)) = (&arguments.user, &arguments.password_file) else {
            return Ok(Credentials { chap: None, isid_random });
        };
        let secret = fs::read_to_string(file).map_err(|error| {
            let error = format!("{} cannot be read: {error}", file.display());
            (Failure::new(error, "name the file that holds the CHAP secret with --password-file"), EXIT_USAGE)
        })?;
        let chap = Chap {
            name: user.clone(),
            // As an editor ends it.
            secret: secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec(),
            algorithms: vec![ChapAlgorithm::Sha3_256, ChapAlgorithm::Sha256, ChapAlgorithm::Sha1, ChapAlgorithm::Md5],
            encoding: BinaryEncoding::Hexadecimal,
            target: None,
        };
        Ok(Credentials { chap: Some(chap), isid_random })
    }
}

/// Opens session number `index` of several.
pub fn open(arguments: &BenchArguments, credentials: &Credentials, index: u32) -> Result<Opened, Ended> {
    let mut options = Options::normal(&arguments.initiator_name, &arguments.url.target)
        .with("InitialR2T", "No")
        .with("MaxBurstLength", "16776192")
        .with("FirstBurstLength", "262144")
        .with("HeaderDigest", digest(arguments.digests.header()))
        .with("DataDigest", digest(arguments.digests.data()));
    let [high, low] = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    let [a, b, c] = credentials.isid_random;
    options.isid = Isid([ISID_RANDOM, a, b, c, high, low]);
    options.chap = credentials.chap.clone();
    let mut door = Door::login(&arguments.url, options)?;
    if let Err(failure) = door.parameters_hold(arguments) {
        return Err((failure, EXIT_FAILED));
    }
    let lun = arguments.url.lun;
    door.become_ready(lun)?;
    let capacity = door.read_capacity(lun)?;
    let initiator = door.initiator;
    let parameters = initiator.parameters().cloned().ok_or_else(|| door_broken("no login", &arguments.url))?;
    Ok(Opened {
        stream: door.stream,
        parameters,
        cmd_sn: initiator.cmd_sn(),
        max_cmd_sn: initiator.max_cmd_sn(),
        exp_stat_sn: initiator.exp_stat_sn(),
        capacity,
        rest: door.buffer,
    })
}

/// An initiator and its socket, one thing after the other.
struct Door {
    url: Url,
    stream: TcpStream,
    initiator: Initiator,
    buffer: BytesMut,
}

impl Door {
    fn login(url: &Url, options: Options) -> Result<Door, Ended> {
        let stream = connect(url)?;
        let mut door = Door { url: url.clone(), stream, initiator: Initiator::new(options), buffer: BytesMut::new() };
        match door.wait(|event| matches!(event, Event::LoggedIn(_) | Event::LoginFailed(_)))? {
            Event::LoginFailed(failure) => Err((door.refused(&failure), EXIT_FAILED)),
            _ => Ok(door),
        }
    }

    fn refused(&self, failure: &LoginFailure) -> Failure {
        let (host, port, target) = (&self.url.host, self.url.port, &self.url.target);
        let error = format!("no login to {target} at {host}:{port}: {failure}");
        let remedy = match failure {
            LoginFailure::Refused { status: LoginStatus::NOT_FOUND, .. } => match self.others() {
                Some(others) => format!("name one of its targets: {others}"),
                None => "name a target of its configuration".to_owned(),
            },
            LoginFailure::Refused { status: LoginStatus::AUTHENTICATION_FAILURE, .. } => {
                "name user and secret with --user NAME --password-file FILE".to_owned()
            }
            LoginFailure::Refused { status: LoginStatus::AUTHORIZATION_FAILURE, .. } => {
                "its access rules do not let this name or address in: see --initiator-name".to_owned()
            }
            LoginFailure::Refused { status, answers } if status.is_redirection() => {
                let address = answers.iter().find(|(key, _)| key == "TargetAddress");
                format!("ask at {}", address.map_or("its new address", |(_, address)| address))
            }
            _ => "see the target's log".to_owned(),
        };
        Failure::new(error, remedy)
    }

    /// The names that a discovery session tells, if it lets us in.
    fn others(&self) -> Option<String> {
        let name = "iqn.2026-11.net.lunmirror:bench";
        let stream = connect(&self.url).ok()?;
        let initiator = Initiator::new(Options::discovery(name));
        let mut door = Door { url: self.url.clone(), stream, initiator, buffer: BytesMut::new() };
        door.initiator.text([("SendTargets", "All")]);
        let Ok(Event::Text { text, .. }) = door.wait(|event| matches!(event, Event::Text { .. })) else { return None };
        let pairs = decode_pairs(&text);
        let names: Vec<&str> =
            pairs.iter().filter(|(key, _)| key == "TargetName").map(|(_, name)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// A target may refuse digests, but then it is not what was asked that would be measured.
    fn parameters_hold(&self, arguments: &BenchArguments) -> Result<(), Failure> {
        let asked = (arguments.digests.header(), arguments.digests.data());
        let got = self.initiator.parameters().map(|parameters| (parameters.digests.header, parameters.digests.data));
        if got == Some(asked) {
            return Ok(());
        }
        Err(Failure::new("the target does not agree to these digests", "use --digests none"))
    }

    /// Unit attentions are what a new nexus is told first.
    fn become_ready(&mut self, lun: Lun) -> Result<(), Ended> {
        let mut last = String::new();
        for _ in 0..ATTENTIONS_MAX {
            let outcome = self.command(lun, &[0; 6], 0)?;
            if outcome.status == ScsiStatus::GOOD {
                return Ok(());
            }
            last = in_words(outcome.status, &outcome.sense);
            if !Told::read(&outcome.sense).is_some_and(|told| told.is_unit_attention()) {
                break;
            }
        }
        let error = format!("LUN {lun} of {} is not ready: {last}", self.url.target);
        Err((Failure::new(error, "name a LUN that this target serves, on the node that serves it"), EXIT_FAILED))
    }

    fn read_capacity(&mut self, lun: Lun) -> Result<Capacity, Ended> {
        // SERVICE ACTION IN (16), READ CAPACITY (16), 32 bytes (SBC-4 §5.20).
        let mut cdb = [0; 16];
        (cdb[0], cdb[1], cdb[13]) = (0x9e, 0x10, 32);
        let outcome = self.command(lun, &cdb, 32)?;
        let fields =
            outcome.data.split_first_chunk::<8>().and_then(|(last, rest)| Some((last, rest.first_chunk::<4>()?)));
        match fields {
            Some((last, block)) if outcome.status == ScsiStatus::GOOD => Ok(Capacity {
                blocks: u64::from_be_bytes(*last).saturating_add(1),
                block_bytes: u32::from_be_bytes(*block),
            }),
            _ => {
                let told = in_words(outcome.status, &outcome.sense);
                let error = format!("LUN {lun} of {} does not tell its size: {told}", self.url.target);
                Err((Failure::new(error, "name a LUN that is a disk"), EXIT_FAILED))
            }
        }
    }

    fn command(&mut self, lun: Lun, cdb: &[u8], data_in_length: u32) -> Result<Outcome, Ended> {
        let cdb = Cdb::new(cdb).expect("16 bytes are no more than 260");
        let command = Command::with_data(lun, cdb, Bytes::new(), data_in_length);
        let tag = self.initiator.command(command).expect("one at a time");
        match self.wait(|event| matches!(event, Event::Complete { tag: of, .. } if *of == tag))? {
            Event::Complete { outcome, .. } => Ok(outcome),
            _ => Err(door_broken("no answer", &self.url)),
        }
    }

    /// The first event that is wanted; what ends a session is an error.
    fn wait(&mut self, wanted: impl Fn(&Event) -> bool) -> Result<Event, Ended> {
        loop {
            while let Some(bytes) = self.initiator.poll_transmit() {
                self.stream.write_all(&bytes).map_err(|error| lost(&self.url, &error))?;
            }
            while let Some(event) = self.initiator.poll_event() {
                match event {
                    event if wanted(&event) => return Ok(event),
                    Event::Violation(violation) => return Err(door_broken(&violation.to_string(), &self.url)),
                    Event::Reject(reject) => {
                        return Err(door_broken(&format!("{} rejected", reject.reason), &self.url));
                    }
                    Event::Async(message) => return Err(door_broken(&message.event.to_string(), &self.url)),
                    _ => (),
                }
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + self.initiator.wanted(), 0);
            let result = self.stream.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + result.as_ref().copied().unwrap_or(0));
            match result {
                Ok(0) => return Err(lost(&self.url, &io::Error::other("the target closed the connection"))),
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(lost(&self.url, &error)),
            }
            self.initiator.receive(&mut self.buffer).map_err(|error| door_broken(&error.to_string(), &self.url))?;
        }
    }
}

fn connect(url: &Url) -> Result<TcpStream, Ended> {
    let unreachable = |error: io::Error| {
        let error = format!("{}:{} cannot be reached: {error}", url.host, url.port);
        (Failure::new(error, "does the target run? is this one of its portals?"), EXIT_UNREACHABLE)
    };
    let addresses = (url.host.as_str(), url.port).to_socket_addrs().map_err(unreachable)?;
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, STALL) {
            Ok(stream) => {
                let set = stream.set_nodelay(true).and(stream.set_read_timeout(Some(STALL)));
                set.and(stream.set_write_timeout(Some(STALL))).map_err(unreachable)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

fn lost(url: &Url, error: &io::Error) -> Ended {
    let cause = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("nothing came for {} s", STALL.as_secs()),
        _ => error.to_string(),
    };
    let error = format!("{}:{} does not go on with the login: {cause}", url.host, url.port);
    (Failure::new(error, "is it an iSCSI portal? see the target's log"), EXIT_FAILED)
}

fn door_broken(what: &str, url: &Url) -> Ended {
    let error = format!("{}:{} breaks the protocol: {what}", url.host, url.port);
    (Failure::new(error, "is it an iSCSI target of RFC 7143? if it is lunmirror, report it with its log"), EXIT_FAILED)
}

fn digest(wanted: bool) -> &'static str {
    if wanted { "CRC32C" } else { "None" }
}

/// "the Random format" (RFC 7143 §11.12.5): three random bytes, and a qualifier of two that counts sessions.
const ISID_RANDOM: u8 = 0x80;

/// More than a unit has to tell at once.
const ATTENTIONS_MAX: usize = 16;

/// Between two looks at the clock while nothing comes.
pub const LOOK: Duration = Duration::from_millis(50);
