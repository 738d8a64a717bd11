//! Faults of targets: names, initiators, LUNs, redirection.

use super::{assert_fault, assert_warning};

#[test]
fn target_names_are_iscsi_names() {
    assert_fault(
        "iqn.2026-11.net",
        "iqn.2026.net",
        "7: targets.iqn.2026.net.example:store: is not an iSCSI name: iqn. is not followed by a date as yyyy-mm and a dot
    remedy: write iqn.YYYY-MM.REVERSED.DOMAIN:ANYTHING, as in iqn.2026-11.net.example:disk",
    );
    assert_fault(
        "iqn.2026-11.net.example:store",
        "disk",
        "7: targets.disk: is not an iSCSI name: does not begin with iqn., eui. or naa.
    remedy: write iqn.YYYY-MM.REVERSED.DOMAIN:ANYTHING, as in iqn.2026-11.net.example:disk",
    );
}

#[test]
fn luns_refer_to_volumes() {
    assert_fault(
        "    luns: { 0: db }\n",
        "",
        "7: targets.iqn.2026-11.net.example:store.luns: is missing
    remedy: write luns: {0: VOLUME}",
    );
    assert_fault(
        "0: db",
        "0: bd",
        "9: targets.iqn.2026-11.net.example:store.luns.0: there is no volume bd
    remedy: did you mean db?",
    );
    assert_fault(
        "0: db",
        "0: warehouse",
        "9: targets.iqn.2026-11.net.example:store.luns.0: there is no volume warehouse
    remedy: add warehouse under volumes",
    );
    assert_fault(
        "0: db",
        "0: ~",
        "9: targets.iqn.2026-11.net.example:store.luns.0: names no volume
    remedy: write 0: VOLUME",
    );
}

#[test]
fn luns_are_numbers_within_bounds() {
    assert_fault(
        "0: db",
        "0: db, 16384: db, x: db",
        "9: targets.iqn.2026-11.net.example:store.luns.16384: 16384 is not a LUN
    remedy: use a number from 0 to 16383
9: targets.iqn.2026-11.net.example:store.luns.x: x is not a LUN
    remedy: use a number from 0 to 16383",
    );
}

#[test]
fn nobody_is_let_in_by_omission() {
    assert_fault(
        "    initiators: [\"*\"]\n",
        "",
        r#"7: targets.iqn.2026-11.net.example:store.initiators: is missing, and there is no auth: anybody could log in
    remedy: write initiators: [NAME, …], or initiators: ["*"] if anybody may"#,
    );
    assert_fault(
        "[\"*\"]",
        "[]",
        r#"8: targets.iqn.2026-11.net.example:store.initiators: is empty: nobody could log in
    remedy: write initiators: [NAME, …], or ["*"] for anybody"#,
    );
}

#[test]
fn initiators_are_patterns() {
    assert_fault(
        "[\"*\"]",
        "[host1, \"iqn.[ab]*\", 7]",
        r#"8: targets.iqn.2026-11.net.example:store.initiators.0: "host1" matches no initiator name
    remedy: begin with iqn., eui. or naa., or with *; an initiator shows its name in /etc/iscsi/initiatorname.iscsi
8: targets.iqn.2026-11.net.example:store.initiators.1: "iqn.[ab]*" has a '[', which no initiator name has
    remedy: use * for any characters and ? for one; regular expressions are not understood
8: targets.iqn.2026-11.net.example:store.initiators.2: found `7`
    remedy: write an initiator name pattern, or a rule {name: …, networks: …, users: …, luns: …}"#,
    );
    assert_fault(
        "[\"*\"]",
        "[{networks: 10.0.0.1}]",
        r#"8: targets.iqn.2026-11.net.example:store.initiators.0.name: is missing
    remedy: write name: PATTERN, or name: "*" for all"#,
    );
}

#[test]
fn networks() {
    assert_fault(
        "[\"*\"]",
        "[{name: \"*\", networks: [10.0.0.0/33]}]",
        r#"8: targets.iqn.2026-11.net.example:store.initiators.0.networks.0: "10.0.0.0/33" is not a network
    remedy: write 10.0.0.0/8, "2001:db8::/32", or one address"#,
    );
}

#[test]
fn users_of_a_rule_are_users_of_the_target() {
    assert_fault(
        "[\"*\"]",
        "[{name: \"*\", users: ann}]",
        "8: targets.iqn.2026-11.net.example:store.initiators.0.users: means nothing without auth
    remedy: add auth: {chap: …}, or remove it",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: anna, secret: 0123456789abc}}\n    initiators: [{name: \"*\", users: ann}]",
        "9: targets.iqn.2026-11.net.example:store.initiators.0.users: there is no user ann in auth.chap
    remedy: did you mean anna?",
    );
}

#[test]
fn redirection_is_to_an_address() {
    assert_fault(
        "    luns",
        "    redirect: {address: \"a b\"}\n    luns",
        r#"9: targets.iqn.2026-11.net.example:store.redirect.address: "a b" is not an address
    remedy: write HOST, HOST:PORT or "[IPV6]:PORT""#,
    );
}

#[test]
fn unwise_targets() {
    assert_warning(
        "0: db",
        "1: db",
        "9: targets.iqn.2026-11.net.example:store.luns: has no LUN 0
    remedy: some initiators look for the others only when there is one",
    );
    assert_warning(
        "[\"*\"]",
        "[\"*\", \"iqn.a\"]",
        "8: targets.iqn.2026-11.net.example:store.initiators.1: is never reached: rule 0 fits every initiator
    remedy: put it before that rule; the first rule that fits decides",
    );
}
