//! Two daemons whose heartbeats pass and whose connections do not: a Primary that was replaced meanwhile does not serve.

use std::time::Duration;

use bytes::Bytes;
use iscsi_proto::pdu::ScsiStatus;
use scenarios::bystander::write10;
use scenarios::daemon::wait_until;
use scenarios::pair::{Node, PATIENCE, Pair, Setup};

const BLOCK: usize = 512;

/// Some waits longer than the node waits for its peer at start.
const LONG: Duration = Duration::from_secs(3);

/// Beta was promoted after alpha had died.
fn failed_over() -> Pair {
    let mut pair = Pair::established(&Setup::mode("mode: sync, wait_for_peer: 1s"));
    let mut session = pair.alpha.log_in().expect("logged in");
    let outcome = session.command(0, &write10(0, 1), vec![1; BLOCK], 0).expect("it answers");
    assert_eq!(outcome.status, ScsiStatus::GOOD);
    drop(session);
    pair.alpha.kill();
    pair.beta.wait_for("db", "no session", |group| group["link"] == "down");
    pair.beta.ask(&["promote", "db"]);
    pair.beta.wait_for("db", "it serves", |group| group["standing"] == "active");
    pair
}

fn assert_not_promoted(node: &Node) {
    let refused = node.ctl(&["promote", "db"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("is heard and says that it is Primary"), "{said}");
    assert!(said.contains("lunmirrorctl demote db"), "with its remedy: {said}");
}

fn assert_held_back(alpha: &Node) {
    alpha.wait_for("db", "held back", |group| group["held_back"] == "peer-is-primary");
    std::thread::sleep(LONG);
    let group = alpha.group("db");
    assert_eq!((&group["standing"], &group["peer_role"]), (&"waiting".into(), &"primary".into()), "{group}");
    let log = alpha.daemon().log();
    assert!(!log.contains("it serves hosts"), "{log}");
    let told = log.lines().filter(|line| line.contains("ERROR") && line.contains("says that it is Primary")).count();
    assert_eq!(told, 1, "one clear line:\n{log}");
    assert_not_promoted(alpha);
    let mut session = alpha.log_in().expect("logged in");
    let outcome = session.command(0, &write10(0, 1), vec![2; BLOCK], 0).expect("it answers");
    assert_ne!(outcome.status, ScsiStatus::GOOD, "a second Primary");
}

fn assert_comes_back(pair: &Pair) {
    pair.alpha.wait_for("db", "it follows", |group| group["role"] == "secondary");
    pair.assert_alike("db");
    assert_eq!(pair.alpha.image("db")[..BLOCK], [1; BLOCK]);
}

#[test]
fn a_replaced_primary_with_another_encryption_does_not_serve() {
    let mut pair = failed_over();
    pair.alpha.configure(|yaml| yaml.replace("idle_timeout:", "encryption: noise, idle_timeout:"));
    pair.alpha.start();
    assert_held_back(&pair.alpha);
    pair.alpha.stop();
    pair.alpha.configure(|yaml| yaml.replace("encryption: noise, ", ""));
    pair.alpha.start();
    assert_comes_back(&pair);
}

#[test]
fn a_replaced_primary_behind_a_firewall_does_not_serve() {
    let mut pair = failed_over();
    pair.line.proxied().block_tcp(true);
    pair.alpha.start();
    assert_held_back(&pair.alpha);
    pair.line.proxied().block_tcp(false);
    assert_comes_back(&pair);
}

#[test]
fn a_secondary_is_not_promoted_while_the_primary_is_heard() {
    let pair = Pair::established(&Setup::default());
    pair.line.proxied().block_tcp(true);
    pair.line.proxied().open_connections().iter().for_each(|connection| connection.kill());
    pair.beta.wait_for("db", "no session", |group| group["link"] == "down");
    wait_until("heartbeats say who is Primary", PATIENCE, || pair.beta.group("db")["peer_role"] == "primary");
    assert_not_promoted(&pair.beta);
    assert_eq!(pair.beta.group("db")["role"], "secondary");
    let mut session = pair.alpha.log_in().expect("logged in");
    let test_unit_ready = session.command(0, &[0; 6], Bytes::new(), 0).expect("it answers");
    assert_eq!(test_unit_ready.status, ScsiStatus::GOOD, "alpha goes on");
    pair.beta.ask(&["promote", "db", "--force"]);
    pair.beta.wait_for("db", "it obeys", |group| group["role"] == "primary");
}
