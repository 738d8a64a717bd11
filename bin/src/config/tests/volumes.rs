//! Faults of volumes.

use super::{assert_fault, assert_warning};

#[test]
fn a_volume_has_one_store() {
    assert_fault(
        "file: db.img, ",
        "",
        "5: volumes.db: has no store
    remedy: write one of: file: PATH, device: PATH, memory: {}, null: {}",
    );
    assert_fault(
        "file: db.img, ",
        "file: db.img, memory: {}, ",
        "5: volumes.db: has 2 stores: file and memory
    remedy: keep one of them",
    );
    assert_fault(
        "file: db.img, ",
        "memory: {}, direct_io: true, ",
        "5: volumes.db.direct_io: means nothing without a file or a device
    remedy: remove it",
    );
}

#[test]
fn a_store_is_what_it_is_called() {
    assert_fault(
        "db.img",
        "/nonexistent/db.img",
        "5: volumes.db.file: there is no directory /nonexistent
    remedy: create it, or mount what it should hold",
    );
    assert_fault(
        "db.img",
        "/tmp",
        "5: volumes.db.file: /tmp is not a file
    remedy: name a file",
    );
    assert_fault(
        "file: db.img",
        "device: /dev/nonexistent",
        "5: volumes.db.device: /dev/nonexistent: No such file or directory (os error 2)
    remedy: name a block device that exists",
    );
    assert_fault(
        "file: db.img",
        "device: /dev/null",
        "5: volumes.db.device: /dev/null is not a block device
    remedy: name a block device",
    );
}

#[test]
fn a_size_is_whole_blocks() {
    assert_fault(
        ", size: 1MiB",
        "",
        "5: volumes.db.size: is missing
    remedy: write size: 100GiB, for example",
    );
    assert_fault(
        "1MiB",
        "1000",
        "5: volumes.db.size: 1000 bytes is not a multiple of the block size, 512
    remedy: write 1024",
    );
    assert_fault(
        "1MiB",
        "0",
        "5: volumes.db.size: 0 bytes is no size for a volume
    remedy: write size: 100GiB, for example",
    );
}

#[test]
fn block_sizes() {
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, block_size: 520",
        "5: volumes.db.block_size: 520 is not a block size
    remedy: write 512 or 4096",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, physical_block_size: 3000",
        "5: volumes.db.physical_block_size: 3000 is not a physical block size
    remedy: write a power of two from 512 (block_size) to 1048576",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, block_size: 4096, physical_block_size: 512",
        "5: volumes.db.physical_block_size: 512 is not a physical block size
    remedy: write a power of two from 4096 (block_size) to 1048576",
    );
}

#[test]
fn identity_fits_its_fields() {
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, uuid: abc",
        r#"5: volumes.db.uuid: "abc" is not a UUID
    remedy: write what uuidgen prints, or remove it"#,
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, serial: \"a b\"",
        r#"5: volumes.db.serial: "a b" is not a serial number
    remedy: use 1 to 64 ASCII letters, digits and marks, without spaces"#,
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, naa: \"60\"",
        r#"5: volumes.db.naa: "60" is not an NAA designator
    remedy: write 16 hexadecimal digits beginning with 2, 3 or 5, or 32 beginning with 6, in quotes"#,
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, vendor: LUNMIRROR",
        r#"5: volumes.db.vendor: "LUNMIRROR" does not fit
    remedy: use 1 to 8 printable ASCII characters"#,
    );
}

#[test]
fn versions_and_rotation() {
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, scsi_version: spc9",
        "5: volumes.db.scsi_version: there is no version spc9
    remedy: write spc3, spc4 or spc5",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, rotation: 100",
        "5: volumes.db.rotation: 100 revolutions per minute cannot be reported
    remedy: write 1025 to 65534, or ssd, or unreported",
    );
    assert_fault(
        "size: 1MiB",
        "size: 1MiB, rotation: sdd",
        "5: volumes.db.rotation: there is no rotation sdd
    remedy: did you mean ssd?",
    );
}

#[test]
fn names_are_file_names() {
    assert_fault(
        "  db: {",
        "  a b: {memory: {}, size: 512}\n  db: {",
        r#"5: volumes.a b: "a b" is not a name for a volume
    remedy: use 1 to 128 ASCII letters, digits, '-', '_' and '.'"#,
    );
}

#[test]
fn two_volumes_on_one_file() {
    assert_fault(
        "  db: {",
        "  copy: {file: ./db.img, size: 512}\n  db: {",
        "6: volumes.db.file: is also that of volume copy
    remedy: give each volume its own; one volume may be a LUN of several targets",
    );
}

#[test]
fn unwise_volumes() {
    assert_warning(
        "  db: {",
        "  spare: {memory: {}, size: 512}\n  db: {",
        "5: volumes.spare: is not a LUN of any target
    remedy: add it under a target's luns, or remove it",
    );
    assert_warning(
        "file: db.img",
        "memory: {}, read_only: true",
        "5: volumes.db.read_only: a store in memory that nobody can write to
    remedy: use a file or a device",
    );
}
