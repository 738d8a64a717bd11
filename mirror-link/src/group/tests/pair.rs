//! Two nodes and what joins them.

use super::line::Line;
use super::node::{Node, config, eventually, eventually_or};
use crate::config::{GroupConfig, Mode};
use crate::replica::io::Standing;
use crate::replica::status::LinkState;
use crate::wire::message::{DiskState, Role};

pub struct Pair {
    pub a: Node,
    pub b: Node,
}

impl Pair {
    pub async fn start(mode: Mode) -> Pair {
        Pair::start_with(mode, |_| ()).await
    }

    pub async fn start_with(mode: Mode, change: impl Fn(&mut GroupConfig)) -> Pair {
        let (mut a, mut b) = (config("beta", Role::Primary, mode), config("alpha", Role::Secondary, mode));
        change(&mut a);
        change(&mut b);
        Pair { a: Node::start("alpha", a).await, b: Node::start("beta", b).await }
    }

    pub fn connect(&self) -> Line {
        Line::connect([(&self.a.group, self.a.instance), (&self.b.group, self.b.instance)], 3)
    }

    /// And serving.
    pub async fn connected(&self) -> Line {
        let line = self.connect();
        self.alike().await;
        self.active(&self.a).await;
        assert_eq!(line.complaints(), Vec::<String>::new());
        line
    }

    pub async fn active(&self, node: &Node) {
        eventually("it serves", || node.observer.standing_now() == Some(Standing::Active)).await;
    }

    /// Wait until nothing is left to be sent; then both hold the same.
    pub async fn alike(&self) {
        let nodes = [&self.a, &self.b];
        let holds = || {
            nodes.iter().all(|node| {
                let status = node.status();
                status.link == LinkState::Established && status.disk == DiskState::UpToDate
            })
        };
        let how = || format!("established and up to date: {:#?}", nodes.map(|node| node.status()));
        eventually_or(how, holds).await;
        let primary = nodes.into_iter().find(|node| node.status().role == Role::Primary).unwrap();
        eventually("all is applied", || primary.status().applied_upto == primary.status().seq).await;
        assert!(self.a.device.content() == self.b.device.content(), "the copies differ");
    }
}
