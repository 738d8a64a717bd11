//! A blocking initiator over TCP: drives `iscsi_proto::initiator`, and lets a scenario send whatever it likes instead.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iscsi_proto::digest::Digests;
use iscsi_proto::framer::{FrameError, Framer};
use iscsi_proto::initiator::{
    Command, Event, Initiator, LoginFailure, Options, Outcome, Parameters, Violation, decode_pairs, encode_pairs,
};
use iscsi_proto::pdu::{
    Cdb, LogoutReason, LogoutResponse, NopIn, PduError, RawPdu, Reject, Request, Response, TaskManagementFunction,
    TaskManagementResponse,
};
use iscsi_proto::types::{InitiatorTaskTag, Lun};

/// How long a scenario waits for bytes before it calls the target silent.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    /// Nothing came for [`PATIENCE`], or what was set instead.
    Silent,
    /// The target closed the connection.
    Closed,
    Login(LoginFailure),
    Frame(FrameError),
    Pdu(PduError),
    Violation(Violation),
    Rejected(Reject),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Silent,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Error::Closed,
            _ => Error::Io(error),
        }
    }
}

/// A TCP connection and the PDUs on it, with no idea of what is right.
pub struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    framer: Framer,
    digests: Digests,
}

impl Connection {
    pub fn open(address: impl ToSocketAddrs) -> Result<Connection, Error> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut framer = Framer::new();
        // A target may not know better than to send more during login: that is for others to judge.
        framer.set_max_recv_data_segment_length(u32::MAX);
        Ok(Connection { stream, buffer: BytesMut::new(), framer, digests: Digests::NONE })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn local_address(&self) -> Result<SocketAddr, Error> {
        Ok(self.stream.local_addr()?)
    }

    pub fn set_patience(&self, patience: Duration) -> Result<(), Error> {
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    /// Both directions follow what was agreed from here on.
    pub fn negotiated(&mut self, parameters: &Parameters) {
        self.digests = parameters.digests;
        self.framer.negotiated(parameters.digests, parameters.max_recv_data_segment_length);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes)?)
    }

    pub fn send(&mut self, request: impl Into<Request>) -> Result<(), Error> {
        self.send_raw(&request.into().to_raw())
    }

    pub fn send_raw(&mut self, pdu: &RawPdu) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        self.digests.put(pdu, &mut bytes);
        self.send_bytes(&bytes)
    }

    pub fn recv_raw(&mut self) -> Result<RawPdu, Error> {
        loop {
            if let Some(pdu) = self.framer.next(&mut self.buffer).map_err(Error::Frame)? {
                return Ok(pdu);
            }
            read_some(&mut self.stream, &mut self.buffer, self.framer.wanted())?;
        }
    }

    pub fn recv(&mut self) -> Result<Response, Error> {
        Response::decode(self.recv_raw()?).map_err(Error::Pdu)
    }

    /// Reads and forgets until the target closes; an error if it does not.
    pub fn expect_close(&mut self) -> Result<(), Error> {
        loop {
            match self.recv_raw() {
                Ok(_) | Err(Error::Pdu(_)) => (),
                Err(Error::Closed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A session of one connection, logged in.
pub struct Session {
    connection: Connection,
    initiator: Initiator,
    /// Events nobody has asked for yet.
    pending: VecDeque<Event>,
}

impl Session {
    pub fn login(address: impl ToSocketAddrs, options: Options) -> Result<Session, Error> {
        let connection = Connection::open(address)?;
        let mut session = Session { connection, initiator: Initiator::new(options), pending: VecDeque::new() };
        let parameters = session.wait(|event| match event {
            Event::LoggedIn(parameters) => Ok(parameters),
            other => Err(other),
        })?;
        session.connection.negotiated(&parameters);
        Ok(session)
    }

    pub fn parameters(&self) -> &Parameters {
        self.initiator.parameters().expect("a session is logged in")
    }

    pub fn initiator(&mut self) -> &mut Initiator {
        &mut self.initiator
    }

    /// Below the session: what is received here, the session never sees.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends a command and waits for its end.
    pub fn command(
        &mut self,
        lun: u16,
        cdb: &[u8],
        data_out: impl Into<Bytes>,
        data_in_length: u32,
    ) -> Result<Outcome, Error> {
        let lun = Lun::from_u16(lun).expect("a single-level LUN");
        let cdb = Cdb::new(cdb).expect("a CDB of 260 bytes at most");
        self.execute(Command::with_data(lun, cdb, data_out.into(), data_in_length))
    }

    pub fn execute(&mut self, command: Command) -> Result<Outcome, Error> {
        let tag = self.submit(command)?;
        self.complete(tag)
    }

    /// Sends a command, as the window allows, and does not wait.
    pub fn submit(&mut self, command: Command) -> Result<InitiatorTaskTag, Error> {
        let tag = self.initiator.command(command).expect("fewer commands than TASKS_MAX");
        self.flush()?;
        Ok(tag)
    }

    pub fn complete(&mut self, wanted: InitiatorTaskTag) -> Result<Outcome, Error> {
        self.wait(|event| match event {
            Event::Complete { tag, outcome } if tag == wanted => Ok(outcome),
            other => Err(other),
        })
    }

    pub fn task_management(
        &mut self,
        function: TaskManagementFunction,
        lun: u16,
        referenced: Option<InitiatorTaskTag>,
    ) -> Result<TaskManagementResponse, Error> {
        let lun = Lun::from_u16(lun).expect("a single-level LUN");
        let tag = self.initiator.task_management(function, lun, referenced);
        self.wait(|event| match event {
            Event::TaskManagement(response) if response.initiator_task_tag == tag => Ok(response),
            other => Err(other),
        })
    }

    pub fn nop(&mut self, data: impl Into<Bytes>) -> Result<NopIn, Error> {
        let tag = self.initiator.nop(data.into());
        self.wait(|event| match event {
            Event::Nop(nop) if nop.initiator_task_tag == tag => Ok(nop),
            other => Err(other),
        })
    }

    pub fn text(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, Error> {
        let wanted = self.initiator.text(pairs.iter().copied());
        let text = self.wait(|event| match event {
            Event::Text { tag, text } if tag == wanted => Ok(text),
            other => Err(other),
        })?;
        Ok(decode_pairs(&text))
    }

    pub fn logout(mut self) -> Result<LogoutResponse, Error> {
        self.initiator.logout(LogoutReason::CLOSE_THE_SESSION);
        self.wait(|event| match event {
            Event::LoggedOut(response) => Ok(response),
            other => Err(other),
        })
    }

    /// Sends a request, right or wrong, behind the session's back.
    pub fn raw_send(&mut self, request: impl Into<Request>) -> Result<(), Error> {
        self.flush()?;
        self.connection.send(request)
    }

    pub fn raw_send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.flush()?;
        self.connection.send_bytes(bytes)
    }

    /// The next response, which the session does not see.
    pub fn raw_recv(&mut self) -> Result<Response, Error> {
        self.flush()?;
        self.connection.recv()
    }

    /// The next thing that happens, whatever it is.
    pub fn event(&mut self) -> Result<Event, Error> {
        self.wait(Ok)
    }

    /// Waits for an event that `take` wants; those it gives back are kept for later, but for faults.
    pub fn wait<T>(&mut self, mut take: impl FnMut(Event) -> Result<T, Event>) -> Result<T, Error> {
        self.flush()?;
        for _ in 0..self.pending.len() {
            let event = self.pending.pop_front().expect("as many as counted");
            match take(event) {
                Ok(wanted) => return Ok(wanted),
                Err(other) => self.pending.push_back(other),
            }
        }
        loop {
            while let Some(event) = self.initiator.poll_event() {
                match take(event) {
                    Ok(wanted) => return Ok(wanted),
                    Err(Event::LoginFailed(failure)) => return Err(Error::Login(failure)),
                    Err(Event::Violation(violation)) => return Err(Error::Violation(violation)),
                    Err(Event::Reject(reject)) => return Err(Error::Rejected(reject)),
                    Err(other) => self.pending.push_back(other),
                }
            }
            let pdu = self.connection.recv_raw()?;
            self.initiator.handle(pdu);
            self.flush()?;
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        while let Some(bytes) = self.initiator.poll_transmit() {
            self.connection.send_bytes(&bytes)?;
        }
        Ok(())
    }
}

/// Discovers targets: TargetName and TargetAddress pairs, in order.
pub fn discover(address: impl ToSocketAddrs, options: Options) -> Result<Vec<(String, String)>, Error> {
    let mut session = Session::login(address, options)?;
    let targets = session.text(&[("SendTargets", "All")])?;
    session.logout()?;
    Ok(targets)
}

/// key=value text for a hand-made Login or Text Request.
pub fn text(pairs: &[(&str, &str)]) -> Bytes {
    encode_pairs(pairs.iter().copied())
}

/// Reads what is there, at least one byte, without reading less than `wanted` at a time if the peer sends it.
fn read_some(stream: &mut TcpStream, buffer: &mut BytesMut, wanted: usize) -> Result<(), Error> {
    let start = buffer.len();
    buffer.resize(start + wanted.max(READ_BYTES_MIN), 0);
    let result = stream.read(&mut buffer[start..]);
    buffer.truncate(start + *result.as_ref().unwrap_or(&0));
    match result? {
        0 => Err(Error::Closed),
        _ => Ok(()),
    }
}

/// Small PDUs come in crowds: one read takes many.
const READ_BYTES_MIN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use iscsi_proto::pdu::{LoginRequest, LoginResponse, LoginStatus, Pdu};
    use iscsi_proto::types::{CmdSn, StatSn, Tsih};

    use super::*;

    fn refuse(stream: TcpStream) {
        let mut target = Connection { stream, buffer: BytesMut::new(), framer: Framer::new(), digests: Digests::NONE };
        let request = LoginRequest::decode(target.recv_raw().expect("a login")).expect("a Login Request");
        let response = LoginResponse {
            transit: false,
            continue_: false,
            current_stage: request.current_stage,
            next_stage: request.current_stage,
            version_max: 0,
            version_active: 0,
            isid: request.isid,
            tsih: Tsih::NEW_SESSION,
            initiator_task_tag: request.initiator_task_tag,
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(1),
            status: LoginStatus::NOT_FOUND,
            data: Bytes::new(),
        };
        target.send_raw(&response.to_raw()).expect("the initiator is there");
    }

    #[test]
    fn refusals_and_closing_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = thread::spawn(move || {
            refuse(listener.accept().expect("first connection").0);
            drop(listener.accept().expect("second connection"));
        });
        let options = || Options::normal("iqn.2026-11.net.example:host", "iqn.2026-11.net.example:none");
        match Session::login(address, options()) {
            Err(Error::Login(LoginFailure::Refused { status, .. })) => assert_eq!(status, LoginStatus::NOT_FOUND),
            other => panic!("{:?}", other.map(|_| ())),
        }
        assert!(matches!(Session::login(address, options()), Err(Error::Closed)));
        target.join().expect("the target's end is well");
    }
}
