//! Before a slot's first frame, over a socket: who is there, and do they know the pair's secret?

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::driver::Setting;
use super::socket;
use crate::ids::{SessionId, Slot};
use crate::peer::io::Failure;
use crate::wire::handshake::{
    CELL_LENGTH, Caller, Cell, Dialing, HandshakeError, Nonce, Opened, Ours, Proven, Refusal, RefusalCode, Rejected,
    SlotHello, greet,
};
use crate::wire::secure::Ephemeral;

/// For all of a handshake, whatever it waits for.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Both sides have proven themselves.
#[derive(Debug)]
pub struct Established {
    pub stream: TcpStream,
    /// Owed to the peer before the first frame.
    pub preface: Option<Cell>,
    pub opened: Opened,
}

/// The peer has proven itself; it has not been answered.
#[derive(Debug)]
pub struct Arrival {
    stream: TcpStream,
    proven: Proven,
}

impl Established {
    pub fn addresses(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        (self.stream.local_addr().ok(), self.stream.peer_addr().ok())
    }
}

impl Arrival {
    pub fn hello(&self) -> &SlotHello {
        self.proven.peer()
    }

    pub fn admit(self) -> Established {
        let (opened, answer) = self.proven.admit();
        Established { stream: self.stream, preface: Some(answer), opened }
    }
}

pub async fn dial(
    setting: &Setting,
    address: SocketAddr,
    slot: Slot,
    session: SessionId,
) -> Result<Established, Failure> {
    let silence_max = setting.config.heartbeat.timeout;
    match timeout(silence_max.min(HANDSHAKE_MAX), socket::connect(address, silence_max)).await {
        Ok(Ok(stream)) => match timeout(HANDSHAKE_MAX, converse(setting, stream, slot, session)).await {
            Ok(established) => established,
            Err(_) => Err(Failure::Unreachable(format!("{address} did not answer within {HANDSHAKE_MAX:?}"))),
        },
        Ok(Err(error)) => Err(Failure::Unreachable(format!("{address}: {error}"))),
        Err(_) => Err(Failure::Unreachable(format!("{address}: no connection within {silence_max:?}"))),
    }
}

async fn converse(
    setting: &Setting,
    mut stream: TcpStream,
    slot: Slot,
    session: SessionId,
) -> Result<Established, Failure> {
    let (peer, keys) = (setting.config.name.clone(), setting.keys.clone());
    let (dialing, hello) = Dialing::start(ours(setting, slot, session), peer, keys);
    send(&mut stream, &hello).await?;
    let answer = receive(&mut stream).await?;
    let (expect, proof) = dialing.receive(&answer).map_err(failure_of)?;
    send(&mut stream, &proof).await?;
    let answer = receive(&mut stream).await?;
    let opened = expect.receive(&answer).map_err(failure_of)?;
    Ok(Established { stream, preface: None, opened })
}

/// The first message of whoever connected to us.
pub async fn hear(stream: &mut TcpStream) -> Result<Caller, Failure> {
    let cell = receive(stream).await?;
    match greet(&cell) {
        Ok(caller) => Ok(caller),
        Err(rejected) => Err(refuse(stream, rejected).await),
    }
}

/// The rest of the conversation, up to our last word.
pub async fn prove(setting: &Setting, mut stream: TcpStream, caller: Caller) -> Result<Arrival, Failure> {
    let silence_max = setting.config.heartbeat.timeout;
    socket::watch(&SockRef::from(&stream), silence_max).map_err(|error| Failure::Unreachable(error.to_string()))?;
    let (slot, session) = (caller.hello().slot, caller.hello().session);
    let (expect, hello) = match caller.answer(ours(setting, slot, session), setting.keys.clone()) {
        Ok(answer) => answer,
        Err(rejected) => return Err(refuse(&mut stream, rejected).await),
    };
    send(&mut stream, &hello).await?;
    let proof = receive(&mut stream).await?;
    match expect.receive(&proof) {
        Ok(proven) => Ok(Arrival { stream, proven }),
        Err(rejected) => Err(refuse(&mut stream, rejected).await),
    }
}

/// A proven connection that is not wanted.
pub async fn turn_away(mut arrival: Arrival, why: Failure) {
    let refusal = match why {
        Failure::SessionOver => Refusal::new(RefusalCode::OLD_SESSION, "that session has ended here"),
        Failure::Unreachable(text) => Refusal::new(RefusalCode::BUSY, text),
        Failure::Refused(text) => Refusal::new(RefusalCode::NO_SUCH_SLOT, text),
    };
    say(&mut arrival.stream, refusal).await;
}

/// Nobody whom we know, or nobody who should dial us.
pub async fn say(stream: &mut TcpStream, refusal: Refusal) {
    // Whether or not it is heard.
    let _ = timeout(HANDSHAKE_MAX, send(stream, &refusal.encode())).await;
}

async fn refuse(stream: &mut TcpStream, rejected: Rejected) -> Failure {
    if let Some(answer) = rejected.answer {
        // Whether or not it is heard.
        let _ = send(stream, &answer).await;
    }
    match rejected.error {
        // Anybody's words, who may be nobody.
        HandshakeError::Refused(Refusal { code, .. }) => Failure::Refused(format!("the caller refused: {code}")),
        error => failure_of(error),
    }
}

fn failure_of(error: HandshakeError) -> Failure {
    match &error {
        HandshakeError::Refused(refusal) if refusal.code == RefusalCode::OLD_SESSION => Failure::SessionOver,
        error if error.is_lasting() => Failure::Refused(error.to_string()),
        error => Failure::Unreachable(error.to_string()),
    }
}

fn ours(setting: &Setting, slot: Slot, session: SessionId) -> Ours {
    let config = &setting.config;
    let hello = SlotHello {
        node: setting.node.clone(),
        instance: setting.instance,
        session,
        slot,
        connections: config.connections,
        encryption: config.encryption,
        compression: config.compression,
        nonce: Nonce(random()),
    };
    Ours { hello, ephemeral: Ephemeral(random()) }
}

fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    bytes
}

async fn send(stream: &mut TcpStream, cell: &Cell) -> Result<(), Failure> {
    stream.write_all(cell).await.map_err(|error| Failure::Unreachable(error.to_string()))
}

async fn receive(stream: &mut TcpStream) -> Result<Cell, Failure> {
    let mut cell = [0; CELL_LENGTH];
    match stream.read_exact(&mut cell).await {
        Ok(_) => Ok(cell),
        Err(error) => Err(Failure::Unreachable(format!("the handshake broke off: {error}"))),
    }
}
