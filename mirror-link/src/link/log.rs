//! A peer's events as an administrator reads them: what happened, and what to do about it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ids::NodeName;
use crate::peer::event::{Event, Level};
use crate::peer::paths::{MovedBecause, PathIndex};

#[derive(Debug)]
pub struct Log {
    pub peer: NodeName,
    pub addresses: Vec<SocketAddr>,
    /// Where we listen, as the firewall must let it through.
    pub listen: Vec<SocketAddr>,
}

impl Log {
    pub fn event(&self, event: &Event) {
        let (peer, text) = (&self.peer, self.text(event));
        match event.level() {
            Level::Debug => tracing::debug!(%peer, "{text}"),
            Level::Info => tracing::info!(%peer, "{text}"),
            Level::Warn => tracing::warn!(%peer, "{text}"),
        }
    }

    pub fn text(&self, event: &Event) -> String {
        match event {
            Event::SessionUp { slots, path, round_trip, accepted_again } => {
                let mut text = format!("link up: {}", connections(*slots));
                path.iter().for_each(|path| text += &format!(" to {}", self.address(*path)));
                round_trip.iter().for_each(|trip| text += &format!(", round trip {}", milliseconds(*trip)));
                if *accepted_again {
                    text += ", accepted again";
                }
                text
            }
            Event::SessionDown { why } => format!("link down: {why}"),
            Event::SlotUp { slot, open, slots } => format!("connection {slot} is open, {open} of {slots}"),
            Event::SlotLost { slot, cause, open } => {
                format!("connection {slot} was lost: {cause}; {} left", connections(*open))
            }
            Event::LinkDead { heartbeat_silence, silence } => {
                let last =
                    silence.map_or_else(String::new, |silence| format!("; last heard of {} ago", seconds(silence)));
                match heartbeat_silence {
                    Some(beats) => format!(
                        "the link is dead: no heartbeat for {}, nor bytes on any connection{last}",
                        seconds(*beats)
                    ),
                    None => {
                        format!("the link is dead: no bytes on any connection, and there never was a heartbeat{last}")
                    }
                }
            }
            Event::ProbationStarted { length, flaps } => format!(
                "heard again; its heartbeats must come unbroken for {} before it is connected to (link deaths so far: {flaps})",
                seconds(*length)
            ),
            Event::ProbationPassed => "its heartbeats came unbroken: connecting".into(),
            Event::UdpFiltered { one_way } => self.filtered(*one_way),
            Event::UdpHeard => "heartbeats come again".into(),
            Event::PeerSlow { since } => format!(
                "the peer is slow: it is alive, and has acknowledged nothing of what was sent for {}; its disk or its CPU may be \
                 overloaded. Asynchronous writes go on and queue here; others wait for it no longer than max_stall",
                seconds(*since)
            ),
            Event::PeerFine => "the peer keeps up again".into(),
            Event::Moved { from, to, why } => {
                let why = match why {
                    MovedBecause::Silent => "does not answer",
                    MovedBecause::Faster => "has the longer round trip",
                };
                format!("connections move to {}: {} {why}", self.address(*to), self.address(*from))
            }
            Event::Unreachable { path, cause } => {
                let address = path.map(|path| self.address(path));
                let place = address.map_or_else(String::new, |address| {
                    format!(" {address}: is TCP port {} open in the firewall there? Cause:", address.port())
                });
                format!("heartbeats come, but no connection can be made to{place} {cause}")
            }
            Event::Refused { cause, retry } => {
                format!("refused: {cause}; tried again in {}, then ever less often", seconds(*retry))
            }
            Event::Forged { cause } => format!("heartbeats are not believed: {cause}"),
            Event::NobodyHeard => format!(
                "nothing is heard of it yet, at {}: is it running, do both nodes name each other's addresses, and are UDP and TCP \
                 open between them?",
                list(&self.addresses)
            ),
            Event::NotDialed => format!(
                "its heartbeats come, and it makes no connection: let TCP through to {} here; its log and status say more",
                list(&self.listen)
            ),
            Event::PeerMisbehaved { cause } => format!("the peer broke the protocol: {cause}"),
        }
    }

    fn filtered(&self, one_way: bool) -> String {
        let ports =
            |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
        let (there, here) = (ports(&self.addresses), ports(&self.listen));
        if one_way {
            format!("our heartbeats do not arrive, connections work: let UDP through to {there}")
        } else {
            format!("no heartbeats come, connections work: let UDP through to {here} here, and to {there}")
        }
    }

    fn address(&self, path: PathIndex) -> SocketAddr {
        self.addresses[usize::from(path.0)]
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn connections(count: impl Into<usize>) -> String {
    match count.into() {
        0 => "no connection".into(),
        1 => "1 connection".into(),
        more => format!("{more} connections"),
    }
}

fn seconds(length: Duration) -> String {
    format!("{:.1} s", length.as_secs_f64())
}

fn milliseconds(length: Duration) -> String {
    format!("{:.3} ms", length.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Slot;
    use crate::peer::event::Ended;

    #[test]
    fn every_event_says_what_happened_and_what_to_do() {
        let address = |text: &str| text.parse().expect("an address");
        let log = Log {
            peer: "beta".into(),
            addresses: vec![address("10.0.0.2:3262"), address("[fd00::2]:3262")],
            listen: vec![address("10.0.0.1:3262")],
        };
        let second = Duration::from_secs(1);
        let rows = [
            (
                Event::SessionUp {
                    slots: 4,
                    path: Some(PathIndex(1)),
                    round_trip: Some(Duration::from_micros(180)),
                    accepted_again: false,
                },
                "link up: 4 connections to [fd00::2]:3262, round trip 0.180 ms",
            ),
            (
                Event::SessionUp { slots: 1, path: None, round_trip: None, accepted_again: true },
                "link up: 1 connection, accepted again",
            ),
            (Event::SessionDown { why: Ended::LinkDead }, "link down: the link is dead"),
            (Event::SlotUp { slot: Slot(2), open: 3, slots: 4 }, "connection 2 is open, 3 of 4"),
            (
                Event::SlotLost { slot: Slot(2), cause: "connection reset by peer".into(), open: 0 },
                "connection 2 was lost: connection reset by peer; no connection left",
            ),
            (
                Event::LinkDead { heartbeat_silence: Some(second * 3), silence: Some(second * 3) },
                "the link is dead: no heartbeat for 3.0 s, nor bytes on any connection; last heard of 3.0 s ago",
            ),
            (
                Event::LinkDead { heartbeat_silence: None, silence: None },
                "the link is dead: no bytes on any connection, and there never was a heartbeat",
            ),
            (
                Event::ProbationStarted { length: second * 6, flaps: 2 },
                "heard again; its heartbeats must come unbroken for 6.0 s before it is connected to (link deaths so far: 2)",
            ),
            (
                Event::UdpFiltered { one_way: false },
                "no heartbeats come, connections work: let UDP through to 10.0.0.1:3262 here, and to 10.0.0.2:3262, \
                 [fd00::2]:3262",
            ),
            (
                Event::UdpFiltered { one_way: true },
                "our heartbeats do not arrive, connections work: let UDP through to 10.0.0.2:3262, [fd00::2]:3262",
            ),
            (
                Event::NobodyHeard,
                "nothing is heard of it yet, at 10.0.0.2:3262, [fd00::2]:3262: is it running, do both nodes name each other's \
                 addresses, and are UDP and TCP open between them?",
            ),
            (
                Event::NotDialed,
                "its heartbeats come, and it makes no connection: let TCP through to 10.0.0.1:3262 here; its log and status \
                 say more",
            ),
            (
                Event::Moved { from: PathIndex(0), to: PathIndex(1), why: MovedBecause::Silent },
                "connections move to [fd00::2]:3262: 10.0.0.2:3262 does not answer",
            ),
            (
                Event::Unreachable { path: Some(PathIndex(0)), cause: "connection refused".into() },
                "heartbeats come, but no connection can be made to 10.0.0.2:3262: is TCP port 3262 open in the firewall \
                 there? Cause: connection refused",
            ),
            (
                Event::Refused { cause: "beta does not know the pair's secret".into(), retry: second },
                "refused: beta does not know the pair's secret; tried again in 1.0 s, then ever less often",
            ),
        ];
        for (event, expected) in rows {
            assert_eq!(log.text(&event), expected);
        }
    }
}
