//! Node, portals and limits.

use super::assert_fault;

#[test]
fn what_every_file_needs() {
    assert_fault(
        "node: alpha\n",
        "",
        "1: node: is missing
    remedy: write node: NAME, a name for this host",
    );
    assert_fault(
        "state_dir: .\n",
        "",
        "1: state_dir: is missing
    remedy: write state_dir: /var/lib/lunmirror",
    );
    assert_fault(
        "portals: [127.0.0.1:3260]\n",
        "",
        r#"1: portals: is missing
    remedy: write portals: [0.0.0.0:3260, "[::]:3260"]"#,
    );
    assert_fault(
        "targets:\n  iqn.2026-11.net.example:store:\n    initiators: [\"*\"]\n    luns: { 0: db }\n",
        "",
        r#"1: targets: has no target
    remedy: write targets: {iqn.2026-11.net.example:disk: {initiators: ["*"], luns: {0: VOLUME}}}"#,
    );
    assert_fault(
        "targets:\n  iqn.2026-11.net.example:store:\n    initiators: [\"*\"]\n    luns: { 0: db }\n",
        "targets: {}\n",
        r#"6: targets: has no target
    remedy: write targets: {iqn.2026-11.net.example:disk: {initiators: ["*"], luns: {0: VOLUME}}}"#,
    );
}

#[test]
fn portals_are_addresses() {
    assert_fault(
        "[127.0.0.1:3260]",
        "[]",
        r#"3: portals: has no address
    remedy: write portals: [0.0.0.0:3260, "[::]:3260"]"#,
    );
    assert_fault(
        "[127.0.0.1:3260]",
        "{}",
        r#"3: portals: is empty
    remedy: write portals: [0.0.0.0:3260, "[::]:3260"]"#,
    );
    assert_fault(
        "[127.0.0.1:3260]",
        "[localhost:3260, 10.0.0.1:99999, 5]",
        r#"3: portals.0: "localhost:3260" is not an address
    remedy: write IP:PORT, as in 0.0.0.0:3260 or "[::]:3260"; names are not looked up
3: portals.1: "10.0.0.1:99999" is not an address
    remedy: write IP:PORT, as in 0.0.0.0:3260 or "[::]:3260"; names are not looked up
3: portals.2: expected text, found `5`
    remedy: put it in quotes"#,
    );
    assert_fault(
        "[127.0.0.1:3260]",
        "[127.0.0.1:3260, ~]",
        "3: portals.1: is empty
    remedy: remove it",
    );
}

#[test]
fn a_portal_is_in_one_group_and_once() {
    assert_fault(
        "[127.0.0.1:3260]",
        "{1: [127.0.0.1], 2: [127.0.0.1:3260]}",
        "3: portals.2.0: 127.0.0.1:3260 is also portals.1.0
    remedy: keep one of them",
    );
}

#[test]
fn portal_group_tags() {
    assert_fault(
        "[127.0.0.1:3260]",
        "{0: [127.0.0.1], x: [\"[::1]\"]}",
        "3: portals.0: 0 is not a portal group tag
    remedy: use a number from 1 to 65535
3: portals.x: x is not a portal group tag
    remedy: use a number from 1 to 65535",
    );
    assert_fault(
        "    luns",
        "    portal_groups: [1, 2]\n    luns",
        "9: targets.iqn.2026-11.net.example:store.portal_groups.1: there is no portal group 2
    remedy: portals has: 1",
    );
}

#[test]
fn limits_have_ranges() {
    assert_fault(
        "portals:",
        "limits: {max_sessions: 0, login_timeout: 5, target: {first_burst_length: 2MiB, max_outstanding_r2t: 70000, max_burst_length: 100}}\nportals:",
        "3: limits.login_timeout: found `5`
    remedy: write a duration with its unit, such as 500ms or 10s
3: limits.max_sessions: 0 is out of range
    remedy: use 1 to 65000
3: limits.target.first_burst_length: 2097152 is more than max_burst_length, 1048576
    remedy: RFC 7143 §13.14 wants FirstBurstLength no larger than MaxBurstLength: lower it, or raise the other
3: limits.target.max_burst_length: 100 is out of range
    remedy: use 512 to 16777215
3: limits.target.max_outstanding_r2t: 70000 is out of range
    remedy: use 1 to 65535",
    );
    assert_fault(
        "portals:",
        "limits: {target: {first_burst_length: 2MiB, keepalive_interval: 1ms}}\nportals:",
        "3: limits.target.first_burst_length: 2097152 is more than max_burst_length, 1048576
    remedy: RFC 7143 §13.14 wants FirstBurstLength no larger than MaxBurstLength: lower it, or raise the other
3: limits.target.keepalive_interval: 1ms is out of range
    remedy: use 100ms to 1day",
    );
}
