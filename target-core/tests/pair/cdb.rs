//! Commands that change blocks.

use super::BLOCK;

pub fn cdb10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let (l, b) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, flags, l[0], l[1], l[2], l[3], 0, b[0], b[1], 0]
}

pub fn cdb16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// COMPARE AND WRITE and WRITE ATOMIC(16), whose length is in byte 13.
pub fn short16(opcode: u8, lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = cdb16(opcode, 0, lba, 0);
    cdb[13] = blocks;
    cdb
}

pub fn data(blocks: usize, seed: u8) -> Vec<u8> {
    (0..blocks * BLOCK).map(|at| (at / 7) as u8 ^ seed).collect()
}

pub fn unmap(lba: u64, blocks: u32) -> Vec<u8> {
    [&[0, 22, 0, 16, 0, 0, 0, 0][..], &lba.to_be_bytes(), &blocks.to_be_bytes(), &[0; 4]].concat()
}

/// EXTENDED COPY of 8 blocks from LBA 0 of one to LBA 96 of another volume of the group.
pub fn copy(list_id: u8, from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut list = vec![list_id, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
    for naa in [from, to] {
        let mut cscd = [0; 32];
        (cscd[0], cscd[30]) = (0xE4, 2);
        cscd[4..8].copy_from_slice(&[1, 3, 0, 8]);
        cscd[8..16].copy_from_slice(naa);
        list.extend_from_slice(&cscd);
    }
    list.extend_from_slice(&[2, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, 0, 8]);
    list.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 96]);
    list
}
