//! Which authentic heartbeats are of now, and not recordings.

use std::time::Instant;

use super::datagram::{Datagram, Echo};
use crate::ids::Instance;

/// One peer's heartbeats, and the numbers of ours.
///
/// Within an instance no number counts twice, nor one that lies far behind: datagrams to several addresses overtake each other,
/// as one way is longer than the other. Another instance is believed once it echoes a number of ours that is greater than
/// all that were echoed before: no recording does.
#[derive(Debug)]
pub struct ReplayGuard {
    ours: Instance,
    /// The last number that we sent.
    sent: u64,
    /// The greatest of ours that was echoed.
    echoed: u64,
    believed: Option<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    instance: Instance,
    /// The greatest, and when it came.
    number: u64,
    at: Instant,
    /// Which of the [`WINDOW`] numbers before it have come: bit 0 is the one just before.
    earlier: u64,
}

/// Numbers behind the greatest that may still come: those of a few intervals to every address.
const WINDOW: u64 = 64;

/// What to do with an authentic datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A sign of life.
    Fresh,
    /// A sign of life of another run of the peer than before: everything known of the former is gone.
    NewInstance,
    /// Perhaps a recording, perhaps a peer that does not know us yet: no sign of life. Answer at once with this echo, so that
    /// it can prove itself; one answer for each, so no answer calls forth another.
    Unproven(Echo),
    /// It came before, or long after its time.
    Replayed,
}

impl ReplayGuard {
    pub fn new(ours: Instance) -> ReplayGuard {
        ReplayGuard { ours, sent: 0, echoed: 0, believed: None }
    }

    /// The number of our next datagram to this peer.
    pub fn next_number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// What our next datagram echoes: the last that we believe.
    pub fn echo(&self, now: Instant) -> Option<Echo> {
        self.believed.map(|heard| heard.echo(now))
    }

    pub fn receive(&mut self, now: Instant, datagram: &Datagram) -> Verdict {
        let heard = Heard { instance: datagram.instance, number: datagram.number, at: now, earlier: 0 };
        match self.believed {
            Some(before) if before.instance == heard.instance => match before.and(heard) {
                Some(heard) => {
                    self.believe(heard, datagram);
                    Verdict::Fresh
                }
                None => Verdict::Replayed,
            },
            _ if self.proves_itself(datagram) => {
                self.believe(heard, datagram);
                Verdict::NewInstance
            }
            _ => Verdict::Unproven(heard.echo(now)),
        }
    }

    fn believe(&mut self, heard: Heard, datagram: &Datagram) {
        self.believed = Some(heard);
        if let Some(number) = self.ours_echoed(datagram) {
            self.echoed = self.echoed.max(number);
        }
    }

    /// A recording echoes what was echoed before; another's echo is of a former instance of ours.
    fn proves_itself(&self, datagram: &Datagram) -> bool {
        self.ours_echoed(datagram).is_some_and(|number| number > self.echoed)
    }

    /// Which of the numbers that we did send it echoes.
    fn ours_echoed(&self, datagram: &Datagram) -> Option<u64> {
        datagram.echo.filter(|echo| echo.instance == self.ours && echo.number <= self.sent).map(|echo| echo.number)
    }
}

impl Heard {
    /// Both of one instance; `None` where the other is no news.
    fn and(self, other: Heard) -> Option<Heard> {
        if let Some(ahead) = other.number.checked_sub(self.number).filter(|ahead| *ahead > 0) {
            let shifted = |bits: u64, by: u64| if by < WINDOW { bits << by } else { 0 };
            return Some(Heard { earlier: shifted(self.earlier, ahead) | shifted(1, ahead - 1), ..other });
        }
        let behind = self.number - other.number;
        let bit = if (1..=WINDOW).contains(&behind) { 1 << (behind - 1) } else { return None };
        (self.earlier & bit == 0).then_some(Heard { earlier: self.earlier | bit, ..self })
    }

    fn echo(&self, now: Instant) -> Echo {
        let held = now.saturating_duration_since(self.at).as_micros();
        let held_us = u32::try_from(held).unwrap_or(u32::MAX);
        Echo { instance: self.instance, number: self.number, held_us }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALPHA: Instance = Instance(1);

    /// One run of the peer, which hears and says what it is told to.
    struct Peer {
        instance: Instance,
        number: u64,
        heard: Option<Echo>,
    }

    impl Peer {
        fn new(instance: u64) -> Peer {
            Peer { instance: Instance(instance), number: 0, heard: None }
        }

        fn hears(&mut self, number: u64) {
            self.heard = Some(Echo { instance: ALPHA, number, held_us: 0 });
        }

        fn says(&mut self) -> Datagram {
            self.number += 1;
            Datagram {
                node: "beta".into(),
                instance: self.instance,
                session: None,
                number: self.number,
                echo: self.heard,
                groups: Default::default(),
            }
        }
    }

    fn unproven(instance: u64, number: u64) -> Verdict {
        Verdict::Unproven(Echo { instance: Instance(instance), number, held_us: 0 })
    }

    #[test]
    fn believed_once_it_echoes_and_while_its_number_grows() {
        let (now, mut guard, mut beta) = (Instant::now(), ReplayGuard::new(ALPHA), Peer::new(2));
        assert_eq!(guard.receive(now, &beta.says()), unproven(2, 1));
        assert_eq!(guard.echo(now), None, "nothing is believed");
        beta.hears(guard.next_number());
        let proof = beta.says();
        assert_eq!(guard.receive(now, &proof), Verdict::NewInstance);
        assert_eq!(guard.receive(now, &proof), Verdict::Replayed);
        let (late, newer) = (beta.says(), beta.says());
        assert_eq!(guard.receive(now, &newer), Verdict::Fresh);
        assert_eq!(guard.receive(now, &late), Verdict::Fresh, "overtaken");
        assert_eq!(guard.receive(now, &late), Verdict::Replayed);
        let later = now + Duration::from_millis(7);
        assert_eq!(guard.echo(later), Some(Echo { instance: Instance(2), number: 4, held_us: 7000 }));
        let never = guard.echo(now + Duration::from_secs(100_000)).map(|echo| echo.held_us);
        assert_eq!(never, Some(u32::MAX));
        assert_eq!(
            guard.echo(now.checked_sub(Duration::from_secs(1)).expect("a moment before")).map(|e| e.held_us),
            Some(0)
        );
    }

    #[test]
    fn every_number_counts_once_and_none_from_long_ago() {
        let now = Instant::now();
        let heard = |number| Heard { instance: ALPHA, number, at: now, earlier: 0 };
        let mut window = heard(1000);
        for (number, news) in [
            (1000, false),
            (999, true),
            (999, false),
            (936, true),
            (936, false),
            (935, false),
            (1001, true),
            (1000, false),
            (999, false),
            (937, true),
            (1065, true),
            (1001, false),
            (1002, true),
            (1000, false),
            (5000, true),
            (4936, true),
            (4935, false),
            (1065, false),
        ] {
            let next = window.and(heard(number));
            assert_eq!(next.is_some(), news, "{number} after {window:?}");
            window = next.unwrap_or(window);
        }
        assert_eq!(window.number, 5000);
    }

    #[test]
    fn a_restarted_peer_is_believed_and_recordings_of_its_former_run_are_not() {
        let (now, mut guard) = (Instant::now(), ReplayGuard::new(ALPHA));
        let (mut former, mut recorded) = (Peer::new(2), Vec::new());
        for _ in 0..9 {
            former.hears(guard.next_number());
            recorded.push(former.says());
            guard.receive(now, recorded.last().expect("just said"));
        }
        let mut peer = Peer::new(3);
        assert_eq!(guard.receive(now, &peer.says()), unproven(3, 1));
        peer.hears(guard.next_number());
        assert_eq!(guard.receive(now, &peer.says()), Verdict::NewInstance);
        for datagram in &recorded {
            assert_eq!(guard.receive(now, datagram), unproven(2, datagram.number), "recorded {}", datagram.number);
        }
        assert_eq!(guard.receive(now, &peer.says()), Verdict::Fresh, "and the peer is believed still");
    }

    #[test]
    fn recordings_from_before_our_own_restart_are_not_believed() {
        let (now, mut before) = (Instant::now(), ReplayGuard::new(Instance(99)));
        let mut beta = Peer::new(2);
        beta.heard = Some(Echo { instance: Instance(99), number: before.next_number(), held_us: 0 });
        let recorded = beta.says();
        assert_eq!(before.receive(now, &recorded), Verdict::NewInstance);
        let mut guard = ReplayGuard::new(ALPHA);
        (0..5).for_each(|_| _ = guard.next_number());
        assert_eq!(guard.receive(now, &recorded), unproven(2, 1));
    }

    #[test]
    fn a_number_that_we_never_sent_proves_nothing() {
        let (now, mut guard, mut beta) = (Instant::now(), ReplayGuard::new(ALPHA), Peer::new(2));
        guard.next_number();
        for number in [0, 2, u64::MAX] {
            beta.hears(number);
            assert!(matches!(guard.receive(now, &beta.says()), Verdict::Unproven(_)), "{number}");
        }
        beta.hears(1);
        assert_eq!(guard.receive(now, &beta.says()), Verdict::NewInstance);
        // A believed peer that echoes nonsense cannot lock its own successor out.
        beta.hears(u64::MAX);
        assert_eq!(guard.receive(now, &beta.says()), Verdict::Fresh);
        let mut next = Peer::new(3);
        next.hears(guard.next_number());
        assert_eq!(guard.receive(now, &next.says()), Verdict::NewInstance);
    }

    /// Both new to each other, each answering what is unproven: how many datagrams until both believe?
    #[test]
    fn two_guards_believe_each_other_after_three_datagrams() {
        let now = Instant::now();
        let mut guards = [ReplayGuard::new(Instance(1)), ReplayGuard::new(Instance(2))];
        let say = |guard: &mut ReplayGuard, echo: Option<Echo>| Datagram {
            node: "either".into(),
            instance: guard.ours,
            session: None,
            number: guard.next_number(),
            echo: echo.or_else(|| guard.echo(now)),
            groups: Default::default(),
        };
        let first = say(&mut guards[0], None);
        let Verdict::Unproven(echo) = guards[1].receive(now, &first) else { panic!("unknown as yet") };
        let second = say(&mut guards[1], Some(echo));
        assert_eq!(guards[0].receive(now, &second), Verdict::NewInstance);
        let third = say(&mut guards[0], None);
        assert_eq!(guards[1].receive(now, &third), Verdict::NewInstance);
        let fourth = say(&mut guards[1], None);
        assert_eq!(guards[0].receive(now, &fourth), Verdict::Fresh);
    }
}
