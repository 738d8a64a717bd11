//! Faults of credentials.

use super::{assert_fault, assert_warning};

#[test]
fn credentials_are_complete() {
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap: is missing
    remedy: write chap: {user: …, secret_file: …}, or remove auth",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: []}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap: has no user
    remedy: write chap: {user: …, secret_file: …}, or remove auth",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap: user ann has no secret
    remedy: write secret_file: FILE, or secret: …",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {secret: 0123456789abc}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap.user: is missing
    remedy: write user: …, the name that CHAP_N carries",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret: 0123456789abc, secret_file: x}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap: has both secret and secret_file
    remedy: keep one, preferably secret_file",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret_file: /nonexistent/x}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap.secret_file: /nonexistent/x cannot be read: No such file or directory (os error 2)
    remedy: write the secret into that file, readable to the user the target runs as (mode 0600)",
    );
}

#[test]
fn a_user_has_one_entry() {
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: [{user: ann, secret: 0123456789abc}, {user: ann, secret: 0123456789abcd}]}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap.1.user: ann is here twice
    remedy: give each user one entry",
    );
}

#[test]
fn a_secret_has_a_length() {
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret: \"\"}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap.secret: is 0 bytes long
    remedy: use 12 to 16 random characters (Windows takes no others): head -c 12 /dev/urandom | base64",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret: 0123456789abc}, mutual: {user: tgt, secret: abc}}",
        "8: targets.iqn.2026-11.net.example:store.auth.mutual.secret: is 3 bytes long, too short to answer with
    remedy: use 12 to 16 random characters (Windows takes no others): head -c 12 /dev/urandom | base64",
    );
}

#[test]
fn a_secret_proves_one_direction_only() {
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret: 0123456789abc}, mutual: {user: tgt, secret: 0123456789abc}}",
        "8: targets.iqn.2026-11.net.example:store.auth.mutual: has the same secret as user ann in targets.iqn.2026-11.net.example:store.auth.chap
    remedy: give each direction a secret of its own: the same one lets an initiator pass for the target",
    );
}

#[test]
fn algorithms() {
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret: 0123456789abc}, algorithms: [md5, sha-256, crc, md5]}",
        "8: targets.iqn.2026-11.net.example:store.auth.algorithms.1: there is no CHAP algorithm sha-256
    remedy: did you mean sha256?
8: targets.iqn.2026-11.net.example:store.auth.algorithms.2: there is no CHAP algorithm crc
    remedy: use some of: sha3-256, sha256, sha1, md5
8: targets.iqn.2026-11.net.example:store.auth.algorithms.3: md5 is here twice
    remedy: remove one",
    );
}

#[test]
fn unwise_secrets() {
    assert_warning(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: ann, secret: short}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap.secret: is 5 bytes long and can be guessed off-line
    remedy: use 12 to 16 random characters (Windows takes no others): head -c 12 /dev/urandom | base64",
    );
    assert_warning(
        "    initiators: [\"*\"]",
        "    auth: {chap: [{user: ann, secret: 0123456789abc}, {user: bob, secret: 0123456789abc}]}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap: users ann and bob have the same secret
    remedy: give each a secret of its own: each can pass for the other",
    );
}
