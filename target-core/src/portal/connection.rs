//! One connection's task: bytes from the socket to the session, the session's PDUs to the socket, and between the two the
//! task router. Everything this connection knows is owned here.
//!
//! ```text
//!  socket ─► receive buffer ─► framer ─► session ─► events ─► task router ─► logical units
//!  socket ◄─ transmitter  ◄──────────── session ◄─ answers ◄──────┘
//! ```

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use iscsi_proto::framer::{FrameError, Framer};
use iscsi_proto::pdu::{AsyncEvent, LogoutReason, LogoutRequest, LogoutResponseCode};
use iscsi_proto::session::{Connection, ConnectionError, Event};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::daemon::{Place, Shared};
use super::login::{self, LoggedIn};
use super::sessions::{EndReason, Registration, SessionKey, SessionOrder};
use super::text::TextDesk;
use super::transmit::Transmitter;
use crate::lu::orders::{ORDERS_PENDING_MAX, Order};
use crate::target::router::{ANSWERS_BYTES_MAX, Afterwards, FinishedTask, TaskRouter};

/// Bytes asked of the socket at once. A connection starts with the least, and has twice as much each time a read filled it:
/// idle ones stay small, busy ones make few system calls.
const READ_AHEAD_MIN: usize = 16 << 10;
const READ_AHEAD_MAX: usize = 256 << 10;

/// Answers that wait for those of others that are done: beyond it their data keeps the socket busy by itself.
const TOGETHER_BYTES_MAX: usize = 64 << 10;

/// How long the commands of a connection that is gone may run on. Longer, and a device hangs: the next session of this
/// initiator must not wait for ever.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why a connection ended; for the log.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the initiator closed it")]
    Closed,
    #[error("the initiator logged out")]
    LoggedOut,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Protocol(#[from] ConnectionError),
    #[error("{0}")]
    Ordered(EndReason),
    #[error("its target or its right to log in was taken from the configuration")]
    NotAdmitted,
    #[error("login refused: {0}")]
    LoginRefused(String),
    #[error("login took longer than {0:?}")]
    LoginTimeout(Duration),
}

/// The whole life of a connection.
pub async fn serve(stream: TcpStream, peer: SocketAddr, portal_group: u16, mut place: Place, shared: Arc<Shared>) {
    let local = stream.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    let ended = match login::perform(&stream, peer, portal_group, &shared).await {
        Ok(logged_in) => {
            place.login_is_done();
            let SessionKey { initiator, target, .. } = logged_in.registration.handle.key.clone();
            let target = target.map_or_else(|| "(discovery)".to_owned(), |target| target.to_string());
            let session = logged_in.registration.handle.id;
            tracing::info!(%peer, %initiator, target, session, portal = local, "logged in");
            let ended = FullFeature::new(stream, logged_in, shared).run().await;
            tracing::info!(%peer, %initiator, target, session, reason = %ended, "session ended");
            return;
        }
        Err(ended) => ended,
    };
    match ended {
        Ended::LoginRefused(_) | Ended::LoginTimeout(_) => tracing::warn!(%peer, reason = %ended, "no login"),
        _ => tracing::debug!(%peer, reason = %ended, "connection ended before login"),
    }
}

/// A connection in full feature phase.
struct FullFeature {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    shared: Arc<Shared>,
    session: Connection,
    framer: Framer,
    received: BytesMut,
    read_ahead: usize,
    /// Armed for some past value of the session's timeout, which only ever moves on: looked at again when it fires.
    timer: Pin<Box<Sleep>>,
    transmitter: Transmitter,
    router: TaskRouter,
    text: TextDesk,
    registration: Registration,
    orders: mpsc::Receiver<Order>,
    chap_user: Option<String>,
    peer: SocketAddr,
    /// To be answered when nothing runs any more.
    logout: Option<LogoutRequest>,
    /// The Logout Response is queued: close when all is sent.
    is_leaving: Option<Leaving>,
}

#[derive(Clone, Copy, Debug)]
enum Leaving {
    LoggedOut,
    Ordered(EndReason),
}

/// What woke the loop.
enum Wake {
    /// Bytes read; 0 is the end.
    Received(usize),
    Writable,
    Finished(FinishedTask),
    Order(Order),
    SessionOrder(SessionOrder),
    Timeout,
}

impl FullFeature {
    fn new(stream: TcpStream, logged_in: LoggedIn, shared: Arc<Shared>) -> FullFeature {
        let (orders_in, orders) = mpsc::channel(ORDERS_PENDING_MAX);
        let router = TaskRouter::new(logged_in.nexus, logged_in.inventory, orders_in, logged_in.protocol_level);
        let data_segment_max = logged_in.session.data_in_segment_max();
        let text = TextDesk::new(logged_in.session_type, data_segment_max, logged_in.peer, stream.local_addr().ok());
        let timer = tokio::time::sleep_until(next_look(&logged_in.session));
        let (reader, writer) = stream.into_split();
        FullFeature {
            reader,
            writer,
            shared,
            session: logged_in.session,
            framer: logged_in.framer,
            received: logged_in.received,
            read_ahead: READ_AHEAD_MIN,
            timer: Box::pin(timer),
            transmitter: logged_in.transmitter,
            router,
            text,
            registration: logged_in.registration,
            orders,
            chap_user: logged_in.chap_user,
            peer: logged_in.peer,
            logout: None,
            is_leaving: None,
        }
    }

    async fn run(mut self) -> Ended {
        let ended = match self.converse().await {
            Ok(ended) | Err(ended) => ended,
        };
        if matches!(ended, Ended::Ordered(EndReason::Shutdown)) {
            // Slow devices and initiators that do not read have had their time then.
            let _ = tokio::time::timeout(DRAIN_MAX, self.finish_in_flight()).await;
        }
        // "the target … MUST … terminate all tasks" of a session before another takes its place (RFC 7143 §6.3.5): what
        // runs may still change the medium.
        let drained = tokio::time::timeout(DRAIN_MAX, self.router.drain()).await;
        if drained.is_err() {
            tracing::error!(
                session = self.registration.handle.id,
                "commands still run {DRAIN_MAX:?} after their session ended"
            );
        }
        ended
    }

    async fn converse(&mut self) -> Result<Ended, Ended> {
        // The buffer may hold PDUs that came on the heels of the last Login Request.
        self.take_received()?;
        loop {
            let all_sent = loop {
                let is_held_back = self.act();
                let all_sent = self.transmit()?;
                // What was held back for want of room in the socket has it now, and nothing would wake us for it.
                if !(is_held_back && all_sent) {
                    break all_sent;
                }
                // An initiator that takes gigabytes as fast as they come is not the only one on this thread.
                tokio::task::yield_now().await;
            };
            if let (Some(leaving), true) = (self.is_leaving, all_sent && self.router.is_idle()) {
                return Ok(match leaving {
                    Leaving::LoggedOut => Ended::LoggedOut,
                    Leaving::Ordered(reason) => Ended::Ordered(reason),
                });
            }
            match self.wake(all_sent).await? {
                Wake::Received(0) => return Err(Ended::Closed),
                Wake::Received(_) => {
                    if self.received.len() == self.received.capacity() {
                        self.read_ahead = (2 * self.read_ahead).min(READ_AHEAD_MAX);
                    }
                    self.take_received()?;
                }
                Wake::Writable => self.session.taken(Instant::now()),
                Wake::Finished(finished) => {
                    self.finish(finished);
                    self.finish_what_is_done().await;
                }
                Wake::Order(order) => {
                    let afterwards = self.router.order(order, &mut self.session);
                    self.afterwards(afterwards);
                }
                Wake::SessionOrder(order) => self.session_order(order)?,
                Wake::Timeout => {
                    self.session.handle_timeout(Instant::now())?;
                    self.timer.as_mut().reset(next_look(&self.session));
                }
            }
        }
    }

    async fn wake(&mut self, all_sent: bool) -> Result<Wake, Ended> {
        let may_read = self.session.backlog_bytes() + self.transmitter.pending_bytes() < ANSWERS_BYTES_MAX;
        if may_read {
            self.received.reserve(self.framer.wanted().max(self.read_ahead));
        }
        let router = &mut self.router;
        tokio::select! {
            biased;
            finished = poll_fn(|context| router.poll_finished(context)) => Ok(Wake::Finished(finished)),
            ready = self.writer.writable(), if !all_sent => Ok(ready.map(|()| Wake::Writable)?),
            Some(order) = self.orders.recv() => Ok(Wake::Order(order)),
            Some(order) = self.registration.orders.recv() => Ok(Wake::SessionOrder(order)),
            // After the orders: a socket that is never empty must not keep them waiting.
            read = self.reader.read_buf(&mut self.received), if may_read => Ok(Wake::Received(read?)),
            () = &mut self.timer => Ok(Wake::Timeout),
        }
    }

    fn finish(&mut self, finished: FinishedTask) {
        let afterwards = self.router.finish(finished, &mut self.session);
        self.afterwards(afterwards);
    }

    /// What ended together (an acknowledgement of the peer's ends many mirrored writes) is answered together: one system
    /// call for all of them, where each had one of its own.
    async fn finish_what_is_done(&mut self) {
        while self.session.backlog_bytes() < TOGETHER_BYTES_MAX {
            let router = &mut self.router;
            let next = poll_fn(|context| Poll::Ready(router.poll_finished(context))).await;
            let Poll::Ready(finished) = next else { return };
            self.finish(finished);
        }
    }

    /// The session's events, while there is room for their answers. True: there was none in the end.
    fn act(&mut self) -> bool {
        while self.session.backlog_bytes() + self.transmitter.pending_bytes() < ANSWERS_BYTES_MAX {
            if self.router.start_held_back(&mut self.session) {
                continue;
            }
            let Some(event) = self.session.poll_event() else {
                self.log_out();
                return false;
            };
            match event {
                Event::Command(arrived) => self.router.command(arrived, &mut self.session),
                Event::Data { task, data } => self.router.data(task, data, &mut self.session),
                Event::DataFault { task, fault } => self.router.data_fault(task, fault, &mut self.session),
                Event::TaskManagement(request) => {
                    tracing::info!(
                        session = self.registration.handle.id,
                        initiator = %self.registration.handle.key.initiator,
                        function = %request.function, lun = %request.lun, "task management"
                    );
                    let afterwards = self.router.task_management(request, &mut self.session);
                    self.afterwards(afterwards);
                }
                Event::Text(request) => {
                    self.text.receive(&request, &self.shared, &self.registration.handle.key, &mut self.session);
                }
                Event::Logout(request) => self.logout(request),
            }
        }
        true
    }

    /// True: everything is in the socket's hands.
    fn transmit(&mut self) -> Result<bool, Ended> {
        loop {
            while self.transmitter.pending_bytes() < ANSWERS_BYTES_MAX
                && let Some(pdu) = self.session.poll_transmit()
            {
                self.transmitter.push(pdu);
            }
            let all_sent = self.transmitter.send(self.writer.as_ref())?;
            while let Some(buffer) = self.transmitter.take_spare() {
                self.router.give_buffer(buffer);
            }
            if !all_sent {
                return Ok(false);
            }
            if self.session.backlog_bytes() == 0 {
                return Ok(true);
            }
        }
    }

    fn take_received(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        loop {
            match self.framer.next(&mut self.received) {
                Ok(Some(pdu)) => self.session.receive(pdu, now)?,
                Ok(None) => return Ok(()),
                Err(FrameError::DataDigest(error)) => self.session.receive_damaged(error, now),
                Err(fatal) => return Err(fatal.into()),
            }
        }
    }

    fn logout(&mut self, request: LogoutRequest) {
        match request.reason {
            LogoutReason::CLOSE_THE_SESSION | LogoutReason::CLOSE_THE_CONNECTION => {
                self.router.abort_everything(&mut self.session);
                self.logout = Some(request);
            }
            // ErrorRecoveryLevel is below 2.
            _ => self.session.respond_logout(&request, LogoutResponseCode::CONNECTION_RECOVERY_NOT_SUPPORTED),
        }
    }

    /// "Logout … closed successfully" promises that no write of the session's will come to the medium any more.
    fn log_out(&mut self) {
        if let Some(request) = self.logout.take_if(|_| self.router.is_idle()) {
            self.session.respond_logout(&request, LogoutResponseCode::CLOSED_SUCCESSFULLY);
            self.is_leaving = Some(Leaving::LoggedOut);
        }
    }

    fn afterwards(&mut self, afterwards: Afterwards) {
        if afterwards == Afterwards::Nothing {
            return;
        }
        let key = &self.registration.handle.key;
        let of_target = self.shared.sessions.all().into_iter().filter(|session| session.key.target == key.target);
        let others: Vec<_> = of_target.filter(|session| session.id != self.registration.handle.id).collect();
        tokio::spawn(async move {
            for session in others {
                session.order(SessionOrder::End(EndReason::TargetReset)).await;
            }
        });
        self.is_leaving = Some(Leaving::Ordered(EndReason::TargetReset));
    }

    fn session_order(&mut self, order: SessionOrder) -> Result<(), Ended> {
        match order {
            SessionOrder::Reconfigured(catalog) => {
                let key = &self.registration.handle.key;
                let Some(name) = &key.target else { return Ok(()) };
                let user = self.chap_user.as_deref();
                let inventory = login::inventory_for(&catalog, name, &key.initiator, key.portal_group, self.peer, user);
                match inventory {
                    Ok(inventory) => self.router.replace_inventory(inventory, &mut self.session),
                    Err(refusal) => {
                        tracing::warn!(initiator = %key.initiator, target = %name, rule = refusal.rule, "no longer admitted");
                        self.drop_connection();
                        return Err(Ended::NotAdmitted);
                    }
                }
            }
            SessionOrder::RequestLogout => {
                // Parameter3: seconds to log out in (RFC 7143 §11.9.1, AsyncEvent 1).
                self.session.send_async_message(AsyncEvent::LOGOUT_REQUEST, [0, 0, LOGOUT_SECONDS]);
            }
            SessionOrder::End(reason) => {
                if reason != EndReason::Shutdown {
                    self.drop_connection();
                }
                return Err(Ended::Ordered(reason));
            }
        }
        Ok(())
    }

    /// Answer what runs, take up nothing more.
    async fn finish_in_flight(&mut self) -> Result<(), Ended> {
        self.router.abandon_what_waits();
        while !self.router.is_idle() {
            let finished = poll_fn(|context| self.router.poll_finished(context)).await;
            // What would come after it (a cold reset's end of sessions) comes anyway.
            let _ = self.router.finish(finished, &mut self.session);
        }
        self.session.send_async_message(AsyncEvent::SESSION_DROP_NOTIFICATION, [0, 0, 0]);
        while !self.transmit()? {
            self.writer.writable().await?;
        }
        Ok(())
    }

    /// A last word, as far as the socket takes it.
    fn drop_connection(&mut self) {
        self.session.send_async_message(AsyncEvent::SESSION_DROP_NOTIFICATION, [0, 0, 0]);
        // The connection ends either way; that the initiator hears why is a courtesy.
        let _ = self.transmit();
    }
}

/// What an initiator is asked to log out within, at shutdown. systemd gives a service 90 s; initiators answer in one.
const LOGOUT_SECONDS: u16 = 5;

/// When the session's timeout is to be looked at. Without one, now and then.
fn next_look(session: &Connection) -> tokio::time::Instant {
    session.poll_timeout().map_or_else(|| tokio::time::Instant::now() + DRAIN_MAX, Into::into)
}
