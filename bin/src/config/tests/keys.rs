//! What does not fit the file's shape: unknown settings, wrong kinds, no YAML at all.

use super::*;

#[test]
fn an_unknown_setting_is_named_with_the_likely_one() {
    assert_fault(
        "portals:",
        "portal: 1\nportals:",
        "3: portal: there is no such setting
    remedy: did you mean portals?",
    );
    assert_fault(
        "size: 1MiB",
        "sise: 1MiB",
        "5: volumes.db.sise: there is no such setting
    remedy: did you mean size?",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, colour: blue",
        "5: volumes.db.colour: there is no such setting
    remedy: remove it, or use one of: file, device, memory, null, direct_io, size, block_size, physical_block_size, thin, removable, read_only, write_cache, long_cdbs, serial, uuid, naa, vendor, product, revision, scsi_version, rotation, mirror",
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_told_what_to_be() {
    assert_fault(
        "node: alpha",
        "node: 5",
        "1: node: expected text, found `5`
    remedy: put it in quotes",
    );
    assert_fault(
        "    initiators: [\"*\"]",
        "    auth: {chap: {user: 0x1234, secret: 0123456789abc}}",
        "8: targets.iqn.2026-11.net.example:store.auth.chap.user: expected text, found `4660`
    remedy: put it in quotes",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, serial: 1234",
        "5: volumes.db.serial: expected text, found `1234`
    remedy: put it in quotes",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, thin: maybe",
        r#"5: volumes.db.thin: found "maybe"
    remedy: write true or false"#,
    );
    assert_fault(
        "volumes:\n  db: { file: db.img, size: 1MiB }",
        "volumes: [db]",
        "4: volumes: found a list
    remedy: write a section (key: value)",
    );
    assert_fault(
        "1MiB",
        "lots",
        r#"5: volumes.db.size: found "lots"
    remedy: write a size in bytes, such as 4096 or 100GiB"#,
    );
    assert_fault(
        "1MiB",
        "-5",
        "5: volumes.db.size: found `-5`
    remedy: write a size in bytes, such as 4096 or 100GiB",
    );
}

#[test]
fn text_that_is_not_yaml() {
    assert_fault(
        "node: alpha",
        "node: [",
        r#"3: this is not YAML: did not find expected ',' or ']' at line 3 column 8, while parsing a flow sequence at line 1 column 7
    remedy: mind the indentation, and quote what holds `: `, `#`, `*` or `[` ("[::]:3260")"#,
    );
    assert_fault(
        "node: alpha",
        "node: alpha\nnode: beta",
        r#"2: this is not YAML: duplicate entry with key "node"
    remedy: keep one of them"#,
    );
    assert_fault(
        "size: 1MiB",
        "size: 99999999999999999999999999",
        "5: this is not YAML: volumes.db.size: integer `99999999999999999999999999` is too large at line 5 column 29
    remedy: write a smaller number",
    );
    assert_faults(
        &format!("{SOUND}---\nnode: beta\n"),
        " this is not YAML: deserializing from YAML containing more than one document is not supported
    remedy: keep one: nothing may follow a line of ---",
    );
}

#[test]
fn text_that_is_not_utf_8_is_told_with_its_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("c.yaml");
    fs::write(&file, b"node: alpha\nstate_dir: \xe9tat\n").expect("written");
    let faults = load(&file).expect_err("it is Latin 1").faults;
    assert_eq!(render(&faults), "2: this is not UTF-8\n    remedy: save the file in UTF-8");
}
