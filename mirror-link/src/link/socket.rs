//! Sockets as the link needs them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

/// Connections the kernel holds for us between two turns of the loop.
const BACKLOG: i32 = 256;

pub fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub fn listen_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bound(address, Type::DGRAM, Protocol::UDP)?.into())
}

fn bound(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if kind == Type::STREAM {
        // Not for UDP, where it would let two processes share the port.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        // So that `0.0.0.0` and `[::]` can both be listened on.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub async fn connect(address: SocketAddr, silence_max: Duration) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    watch(&SockRef::from(&socket), silence_max)?;
    socket.connect(address).await
}

/// The kernel gives a connection up whose bytes are not taken for so long: what is under way on it must go another way.
pub fn watch(socket: &SockRef<'_>, silence_max: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(silence_max))?;
    // In whole seconds, of which 0 is none.
    let seconds = |length: Duration| length.max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(seconds(silence_max)).with_interval(seconds(silence_max / 3));
    socket.set_tcp_keepalive(&keepalive.with_retries(3))
}

/// Which of the listening sockets heartbeats to that address leave from: the one that the answer is expected at.
pub fn source_for(listen: &[SocketAddr], to: SocketAddr) -> Option<usize> {
    let alike = |place: &usize| listen[*place].is_ipv4() == to.is_ipv4();
    let places = || (0..listen.len()).filter(alike);
    let routed = route(to).ok();
    places()
        .find(|place| routed.is_some_and(|local| local.ip() == listen[*place].ip()))
        .or_else(|| places().find(|place| listen[*place].ip().is_unspecified()))
        .or_else(|| places().next())
}

/// The local address that the kernel would send from.
fn route(to: SocketAddr) -> io::Result<SocketAddr> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&to.into())?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_leave_from_where_the_answer_is_expected() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let rows: &[(&[&str], &str, Option<usize>)] = &[
            (&["127.0.0.1:1", "[::1]:1"], "127.0.0.1:2", Some(0)),
            (&["[::1]:1", "127.0.0.1:1"], "127.0.0.1:2", Some(1)),
            (&["127.0.0.9:1", "127.0.0.1:1"], "127.0.0.1:2", Some(1)),
            (&["127.0.0.9:1", "0.0.0.0:1"], "127.0.0.1:2", Some(1)),
            (&["127.0.0.9:1"], "127.0.0.1:2", Some(0)),
            (&["[::1]:1"], "127.0.0.1:2", None),
        ];
        for (listen, to, expected) in rows {
            let listen: Vec<_> = listen.iter().map(|text| address(text)).collect();
            assert_eq!(source_for(&listen, address(to)), *expected, "{listen:?} {to}");
        }
    }

    #[tokio::test]
    async fn a_port_is_taken_once() {
        let udp = listen_udp("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let error = listen_udp(udp.local_addr().expect("bound")).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
