//! CDBs of every operation in the opcode table, and the parameter lists that go with them.

use target_core::scsi::opcodes::{OPERATIONS, Operation};

use crate::live::{BLOCKS, naa};
use crate::random::Random;

/// A command, its direction and how many bytes it may move.
#[derive(Clone, Debug)]
pub struct Sample {
    pub cdb: Vec<u8>,
    pub is_write: bool,
    pub length: u32,
    /// How the data begins; zeroes do for the rest.
    pub data: Vec<u8>,
}

pub fn any(random: &mut Random) -> Sample {
    match random.below(10) {
        0..4 => media(random),
        4..7 => with_list(random),
        _ => of_table(random),
    }
}

/// A read or write that is right.
pub fn media(random: &mut Random) -> Sample {
    // Opcode, service action, CDB length, where LBA and length are, whether it takes data.
    type Row = (u8, u8, usize, (usize, usize), (usize, usize), bool);
    const ROWS: [Row; 18] = [
        (0x08, 0, 6, (2, 2), (4, 1), false),
        (0x0A, 0, 6, (2, 2), (4, 1), true),
        (0x28, 0, 10, (2, 4), (7, 2), false),
        (0x2A, 0, 10, (2, 4), (7, 2), true),
        (0xA8, 0, 12, (2, 4), (6, 4), false),
        (0xAA, 0, 12, (2, 4), (6, 4), true),
        (0x88, 0, 16, (2, 8), (10, 4), false),
        (0x8A, 0, 16, (2, 8), (10, 4), true),
        (0x2E, 0, 10, (2, 4), (7, 2), true),
        (0x2E, 2, 10, (2, 4), (7, 2), true),
        (0x2F, 2, 10, (2, 4), (7, 2), true),
        (0x8F, 6, 16, (2, 8), (10, 4), true),
        (0x93, 0, 16, (2, 8), (10, 4), true),
        (0x93, 8, 16, (2, 8), (10, 4), true),
        (0x89, 0, 16, (2, 8), (13, 1), true),
        (0x8B, 0, 16, (2, 8), (10, 4), true),
        (0x9C, 0, 16, (2, 8), (12, 2), true),
        (0x34, 0, 10, (2, 4), (7, 2), false),
    ];
    let (opcode, flags, length, lba_at, blocks_at, is_write) = random.pick(&ROWS);
    let blocks = random.pick(&[0, 1, 1, 2, 4, 8, 8, 16, 64]);
    let mut cdb = vec![0; length];
    (cdb[0], cdb[1]) = (opcode, flags);
    put(&mut cdb, lba_at, random.below(BLOCKS as usize) as u64 & !7);
    put(&mut cdb, blocks_at, blocks);
    let pieces = match opcode {
        0x93 => 1,
        0x89 => 2 * blocks,
        _ => blocks,
    };
    let block = if random.once_in(4) { 4096 } else { 512 };
    Sample { cdb, is_write, length: (pieces * block) as u32, data: Vec::new() }
}

/// An operation of the table, with fields that it evaluates.
pub fn of_table(random: &mut Random) -> Sample {
    let operation = loop {
        let operation = &OPERATIONS[random.below(OPERATIONS.len())];
        if !is_long(operation.opcode) || random.once_in(RARE) {
            break operation;
        }
    };
    let cdb = fields(random, operation);
    let length = random.pick(&[0, 8, 24, 255, 512, 4096, 65536]);
    Sample { cdb, is_write: takes_data(operation), length, data: random.bytes(24) }
}

fn fields(random: &mut Random, operation: &Operation) -> Vec<u8> {
    let mut cdb: Vec<u8> = operation
        .usage
        .iter()
        .map(|usage| match random.below(4) {
            0 | 1 => 0,
            2 => random.byte() & 7 & usage,
            _ => random.byte() & usage,
        })
        .collect();
    cdb[0] = operation.opcode;
    match (operation.service_action, operation.opcode) {
        (Some(service_action), 0x7F) => {
            cdb[7] = (cdb.len() - 8) as u8;
            cdb[8..10].copy_from_slice(&service_action.to_be_bytes());
        }
        (Some(service_action), _) => cdb[1] = (cdb[1] & 0xE0) | service_action as u8,
        (None, _) => {}
    }
    cdb
}

/// Those whose CDB is of a known length and whose data goes out.
fn takes_data(operation: &Operation) -> bool {
    const OPCODES: [u8; 23] = [
        0x04, 0x0A, 0x15, 0x1D, 0x2A, 0x2E, 0x3B, 0x41, 0x42, 0x48, 0x55, 0x5F, 0x83, 0x89, 0x8A, 0x8B, 0x8E, 0x93,
        0x9C, 0xA4, 0xAA, 0xAE, 0x2F,
    ];
    OPCODES.contains(&operation.opcode)
}

/// A command with a parameter list: opcode, service action or flags, CDB length, where the list's length is in it, and a
/// list of the kind.
pub struct ListCommand {
    pub opcode: u8,
    pub flags: u8,
    pub cdb_length: usize,
    pub length_at: (usize, usize),
    list: fn(&mut Random) -> Vec<u8>,
}

pub const LIST_COMMANDS: [ListCommand; 20] = [
    list_command(0x42, 0x00, 10, (7, 2), unmap),
    list_command(0x5F, 0x00, 10, (5, 4), reservation),
    list_command(0x5F, 0x01, 10, (5, 4), reservation),
    list_command(0x5F, 0x02, 10, (5, 4), reservation),
    list_command(0x5F, 0x03, 10, (5, 4), reservation),
    list_command(0x5F, 0x04, 10, (5, 4), reservation),
    list_command(0x5F, 0x05, 10, (5, 4), reservation),
    list_command(0x5F, 0x06, 10, (5, 4), reservation),
    list_command(0x5F, 0x07, 10, (5, 4), move_reservation),
    list_command(0x83, 0x00, 16, (10, 4), extended_copy_lid1),
    list_command(0x83, 0x01, 16, (10, 4), extended_copy_lid4),
    list_command(0x15, 0x10, 6, (4, 1), mode_6),
    list_command(0x55, 0x10, 10, (7, 2), mode_10),
    list_command(0x04, 0x10, 6, (4, 0), format),
    list_command(0x04, 0x30, 6, (4, 0), format),
    list_command(0x48, 0x01, 10, (7, 2), sanitize),
    list_command(0x3B, 0x0A, 10, (6, 3), buffer),
    list_command(0xA4, 0x06, 12, (6, 4), buffer),
    list_command(0xA4, 0x0A, 12, (6, 4), port_groups),
    list_command(0xA4, 0x0F, 12, (6, 4), timestamp),
];

const fn list_command(
    opcode: u8,
    flags: u8,
    cdb_length: usize,
    length_at: (usize, usize),
    list: fn(&mut Random) -> Vec<u8>,
) -> ListCommand {
    ListCommand { opcode, flags, cdb_length, length_at, list }
}

pub fn with_list(random: &mut Random) -> Sample {
    let row = loop {
        let row = &LIST_COMMANDS[random.below(LIST_COMMANDS.len())];
        if !is_long(row.opcode) || random.once_in(RARE) {
            break row;
        }
    };
    let mut data = (row.list)(random);
    // Half of the lists are not quite what they should be.
    if random.once_in(2) && !data.is_empty() {
        for _ in 0..1 + random.below(3) {
            let at = random.below(data.len());
            data[at] = random.pick(&[0, 1, 0x7F, 0x80, 0xFF, data[at] ^ 1, data[at] ^ 0x10]);
        }
        if random.once_in(3) {
            data.truncate(random.below(data.len() + 1));
        }
    }
    let mut cdb = vec![0; row.cdb_length];
    (cdb[0], cdb[1]) = (row.opcode, row.flags);
    if row.opcode == 0x5F {
        cdb[2] = random.below(9) as u8;
    }
    put(&mut cdb, row.length_at, data.len() as u64);
    Sample { cdb, is_write: true, length: data.len() as u32, data }
}

fn unmap(random: &mut Random) -> Vec<u8> {
    let count = random.below(4) as u16;
    let mut list = Vec::new();
    list.extend((16 * count + 6).to_be_bytes());
    list.extend((16 * count).to_be_bytes());
    list.extend([0; 4]);
    for _ in 0..count {
        list.extend((random.below(BLOCKS as usize) as u64).to_be_bytes());
        list.extend((random.below(64) as u32).to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

fn keys(random: &mut Random) -> Vec<u8> {
    let key = |random: &mut Random| (random.below(3) as u64).to_be_bytes();
    [key(random), key(random)].concat()
}

fn reservation(random: &mut Random) -> Vec<u8> {
    let mut list = keys(random);
    list.extend([0, 0, 0, 0, random.pick(&[0, 0, 1, 4, 8, 13]), 0, 0, 0]);
    if list[20] & 8 != 0 {
        let id = transport_id(random);
        list.extend((id.len() as u32).to_be_bytes());
        list.extend(id);
    }
    list
}

fn move_reservation(random: &mut Random) -> Vec<u8> {
    let mut list = keys(random);
    let id = transport_id(random);
    list.extend([0, random.byte() & 3, 0, 1 + random.byte() % 2]);
    list.extend((id.len() as u32).to_be_bytes());
    list.extend(id);
    list
}

/// SPC-5 §7.6.4.6: iSCSI initiator port, by name or by name and ISID.
fn transport_id(random: &mut Random) -> Vec<u8> {
    let with_isid = random.once_in(2);
    let isid = if with_isid { ",i,0x808080808080" } else { "" };
    let mut name = format!("iqn.2026-11.net.example:{}{isid}\0", random.below(4)).into_bytes();
    name.resize(name.len().next_multiple_of(4).max(20), 0);
    let mut id = vec![if with_isid { 0x45 } else { 0x05 }, 0];
    id.extend((name.len() as u16).to_be_bytes());
    id.extend(name);
    id
}

fn extended_copy_lid1(random: &mut Random) -> Vec<u8> {
    let segments = segments(random);
    let cscds = cscds(random);
    let mut list = vec![random.byte() & 3, 0];
    list.extend((cscds.len() as u16).to_be_bytes());
    list.extend([0; 4]);
    list.extend((segments.len() as u32).to_be_bytes());
    list.extend([0; 4]);
    list.extend(cscds);
    list.extend(segments);
    list
}

/// SPC-5 §6.6.3: 48 bytes of header.
fn extended_copy_lid4(random: &mut Random) -> Vec<u8> {
    let (segments, cscds) = (segments(random), cscds(random));
    let mut list = vec![0; 48];
    (list[0], list[3], list[16]) = (1, 0x20, 0xFF);
    list[20..24].copy_from_slice(&(random.below(4) as u32).to_be_bytes());
    list[42..44].copy_from_slice(&(cscds.len() as u16).to_be_bytes());
    list[44..46].copy_from_slice(&(segments.len() as u16).to_be_bytes());
    list.extend(cscds);
    list.extend(segments);
    list
}

/// Identification descriptor CSCDs, by the units' designators.
fn cscds(random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..random.below(3) {
        let mut one = vec![0; 32];
        (one[0], one[4], one[5], one[7]) = (0xE4, 1, 3, 8);
        one[8..16].copy_from_slice(&naa(random.below(3) as u16));
        one[30] = random.pick(&[2, 2, 16]);
        all.extend(one);
    }
    all
}

fn segments(random: &mut Random) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..random.below(3) {
        let mut one = vec![0; 28];
        (one[0], one[3]) = (random.pick(&[0x02, 0x02, 0x0A, 0x04]), 0x18);
        let cscd = |random: &mut Random| random.pick(&[0_u16, 0, 1, 2, 0xFFFF]).to_be_bytes();
        one[4..6].copy_from_slice(&cscd(random));
        one[6..8].copy_from_slice(&cscd(random));
        one[10..12].copy_from_slice(&(random.below(64) as u16).to_be_bytes());
        one[18..20].copy_from_slice(&(random.below(2048) as u16).to_be_bytes());
        one[26..28].copy_from_slice(&(random.below(2048) as u16).to_be_bytes());
        all.extend(one);
    }
    all
}

fn mode_page(random: &mut Random) -> Vec<u8> {
    let (code, length) = random.pick(&[(0x08_u8, 0x12_u8), (0x0A, 0x0A), (0x1C, 0x0A), (0x01, 0x0A), (0x02, 0x0E)]);
    let mut page = vec![0; 2 + usize::from(length)];
    (page[0], page[1]) = (code, length);
    if code == 0x0A {
        // What cannot be changed, with D_SENSE or SWP.
        page[2..10].copy_from_slice(&[0x22, 0x10, 0, 0, 0, 0, 0x01, 0x2C]);
        page[2] |= random.pick(&[0, 4]);
        page[4] = if random.once_in(10) { 8 } else { 0 };
    } else {
        page[2] = random.pick(&[0, 4]);
    }
    page
}

fn mode_6(random: &mut Random) -> Vec<u8> {
    [vec![0; 4], mode_page(random)].concat()
}

fn mode_10(random: &mut Random) -> Vec<u8> {
    [vec![0; 8], mode_page(random)].concat()
}

fn format(random: &mut Random) -> Vec<u8> {
    vec![0, random.pick(&[0, 2, 0x80, 0x82]), 0, 0, 0, 0, 0, 0][..random.pick(&[4, 8])].to_vec()
}

fn sanitize(random: &mut Random) -> Vec<u8> {
    vec![random.pick(&[1, 2, 0x83]), 0, 0, 4, 1, 2, 3, 4]
}

fn buffer(random: &mut Random) -> Vec<u8> {
    let length = random.below(600);
    random.bytes(length)
}

fn port_groups(random: &mut Random) -> Vec<u8> {
    vec![0, 0, 0, 0, random.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0xF]), 0, 0, 1 + random.byte() % 3]
}

fn timestamp(random: &mut Random) -> Vec<u8> {
    let mut list = vec![0; 12];
    list[4..10].copy_from_slice(&random.bytes(6));
    list
}

/// FORMAT UNIT and SANITIZE: while they go on, there is nothing else to see.
fn is_long(opcode: u8) -> bool {
    matches!(opcode, 0x04 | 0x48)
}

/// Once in so many times.
const RARE: usize = 200;

/// A big-endian number of so many bytes.
fn put(cdb: &mut [u8], (at, bytes): (usize, usize), value: u64) {
    cdb[at..at + bytes].copy_from_slice(&value.to_be_bytes()[8 - bytes..]);
}
