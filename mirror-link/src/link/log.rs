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
            Event::LinkDead { heartbeat_silence, silence } => format!(
                "the link is dead: no heartbeat for {}, nothing on any connection either; last heard of {} ago",
                seconds(*heartbeat_silence),
                seconds(*silence)
            ),
            Event::ProbationStarted { length, flaps } => format!(
                "heard again; its heartbeats must come unbroken for {} before it is connected to (link deaths so far: {flaps})",
                seconds(Some(*length))
            ),
            Event::ProbationPassed => "its heartbeats came unbroken: connecting".into(),
            Event::UdpFiltered { one_way } => self.filtered(*one_way),
            Event::UdpHeard => "heartbeats come again".into(),
            Event::PeerSlow { since } => format!(
                "the peer is slow: it is alive, and has acknowledged nothing of what was sent for {}; its disk or its CPU may be \
                 overloaded",
                seconds(Some(*since))
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
                let next = retry.map_or_else(String::new, |pause| {
                    format!("; tried again in {}, then ever less often", seconds(Some(pause)))
                });
                format!("refused: {cause}{next}")
            }
            Event::Forged { cause } => format!("heartbeats are not believed: {cause}"),
            Event::Restarted => "the peer's process was restarted".into(),
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

fn connections(count: impl Into<usize>) -> String {
    match count.into() {
        0 => "no connection".into(),
        1 => "1 connection".into(),
        more => format!("{more} connections"),
    }
}

fn seconds(length: Option<Duration>) -> String {
    length.map_or_else(|| "ever".into(), |length| format!("{:.1} s", length.as_secs_f64()))
}

fn milliseconds(length: Duration) -> String {
    format!("{:.3} ms", length.as_secs_f64() * 1e3)
}
