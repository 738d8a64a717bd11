//! An image that is gone, or another, when its node starts again: what is in its place is never taken for the copy.

use std::fs;

use scenarios::bystander::write10;
use scenarios::daemon::wait_until;
use scenarios::pair::{Node, PATIENCE, Pair, Setup};

/// Eight blocks of sevens, on both nodes.
fn written() -> Pair {
    let pair = Pair::established(&Setup::mode("mode: sync, wait_for_peer: 1s"));
    let mut host = pair.alpha.log_in().expect("logged in");
    host.command(0, &write10(0, 8), vec![7; 4096], 0).expect("written");
    drop(host);
    pair.assert_alike("db");
    pair
}

fn is_whole(node: &Node) -> bool {
    node.image("db")[..4096] == [7; 4096]
}

#[test]
fn a_replicas_image_that_is_gone_is_copied_anew() {
    let mut pair = written();
    pair.beta.kill();
    fs::remove_file(pair.beta.path("db.img")).expect("removed");
    pair.beta.start();
    pair.assert_alike("db");
    assert!(is_whole(&pair.beta));
    assert!(pair.beta.daemon().log().contains("it is new and empty"), "{}", pair.beta.daemon().log());
}

#[test]
fn a_replicas_image_that_is_another_is_copied_anew() {
    let mut pair = written();
    pair.beta.kill();
    let (image, other) = (pair.beta.path("db.img"), pair.beta.path("other.img"));
    fs::write(&other, vec![9; 16 << 20]).expect("written");
    fs::rename(&other, &image).expect("replaced");
    pair.beta.start();
    pair.assert_alike("db");
    assert!(is_whole(&pair.beta));
}

#[test]
fn an_owner_without_its_image_serves_nothing_until_it_is_back() {
    let mut pair = written();
    pair.alpha.kill();
    pair.beta.kill();
    let (image, away) = (pair.alpha.path("db.img"), pair.alpha.path("away.img"));
    fs::rename(&image, &away).expect("moved away");
    pair.alpha.start();
    wait_until("its log says what is wrong", PATIENCE, || {
        let log = pair.alpha.daemon().log();
        log.contains("db.img is not the copy of volume db") && log.contains("put the right one back")
    });
    std::thread::sleep(std::time::Duration::from_secs(2));
    let group = pair.alpha.group("db");
    assert_eq!((&group["role"], &group["disk"]), (&"secondary".into(), &"inconsistent".into()), "{group}");
    pair.alpha.stop();
    fs::rename(&away, &image).expect("put back");
    pair.alpha.start();
    pair.beta.start();
    pair.assert_alike("db");
    assert_eq!(pair.alpha.group("db")["role"], "primary");
    assert!(is_whole(&pair.alpha) && is_whole(&pair.beta));
}
