//! Hosts' requests and operators' commands that are not answered yet.

use std::collections::HashMap;

use tokio::sync::oneshot;

use crate::block::BlockError;
use crate::replica::io::{CommandId, Done, Found, HostOp, Refusal};

pub(super) type HostResult = Result<(), BlockError>;
pub(super) type HostAnswer = (oneshot::Sender<HostResult>, HostResult);

pub(super) type CommandResult = Result<Done, Refusal>;
pub(super) type CommandAnswer = (oneshot::Sender<CommandResult>, CommandResult);

/// Hosts' requests. What is open is bounded by the hosts' command windows; places are used again, so that nothing is
/// allocated for a request that ends within its own turn.
#[derive(Debug, Default)]
pub(super) struct HostOps {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    /// Counts the requests that were here: a number names one request, not the next one in its place.
    serial: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    /// Its own turn still runs.
    Turning,
    /// Answered while its own turn still runs.
    Answered(HostResult),
    Waiting(oneshot::Sender<HostResult>),
}

/// How a request stands when its turn ends.
pub(super) enum TurnEnd {
    Answered(HostResult),
    Waits(oneshot::Receiver<HostResult>),
}

impl HostOps {
    pub fn begin(&mut self) -> HostOp {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { serial: 0, state: State::Free });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[at as usize];
        place.state = State::Turning;
        HostOp(u64::from(place.serial) << 32 | u64::from(at))
    }

    /// The replica has answered. Somebody is to be told, unless the request's own turn will find it.
    pub fn answer(&mut self, op: HostOp, result: HostResult) -> Option<HostAnswer> {
        let place = self.place(op)?;
        if matches!(place.state, State::Turning) {
            place.state = State::Answered(result);
            return None;
        }
        match self.end(op) {
            State::Waiting(host) => Some((host, result)),
            _ => None,
        }
    }

    /// The request's own turn is over: its answer, or where it will come.
    pub fn end_turn(&mut self, op: HostOp) -> TurnEnd {
        if let Some(Place { state: State::Answered(result), .. }) = self.place(op) {
            let result = *result;
            self.end(op);
            return TurnEnd::Answered(result);
        }
        let (host, waits) = oneshot::channel();
        if let Some(place) = self.place(op) {
            place.state = State::Waiting(host);
        }
        TurnEnd::Waits(waits)
    }

    fn end(&mut self, op: HostOp) -> State {
        let Some(place) = self.place(op) else { return State::Free };
        place.serial = place.serial.wrapping_add(1);
        let state = std::mem::replace(&mut place.state, State::Free);
        self.free.push(op.0 as u32);
        state
    }

    fn place(&mut self, op: HostOp) -> Option<&mut Place> {
        let place = self.places.get_mut(op.0 as u32 as usize)?;
        let open = u64::from(place.serial) == op.0 >> 32 && !matches!(place.state, State::Free);
        open.then_some(place)
    }
}

/// Hosts' reads that are the peer's to answer. Bounded by the hosts' command windows.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    last: u64,
    open: HashMap<HostOp, oneshot::Sender<FetchResult>>,
}

pub(super) type FetchResult = Result<Found, BlockError>;
pub(super) type FetchAnswer = (oneshot::Sender<FetchResult>, FetchResult);

impl Fetches {
    pub fn begin(&mut self) -> (HostOp, oneshot::Receiver<FetchResult>) {
        self.last += 1;
        let op = HostOp(self.last);
        let (host, waits) = oneshot::channel();
        self.open.insert(op, host);
        (op, waits)
    }

    pub fn answer(&mut self, op: HostOp, result: FetchResult) -> Option<FetchAnswer> {
        self.open.remove(&op).map(|host| (host, result))
    }
}

/// Operators' commands. Few, and bounded by the replica's refusing a second while one is under way.
#[derive(Debug, Default)]
pub(super) struct Commands {
    last: u64,
    open: HashMap<CommandId, oneshot::Sender<CommandResult>>,
}

impl Commands {
    pub fn begin(&mut self) -> (CommandId, oneshot::Receiver<CommandResult>) {
        self.last += 1;
        let id = CommandId(self.last);
        let (operator, waits) = oneshot::channel();
        self.open.insert(id, operator);
        (id, waits)
    }

    pub fn answer(&mut self, id: CommandId, result: CommandResult) -> Option<CommandAnswer> {
        self.open.remove(&id).map(|operator| (operator, result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_within_its_turn_needs_no_channel() {
        let mut ops = HostOps::default();
        let op = ops.begin();
        assert!(ops.answer(op, Err(BlockError::Medium)).is_none());
        assert!(matches!(ops.end_turn(op), TurnEnd::Answered(Err(BlockError::Medium))));
    }

    #[tokio::test]
    async fn what_is_answered_later_comes_by_a_channel() {
        let mut ops = HostOps::default();
        let op = ops.begin();
        let TurnEnd::Waits(waits) = ops.end_turn(op) else { panic!("answered by nobody") };
        let (host, result) = ops.answer(op, Ok(())).unwrap();
        host.send(result).unwrap();
        assert_eq!(waits.await, Ok(Ok(())));
    }

    #[test]
    fn a_place_is_used_again_under_another_number() {
        let mut ops = HostOps::default();
        let first = ops.begin();
        ops.answer(first, Ok(()));
        ops.end_turn(first);
        let second = ops.begin();
        assert_ne!(first, second);
        assert_eq!(ops.places.len(), 1);
        assert!(ops.answer(first, Err(BlockError::Medium)).is_none(), "of the former request");
        ops.answer(second, Ok(()));
        assert!(matches!(ops.end_turn(second), TurnEnd::Answered(Ok(()))));
    }

    #[test]
    fn an_answer_given_twice_is_one() {
        let mut ops = HostOps::default();
        let op = ops.begin();
        let _waits = ops.end_turn(op);
        assert!(ops.answer(op, Ok(())).is_some());
        assert!(ops.answer(op, Ok(())).is_none());
        let (a, b) = (ops.begin(), ops.begin());
        assert_ne!(a.0 as u32, b.0 as u32, "a place is given to one request");
    }
}
