//! An open connection of a slot: one task reads, one writes.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::flow::Clock;
use super::handshake::Established;
use super::outbox::{Counters, Outbox};
use super::session::Session;
use super::sorter::Sorter;
use crate::config::Compression;
use crate::wire::handshake::Cell;
use crate::wire::message::{ByeReason, Frame};
use crate::wire::secure::{Opener, Sealer, Secure};
use crate::wire::{Fault, FrameDecoder, FrameEncoder, Outgoing, WireError};

/// What its owner holds of it.
#[derive(Clone, Debug)]
pub struct Handle {
    end: CancellationToken,
    farewell: Arc<OnceLock<ByeReason>>,
}

impl Handle {
    /// Ends with `owner`, too.
    pub fn new(owner: &CancellationToken) -> Handle {
        Handle { end: owner.child_token(), farewell: Arc::default() }
    }

    /// End it: with a Bye where there is a reason to give.
    pub fn end(&self, farewell: Option<ByeReason>) {
        farewell.into_iter().for_each(|reason| {
            let _ = self.farewell.set(reason);
        });
        self.end.cancel();
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum Ending {
    Lost(String),
    Bye(ByeReason),
    Misbehaved(String),
}

pub struct Connection {
    pub established: Established,
    pub session: Arc<Session>,
    pub outbox: Arc<Outbox>,
    pub sorter: Sorter,
    /// T3.
    pub idle_timeout: Duration,
    /// Of what we send.
    pub compression: Compression,
    pub handle: Handle,
}

impl Connection {
    /// Until it ends; both its tasks have ended then.
    pub async fn run(self) -> Ending {
        let Established { stream, preface, opened } = self.established;
        let (read, write) = stream.into_split();
        let (sealer, opener) = opened.secure.map(Secure::split).unzip();
        let writer = Writer {
            socket: write,
            encoder: FrameEncoder::new(self.compression),
            sealing: sealer.map(|sealer| (sealer, BytesMut::new())),
            outbox: Arc::clone(&self.outbox),
            session: Arc::clone(&self.session),
            out: Outgoing::default(),
            ping_after: self.idle_timeout / 3,
        };
        let handle = self.handle.clone();
        let writing = tokio::spawn(writer.run(preface, self.handle));
        let mut reader = Reader {
            socket: read,
            decoder: FrameDecoder::new(opened.peer.compression),
            buffer: BytesMut::new(),
            opening: opener.map(|opener| (opener, BytesMut::new())),
            sorter: self.sorter,
            outbox: self.outbox,
            session: self.session,
            idle_timeout: self.idle_timeout,
        };
        let read = reader.run(&handle.end).await;
        handle.end.cancel();
        let written = writing.await.unwrap_or_else(|panic| Some(Ending::Lost(format!("its writer failed: {panic}"))));
        // The reader learns first of what both see, except where a write failed.
        read.or(written).unwrap_or_else(|| Ending::Lost("closed here".into()))
    }
}

struct Reader {
    socket: OwnedReadHalf,
    decoder: FrameDecoder,
    /// Frames to decode.
    buffer: BytesMut,
    /// Where encrypted, what came off the socket waits here.
    opening: Option<(Opener, BytesMut)>,
    sorter: Sorter,
    outbox: Arc<Outbox>,
    session: Arc<Session>,
    idle_timeout: Duration,
}

impl Reader {
    async fn run(&mut self, end: &CancellationToken) -> Option<Ending> {
        // The patent's T3: a connection without a request for so long is given up, and with it its slot.
        let mut frame_at = Instant::now();
        let idle = sleep_until(frame_at + self.idle_timeout);
        tokio::pin!(idle);
        loop {
            match self.decode() {
                Ok(0) => {}
                Ok(_) => frame_at = Instant::now(),
                Err(ending) => return Some(ending),
            }
            tokio::select! {
                biased;
                () = end.cancelled() => return None,
                read = self.read() => match read {
                    Ok(0) => return Some(Ending::Lost("closed by the peer".into())),
                    Ok(bytes) => self.count(bytes),
                    Err(error) => return Some(Ending::Lost(error.to_string())),
                },
                () = &mut idle => {
                    // Put off here and not with each frame: a timer costs more than looking at the time it was set for.
                    let silent = frame_at + self.idle_timeout;
                    if silent <= Instant::now() {
                        return Some(Ending::Lost(format!("no frame for {:?}", self.idle_timeout)));
                    }
                    idle.as_mut().reset(silent);
                }
            }
        }
    }

    /// Cancelled without loss: nothing waits after bytes were taken.
    async fn read(&mut self) -> io::Result<usize> {
        let wanted = self.decoder.wanted();
        match &mut self.opening {
            None => {
                make_room(&mut self.buffer, wanted);
                self.socket.read_buf(&mut self.buffer).await
            }
            Some((opener, sealed)) => {
                make_room(sealed, opener.wanted());
                self.socket.read_buf(sealed).await
            }
        }
    }

    fn decrypt(&mut self) -> Result<(), Ending> {
        let wanted = self.decoder.wanted();
        let Some((opener, sealed)) = &mut self.opening else { return Ok(()) };
        make_room(&mut self.buffer, wanted);
        opener.open(sealed, &mut self.buffer).map_err(|error| Ending::Lost(error.to_string()))
    }

    /// Hand on all frames that are whole. Answers how many.
    fn decode(&mut self) -> Result<usize, Ending> {
        self.decrypt()?;
        let mut frames = 0;
        let ending = loop {
            match self.decoder.next(&mut self.buffer) {
                Ok(Some(frame)) => {
                    frames += 1;
                    if let Some(reason) = self.sorter.take(frame) {
                        break Some(Ending::Bye(reason));
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(ending_of(&error)),
            }
        };
        self.sorter.deliver();
        ending.map_or(Ok(frames), Err)
    }

    fn count(&self, bytes: usize) {
        self.outbox.counters.received(bytes, &self.session.clock);
        self.session.received_at.store(self.session.clock.now(), Relaxed);
    }
}

/// One block takes many reads; what is left of it is used up before the next is begun.
fn make_room(buffer: &mut BytesMut, wanted: usize) {
    if buffer.capacity() - buffer.len() < wanted.max(READ_MIN) {
        buffer.reserve(wanted.max(READ_BLOCK));
    }
}

fn ending_of(error: &WireError) -> Ending {
    match error.fault() {
        Fault::Line | Fault::Ours => Ending::Lost(error.to_string()),
        Fault::PeerIncompatible | Fault::PeerMisbehaved => Ending::Misbehaved(error.to_string()),
    }
}

struct Writer {
    socket: OwnedWriteHalf,
    encoder: FrameEncoder,
    /// Where encrypted, what goes to the socket waits here.
    sealing: Option<(Sealer, BytesMut)>,
    outbox: Arc<Outbox>,
    session: Arc<Session>,
    out: Outgoing,
    ping_after: Duration,
}

impl Writer {
    async fn run(mut self, preface: Option<Cell>, handle: Handle) -> Option<Ending> {
        let lost = tokio::select! {
            biased;
            () = handle.end.cancelled() => None,
            error = self.write_all_that_comes(preface) => Some(Ending::Lost(error.to_string())),
        };
        if lost.is_some() {
            handle.end.cancel();
        } else if let Some(reason) = handle.farewell.get() {
            self.encoder.encode(&Frame::Bye(*reason), &mut self.out);
            // Nothing is owed to a peer that does not take it.
            let _ = timeout(FAREWELL_MAX, self.flush()).await;
        }
        lost
    }

    async fn write_all_that_comes(&mut self, preface: Option<Cell>) -> io::Error {
        if let Err(error) = self.socket.write_all(preface.as_ref().map_or(&[], |cell| &cell[..])).await {
            return error;
        }
        let mut frames: Vec<Frame> = Vec::new();
        let mut wrote_at = Instant::now();
        let idle = sleep_until(wrote_at + self.ping_after);
        tokio::pin!(idle);
        loop {
            self.outbox.take(&mut frames);
            if !frames.is_empty() {
                if let Err(error) = self.write(&mut frames).await {
                    return error;
                }
                wrote_at = Instant::now();
                continue;
            }
            tokio::select! {
                biased;
                () = self.outbox.filled() => {}
                () = &mut idle => {
                    let silent = wrote_at + self.ping_after;
                    let now = Instant::now();
                    if silent <= now {
                        self.outbox.ping(self.session.clock.now());
                    }
                    idle.as_mut().reset(silent.max(now + self.ping_after));
                }
            }
        }
    }

    async fn write(&mut self, frames: &mut Vec<Frame>) -> io::Result<()> {
        self.outbox.counters.frames_sent.fetch_add(frames.len() as u64, Relaxed);
        for frame in frames.drain(..) {
            self.encoder.encode(&frame, &mut self.out);
            // So that the first of many large ones is under way while the next are checked.
            if self.out.remaining() >= WRITE_BYTES {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (socket, counters, clock) = (&self.socket, &self.outbox.counters, &self.session.clock);
        match &mut self.sealing {
            None => drain(socket, &mut self.out, counters, clock).await,
            Some((sealer, sealed)) => {
                sealer.seal(&mut self.out, sealed);
                drain(socket, sealed, counters, clock).await
            }
        }
    }
}

/// Cancelled, it has taken off `out` exactly what is in the socket.
async fn drain(socket: &OwnedWriteHalf, out: &mut impl Buf, counters: &Counters, clock: &Clock) -> io::Result<()> {
    counters.writing_bytes.store(out.remaining() as u64, Relaxed);
    while out.has_remaining() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = out.chunks_vectored(&mut slices);
        match socket.try_write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                out.advance(written);
                counters.sent(written, clock);
                counters.writing_bytes.store(out.remaining() as u64, Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Memory for reads: many small frames in one system call, and not too much kept alive by one small payload.
const READ_BLOCK: usize = 256 << 10;

/// A read into less room than this is not worth its system call.
const READ_MIN: usize = 32 << 10;

/// Encoded ahead of the socket.
const WRITE_BYTES: usize = 512 << 10;

/// Pieces in one `writev`: the system call's cost is spread thin enough. The kernel takes at most 1024.
const SLICES_MAX: usize = 128;

const FAREWELL_MAX: Duration = Duration::from_secs(1);
