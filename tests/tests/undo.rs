//! What a node wrote alone and loses when it follows the other: rolled back, listed, exported to the byte, dropped.

use std::fs;

use bytes::Bytes;
use iscsi_proto::pdu::ScsiStatus;
use scenarios::bystander::{read10, write10};
use scenarios::daemon::wait_until;
use scenarios::pair::{Node, PATIENCE, Pair, Setup};
use serde_json::{Value, json};

const BLOCK: u64 = 512;

/// First block, blocks, byte.
fn write(node: &Node, all: &[(u32, u16, u8)]) {
    let mut host = node.log_in().expect("logged in");
    for &(lba, blocks, byte) in all {
        let data = vec![byte; usize::from(blocks) * BLOCK as usize];
        let written = host.command(0, &write10(lba, blocks), data, 0).expect("the session lives");
        assert_eq!(written.status, ScsiStatus::GOOD);
    }
}

fn range(lba: u64, blocks: u64) -> Value {
    json!({ "volume": "db", "at": lba * BLOCK, "bytes": blocks * BLOCK })
}

fn listed(node: &Node) -> Vec<Value> {
    node.ask(&["undo", "list", "db"]).as_array().expect("a list").clone()
}

/// Its resync is done, and what turned out to be alike is left out.
fn settled(node: &Node) -> Value {
    let is_settled = |list: &[Value]| list.len() == 1 && list[0]["settled"] == true;
    wait_until("one undo store is settled", PATIENCE, || is_settled(&listed(node)));
    listed(node).remove(0)
}

/// What alpha alone has: written, zeroed; and written as it was, so that nothing is lost there.
const OWN: [(u32, u16, u8); 4] = [(8, 16, 7), (40, 8, 7), (20_000, 8, 0), (100, 4, 0)];

/// Both have fives.
fn alike(mirror: &'static str) -> Pair {
    // T1 is long enough for alpha to write before it notices that the line is cut.
    let pair = Pair::established(&Setup { timeout: "3s", ..Setup::mode(mirror) });
    write(&pair.alpha, &[(0, 64, 5), (20_000, 64, 5)]);
    wait_until("beta has it", PATIENCE, || pair.alpha.image("db") == pair.beta.image("db"));
    pair
}

/// Alpha dies with writes that it acknowledged and that were still on their way; beta goes on.
fn failed_over(mirror: &'static str) -> Pair {
    let mut pair = alike(mirror);
    pair.line.cut();
    write(&pair.alpha, &OWN);
    pair.alpha.kill();
    // What was on its way never arrives.
    pair.beta.wait_for("db", "alpha is gone", |group| group["link"] == "down");
    pair.line.heal();
    pair.beta.ask(&["promote", "db", "--force"]);
    write(&pair.beta, &[(44, 20, 9)]);
    pair
}

#[test]
fn what_was_never_replicated_is_rolled_back_and_given_back_to_the_byte() {
    let mut pair = failed_over("mode: async, wait_for_peer: 1s");
    let before = pair.alpha.image("db");
    pair.alpha.start();
    pair.assert_alike("db");
    let image = pair.alpha.image("db");
    assert!(image[8 * 512..40 * 512].iter().all(|byte| *byte == 5), "rolled back");

    let kept = settled(&pair.alpha);
    assert_eq!((&kept["why"], &kept["torn"]), (&"rolled-back".into(), &false.into()), "{kept}");
    // 48 to 63 were the same on both when they parted, and beta has nines there: that alpha did not write there since, nobody
    // can tell.
    let discarded = [range(8, 16), range(40, 24), range(20_000, 8)];
    assert_eq!(kept["ranges"], json!(discarded), "{kept}");
    assert_eq!(pair.alpha.group("db")["aside"]["undo_stores"], 1);
    assert!(listed(&pair.beta).is_empty(), "the source discards nothing");

    let name = kept["name"].as_str().expect("a name").to_owned();
    let diff = pair.alpha.ask(&["undo", "diff", "db", &name]);
    assert_eq!(diff["ranges"], json!(discarded), "{diff}");

    let file = pair.alpha.path("discarded.img");
    let path = file.to_str().expect("UTF-8");
    let exported = pair.alpha.ask(&["undo", "export", "db", "--to", path]);
    assert_eq!(exported["ranges"], json!(discarded));
    let map: Value = serde_json::from_slice(&fs::read(format!("{path}.json")).expect("the map")).expect("JSON");
    assert_eq!(map, exported);
    let found = fs::read(&file).expect("exported");
    assert_eq!(found.len(), before.len());
    let mut expected = vec![0; before.len()];
    for range in &discarded {
        let at = range["at"].as_u64().expect("a number") as usize;
        let end = at + range["bytes"].as_u64().expect("a number") as usize;
        expected[at..end].copy_from_slice(&before[at..end]);
    }
    assert!(found == expected, "what was discarded, and nothing else");
    let again = pair.alpha.ctl(&["undo", "export", "db", "--to", path]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stdout).contains("does not exist yet"));

    pair.alpha.ask(&["undo", "drop", "db", &name]);
    assert!(listed(&pair.alpha).is_empty());
    assert_eq!(pair.alpha.group("db")["aside"]["undo_stores"], 0);
    let mirror = pair.alpha.path("state/mirror/db");
    let left = fs::read_dir(&mirror).expect("the group's directory").flatten();
    let left: Vec<_> =
        left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().contains("undo")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(pair.alpha.image("db"), image, "nobody wrote to the volume");
}

#[test]
fn the_loser_of_a_split_brain_keeps_its_blocks() {
    let mut pair = alike("mode: async, wait_for_peer: 1s");
    pair.alpha.ask(&["pause", "db"]);
    write(&pair.alpha, &OWN);
    // Where it is on record that beta lacks these, the copies have parted; without, it would be a roll-back.
    pair.alpha.daemon().wait_for_log("going on without the peer, which is recorded as outdated", PATIENCE);
    pair.alpha.kill();
    pair.beta.wait_for("db", "alpha is gone", |group| group["link"] == "down");
    pair.beta.ask(&["promote", "db", "--force"]);
    write(&pair.beta, &[(44, 20, 9)]);
    pair.alpha.start();
    pair.alpha.wait_for("db", "split brain", |group| group["split_brain"] == true);
    assert!(listed(&pair.alpha).is_empty());
    let told = pair.alpha.ask(&["resolve", "db", "--keep", "beta"]);
    assert!(told["text"].as_str().is_some_and(|text| text.contains("lunmirrorctl undo list db")), "{told}");
    pair.assert_alike("db");
    let kept = settled(&pair.alpha);
    assert_eq!(kept["why"], "split-brain", "{kept}");
    assert_eq!(kept["ranges"], json!([range(8, 16), range(40, 24), range(20_000, 8)]), "{kept}");
}

#[test]
fn what_finds_no_room_is_told_and_holds_nobody_up() {
    let mut pair = failed_over("mode: async, wait_for_peer: 1s, undo: { max: 64KiB }");
    pair.alpha.start();
    pair.assert_alike("db");
    let kept = settled(&pair.alpha);
    assert!(kept["left_out_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{kept}");
    pair.alpha.daemon().wait_for_log("is more than `undo.max` leaves room for", PATIENCE);
}

#[test]
fn nothing_is_kept_where_nobody_wants_it_and_read_without_a_daemon_otherwise() {
    let mut pair = failed_over("mode: async, wait_for_peer: 1s, undo: { max: 0B }, snapshot: off");
    pair.alpha.start();
    pair.assert_alike("db");
    assert!(listed(&pair.alpha).is_empty());
    pair.alpha.stop();
    let state = pair.alpha.path("state");
    let list = pair.beta.ctl(&["undo", "list", "db"]);
    assert!(list.status.success());
    let offline = std::process::Command::new(scenarios::daemon::program().with_file_name("lunmirrorctl"))
        .args(["--json", "undo", "list", "db", "--state-dir", state.to_str().expect("UTF-8")])
        .output()
        .expect("lunmirrorctl runs");
    assert_eq!(String::from_utf8_lossy(&offline.stdout).trim(), "[]", "{offline:?}");
}

#[test]
fn a_replica_that_is_cut_off_says_how_long_ago_it_was_up_to_date() {
    let pair = Pair::established(&Setup::mode("mode: sync, max_stall: 1s"));
    pair.line.cut();
    pair.beta.wait_for("db", "it is no longer sure", |group| group["disk"] == "consistent");
    let ago = |group: &Value| group["up_to_date_ms_ago"].as_u64();
    pair.beta.wait_for("db", "it ages", |group| ago(group).is_some_and(|ago| ago >= 1000));
    let group = pair.beta.group("db");
    assert!(ago(&group).is_some_and(|ago| ago < 10_000), "{group}");
    let done = pair.beta.ask(&["promote", "db", "--force"]);
    let remarks = done["remarks"].to_string();
    assert!(
        remarks.contains("this copy was up to date ") && remarks.contains("when alpha was last heard"),
        "{remarks}"
    );
    let mut host = pair.beta.log_in().expect("logged in");
    assert_eq!(host.command(0, &read10(0, 1), Bytes::new(), 512).expect("it lives").status, ScsiStatus::GOOD);
}
