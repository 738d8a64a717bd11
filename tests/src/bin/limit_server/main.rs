//! The physical limit that `tests/run bench` compares with: iSCSI with the least possible work. One thread, one epoll loop; of
//! each wake-up one read takes all PDUs there are, and one vectored write gives all their answers. A login that agrees to
//! everything, the few commands that a load generator sends, READ and WRITE straight from and to a file or its mapping: no
//! checks of what a well-behaved initiator does not do, no state but sequence numbers and the writes under way.
//!
//! `limit_server PORT --backing FILE --access pread|mapped [--digests] [--r2t] [--delay-us N]`

mod connection;
mod disk;
mod login;
mod outgoing;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use connection::{Connection, Next};
use disk::Disk;

const USAGE: &str =
    "limit_server PORT --backing FILE --access pread|mapped [--digests] [--r2t] [--delay-us MICROSECONDS]";
const LISTENER: u64 = 0;
const EVENTS_MAX: usize = 64;

pub struct Settings {
    port: u16,
    backing: PathBuf,
    mapped: bool,
    /// CRC32C is agreed to where it is offered.
    digests: bool,
    /// All data of a write is asked for: nothing unsolicited, nothing immediate.
    r2t: bool,
    /// Spent on each command, to be a slower server on purpose.
    delay: Duration,
}

fn main() -> io::Result<()> {
    let settings = settings(std::env::args().skip(1)).map_err(|fault| io::Error::other(format!("{fault}: {USAGE}")))?;
    let disk = Disk::open(&settings.backing, settings.mapped)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut last = LISTENER;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let (who, data) = (event.data.u64(), event.data);
            if who == LISTENER {
                let (socket, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                last += 1;
                epoll::add(&epoll, &socket, EventData::new_u64(last), EventFlags::IN)?;
                connections.insert(last, Connection::new(socket));
                continue;
            }
            let Some(connection) = connections.get_mut(&who) else { continue };
            match connection.turn(&settings, &disk) {
                Ok(Next::Same) => {}
                Ok(Next::Readable) => epoll::modify(&epoll, connection.socket(), data, EventFlags::IN)?,
                Ok(Next::Writable) => epoll::modify(&epoll, connection.socket(), data, EventFlags::OUT)?,
                // It is gone, or said what we do not speak.
                Err(_) => drop(connections.remove(&who)),
            }
        }
    }
}

fn settings(mut words: impl Iterator<Item = String>) -> Result<Settings, String> {
    let (mut port, mut backing, mut mapped) = (None, None, false);
    let (mut digests, mut r2t, mut delay) = (false, false, Duration::ZERO);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--backing" => backing = Some(PathBuf::from(value()?)),
            "--access" => {
                mapped = match value()?.as_str() {
                    "pread" => false,
                    "mapped" => true,
                    other => return Err(format!("there is no access {other}")),
                }
            }
            "--digests" => digests = true,
            "--r2t" => r2t = true,
            "--delay-us" => {
                delay = Duration::from_micros(value()?.parse().map_err(|_| "--delay-us is a number".to_owned())?);
            }
            number => port = Some(number.parse().map_err(|_| format!("{number} is no port"))?),
        }
    }
    let port = port.ok_or("no port")?;
    let backing = backing.ok_or("no --backing")?;
    Ok(Settings { port, backing, mapped, digests, r2t, delay })
}
