//! A peer that breaks the protocol is not believed.

use super::line::Line;
use super::pair::Pair;
use crate::config::Mode;
use crate::ids::WriteSeq;
use crate::wire::message::{Ack, Credit, Message};

impl Pair {
    /// The owner hears that from the replica, which never said it. What it complains of.
    fn forge(&self, line: &Line, change: impl FnOnce(&mut Ack)) -> Vec<String> {
        let status = self.a.status();
        let mut ack = Ack {
            epoch: status.epoch,
            number: 1 << 40,
            received_upto: status.applied_upto,
            applied_upto: status.applied_upto,
            durable_upto: WriteSeq(0),
            received: Default::default(),
            applied: Default::default(),
            credit: Credit { seq: status.seq, bytes: 1 << 20 },
            failed: Default::default(),
            differs: Default::default(),
        };
        change(&mut ack);
        self.a.group.received(line.id, &mut vec![Message::Ack(Box::new(ack))]);
        line.complaints()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_of_what_was_never_sent_is_refused() {
    let pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    line.stall(true);
    // More than the replica gives credit for.
    for lba in 0..600 {
        pair.a.write(lba, 1, 7).await.unwrap();
    }
    let lag = pair.a.rpo();
    let last = pair.a.status().seq;
    let complaints = pair.forge(&line, |ack| (ack.received_upto, ack.applied_upto) = (last, last));
    assert!(complaints[0].contains("acknowledgements of writes that were sent, not of "), "{complaints:?}");
    let complaints = pair.forge(&line, |ack| ack.applied.push((last, last)));
    assert!(complaints[1].contains(&format!("that were sent, not of {last}")), "{complaints:?}");
    let complaints = pair.forge(&line, |ack| ack.received_upto = last.next());
    assert!(complaints[2].contains(&format!("acknowledgements of writes below {}", last.next())), "{complaints:?}");
    assert_eq!(pair.a.rpo().bytes, lag.bytes, "it lacks what it lacked");
    line.stall(false);
    pair.alike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_of_more_on_the_medium_than_is_applied_is_refused() {
    let pair = Pair::start(Mode::Async).await;
    let line = pair.connected().await;
    pair.a.write(0, 1, 7).await.unwrap();
    pair.alike().await;
    let status = pair.a.status();
    let complaints = pair.forge(&line, |ack| ack.durable_upto = ack.applied_upto.next());
    assert!(complaints[0].contains("expected no more durable than is applied"), "{complaints:?}");
    assert!(pair.a.status().durable_upto <= status.applied_upto);
}
