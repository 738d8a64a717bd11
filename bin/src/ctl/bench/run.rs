//! The loop: waits, lets sessions receive and begin, and turns the phases over as time goes by.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use smallvec::SmallVec;

use super::arguments::BenchArguments;
use super::load::{Load, Phase, Tally};
use super::opening::LOOK;
use super::report::Measured;
use super::session::Session;
use super::trouble::Trouble;
use super::usage;

#[derive(Debug)]
pub struct Run {
    sessions: Vec<Session>,
    load: Load,
    pids: Vec<u32>,
    warm_up: u64,
    time: u64,
    start: Instant,
    bar: Option<ProgressBar>,
    /// When the clock's other errands are due: stalls, the bar.
    next_look: u64,
}

/// What had been used when the measured time began or ended.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    client_cpu: Duration,
    target_cpu: Option<Duration>,
}

impl Run {
    pub fn new(arguments: &BenchArguments, sessions: Vec<Session>, load: Load, json: bool) -> Run {
        let (warm_up, time) = (nanoseconds(arguments.warm_up), nanoseconds(arguments.time));
        let bar = (!json && io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{wide_bar} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(warm_up + time).with_style(style);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar
        });
        let pids = arguments.pids.clone();
        Run { sessions, load, pids, warm_up, time, start: Instant::now(), bar, next_look: 0 }
    }

    /// All phases, to the end of the last command.
    pub fn drive(&mut self) -> Result<Measured, Trouble> {
        for session in &self.sessions {
            session.stream.set_read_timeout(Some(LOOK)).map_err(Trouble::Io)?;
        }
        self.start = Instant::now();
        self.begin_all()?;
        while self.now() < self.warm_up {
            self.turn()?;
        }
        let began = self.mark();
        self.load.phase = Phase::Measured;
        while self.now() < self.warm_up + self.time {
            self.turn()?;
        }
        self.load.phase = Phase::Ending;
        let ended = self.mark();
        let target_rss_bytes = usage::resident(&self.pids).filter(|_| !self.pids.is_empty());
        self.drain()?;
        if self.load.verifies() {
            self.load.phase = Phase::ReadBack(0);
            self.begin_all()?;
            self.drain()?;
        }
        let used = |from: Option<Duration>, to: Option<Duration>| Some(to?.saturating_sub(from?).as_secs_f64());
        Ok(Measured {
            seconds: (ended.at - began.at).as_secs_f64(),
            client_cpu_seconds: (ended.client_cpu - began.client_cpu).as_secs_f64(),
            target_cpu_seconds: used(began.target_cpu, ended.target_cpu),
            target_rss_bytes,
        })
    }

    /// Says good-bye, and tells what came of it; and whether the target's window ever had no room.
    pub fn end(self) -> (Tally, bool) {
        let was_full = self.sessions.iter().any(|session| session.was_full);
        self.sessions.into_iter().for_each(Session::log_out);
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        (self.load.tally, was_full)
    }

    fn drain(&mut self) -> Result<(), Trouble> {
        while self.sessions.iter().any(|session| session.outstanding() > 0) {
            self.turn()?;
        }
        Ok(())
    }

    fn begin_all(&mut self) -> Result<(), Trouble> {
        let now = self.now();
        self.sessions.iter_mut().try_for_each(|session| session.begin(&mut self.load, now))
    }

    /// Waits until something came or [`LOOK`] is over, and does what follows.
    fn turn(&mut self) -> Result<(), Trouble> {
        match &mut self.sessions[..] {
            // One call less: the receive waits by itself.
            [session] if !session.is_blocked() => {
                serve(session, &mut self.load, RecvFlags::empty(), self.start)?;
            }
            _ => self.poll()?,
        }
        let now = self.now();
        if now >= self.next_look {
            self.next_look = now + nanoseconds(LOOK);
            self.look(now)?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Trouble> {
        let ready: Ready = {
            let mut waits: SmallVec<[PollFd; SESSIONS_INLINE]> = self.sessions.iter().map(wait_for).collect();
            let look = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
            match poll(&mut waits, Some(&look)) {
                Ok(0) | Err(Errno::INTR) => return Ok(()),
                Ok(_) => waits.iter().map(PollFd::revents).collect(),
                Err(error) => return Err(Trouble::Io(error.into())),
            }
        };
        for (session, ready) in self.sessions.iter_mut().zip(ready) {
            if ready.contains(PollFlags::OUT) {
                session.flush()?;
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                serve(session, &mut self.load, RecvFlags::DONTWAIT, self.start)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, now: u64) -> Result<(), Trouble> {
        for session in &mut self.sessions {
            session.check_stall(now)?;
            // One that found every block in use has nothing to wake it.
            session.begin(&mut self.load, now)?;
        }
        if let Some(bar) = &self.bar {
            bar.set_position(now.min(self.warm_up + self.time));
            bar.set_message(match self.load.phase {
                Phase::WarmUp => "warming up".to_owned(),
                Phase::Measured => {
                    let seconds = now.saturating_sub(self.warm_up).max(1) as f64 / 1e9;
                    format!("{:.0} IOPS", self.load.tally.ios as f64 / seconds)
                }
                Phase::Ending => "ending".to_owned(),
                Phase::ReadBack(_) => "reading back what was written".to_owned(),
            });
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        let target_cpu = usage::cpu(&self.pids).filter(|_| !self.pids.is_empty());
        Mark { at: Instant::now(), client_cpu: usage::own_cpu(), target_cpu }
    }

    fn now(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }
}

fn wait_for(session: &Session) -> PollFd<'_> {
    let out = if session.is_blocked() { PollFlags::OUT } else { PollFlags::empty() };
    PollFd::new(&session.stream, PollFlags::IN | out)
}

/// What came is handled, and what may follow begins.
fn serve(session: &mut Session, load: &mut Load, flags: RecvFlags, start: Instant) -> Result<(), Trouble> {
    let mut now = 0;
    session.receive(load, flags, || {
        now = nanoseconds(start.elapsed());
        now
    })?;
    if now > 0 { session.begin(load, now) } else { Ok(()) }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

type Ready = SmallVec<[PollFlags; SESSIONS_INLINE]>;

/// Sessions that are waited for without allocation.
const SESSIONS_INLINE: usize = 16;
