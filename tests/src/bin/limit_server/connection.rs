//! One initiator: what is received, and what it is answered (RFC 7143 §11 has the figures).

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::Instant;

use crate::Settings;
use crate::disk::{BLOCK, Disk};
use crate::login::{self, Agreed};
use crate::outgoing::Outgoing;

const HEADER: usize = 48;
const DIGEST: usize = 4;
/// Holds many PDUs, and more than one of the largest.
const RECEIVED_BYTES: usize = 1 << 20;
/// How far MaxCmdSN is ahead.
const WINDOW: u32 = 1023;
/// Writes under way are found by their task tag modulo this, which is more than the window admits.
const WRITES: usize = 4096;
/// For what is not a read: the answers to as many commands as one receive buffer holds.
const SMALL: usize = 2 << 20;
const NO_TAG: u32 = u32::MAX;

const NOP_OUT: u8 = 0x00;
const SCSI_COMMAND: u8 = 0x01;
const TASK_MANAGEMENT: u8 = 0x02;
const LOGIN: u8 = 0x03;
const DATA_OUT: u8 = 0x05;
const LOGOUT: u8 = 0x06;
const FINAL: u8 = 0x80;

/// What the event loop is to wait for.
pub enum Next {
    Same,
    Readable,
    Writable,
}

#[derive(Clone, Copy, Default)]
struct Writing {
    at: u64,
    length: u32,
    left: u32,
}

/// What is still to come of a data segment that goes to the disk.
#[derive(Default)]
struct Segment {
    task: u32,
    at: u64,
    data: usize,
    /// Padding and digest.
    tail: usize,
    ends_sequence: bool,
}

pub struct Connection {
    socket: TcpStream,
    received: Box<[u8]>,
    have: usize,
    out: Outgoing,
    full: bool,
    agreed: Agreed,
    /// Digests hold from the end of the login on.
    header_digest: bool,
    data_digest: bool,
    stat_sn: u32,
    exp_cmd_sn: u32,
    writes: Box<[Writing]>,
    segment: Segment,
}

type Header = [u8; HEADER];

fn number(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn put(header: &mut [u8], at: usize, value: u32) {
    header[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn padding(length: usize) -> usize {
    length.wrapping_neg() % 4
}

impl Connection {
    pub fn new(socket: TcpStream) -> Connection {
        Connection {
            socket,
            received: vec![0; RECEIVED_BYTES].into_boxed_slice(),
            have: 0,
            out: Outgoing::new(),
            full: false,
            agreed: Agreed::nothing(),
            header_digest: false,
            data_digest: false,
            stat_sn: 1,
            exp_cmd_sn: 1,
            writes: vec![Writing::default(); WRITES].into_boxed_slice(),
            segment: Segment::default(),
        }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket can be read, or, if it was full, written. While it is full nothing more is taken up.
    pub fn turn(&mut self, settings: &Settings, disk: &Disk) -> io::Result<Next> {
        let was_full = self.full;
        if was_full {
            if !self.out.flush(&mut self.socket, disk)? {
                return Ok(Next::Same);
            }
            self.full = false;
        } else {
            match self.socket.read(&mut self.received[self.have..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(more) => self.have += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Same),
                Err(error) => return Err(error),
            }
        }
        self.handle(settings, disk)?;
        if !self.full && !self.out.is_empty() {
            self.full = !self.out.flush(&mut self.socket, disk)?;
        }
        Ok(match (was_full, self.full) {
            (false, true) => Next::Writable,
            (true, false) => Next::Readable,
            _ => Next::Same,
        })
    }

    /// All that is whole of what was received, or as much as finds room.
    fn handle(&mut self, settings: &Settings, disk: &Disk) -> io::Result<()> {
        let mut at = 0;
        while !self.full {
            let taken = if self.segment.data + self.segment.tail > 0 {
                self.take_data(at, disk)?
            } else {
                self.take_pdu(at, settings, disk)?
            };
            if taken == 0 {
                break;
            }
            at += taken;
        }
        self.received.copy_within(at..self.have, 0);
        self.have -= at;
        Ok(())
    }

    /// Data goes to the disk as it comes; with digests, a whole segment at once.
    fn take_data(&mut self, at: usize, disk: &Disk) -> io::Result<usize> {
        let Segment { data, tail, .. } = self.segment;
        let have = self.have - at;
        if have == 0 || self.data_digest && have < data + tail {
            return Ok(0);
        }
        let now = data.min(have);
        let bytes = &self.received[at..at + now];
        if self.data_digest && data > 0 {
            let end = at + data + tail;
            let digest = &self.received[end - DIGEST..end];
            if crc32c::crc32c(&self.received[at..end - DIGEST]).to_le_bytes() != digest {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        if now > 0 {
            disk.write(self.segment.at, bytes)?;
        }
        let rest = tail.min(have - now);
        self.segment.at += now as u64;
        self.segment.data -= now;
        self.segment.tail -= rest;
        let writing = &mut self.writes[self.segment.task as usize % WRITES];
        writing.left = writing.left.saturating_sub(now as u32);
        if self.segment.data + self.segment.tail == 0 {
            self.go_on_writing();
        }
        Ok(now + rest)
    }

    /// After a data segment: the end, more of what was announced, or more that must be asked for.
    fn go_on_writing(&mut self) {
        let Segment { task, ends_sequence, .. } = self.segment;
        let Writing { length, left, .. } = self.writes[task as usize % WRITES];
        if left == 0 {
            self.respond(task, &[]);
        } else if ends_sequence {
            let mut header = self.answer(0x31, task);
            put(&mut header, 20, task);
            put(&mut header, 24, self.stat_sn);
            put(&mut header, 40, length - left);
            put(&mut header, 44, left);
            self.send(header, &[]);
        }
    }

    fn take_pdu(&mut self, at: usize, settings: &Settings, disk: &Disk) -> io::Result<usize> {
        let header_bytes = HEADER + if self.header_digest { DIGEST } else { 0 };
        let received = &self.received[at..self.have];
        if received.len() < header_bytes {
            return Ok(0);
        }
        let header: Header = received[..HEADER].try_into().map_err(io::Error::other)?;
        if self.header_digest && crc32c::crc32c(&header).to_le_bytes() != received[HEADER..header_bytes] {
            return Err(ErrorKind::InvalidData.into());
        }
        let data = number(&header, 4) as usize & 0xff_ffff;
        let tail = padding(data) + if self.data_digest && data > 0 { DIGEST } else { 0 };
        let opcode = header[0] & 0x3f;
        let task = number(&header, 16);
        if opcode == DATA_OUT {
            let at = self.writes[task as usize % WRITES].at + u64::from(number(&header, 40));
            self.segment = Segment { task, at, data, tail, ends_sequence: header[1] & FINAL != 0 };
            return Ok(header_bytes);
        }
        if opcode == SCSI_COMMAND && header[1] & 0x20 != 0 {
            self.number(&header);
            self.delay(settings);
            return self.write(&header, data, tail, disk).map(|()| header_bytes);
        }
        // The others are taken up whole.
        let whole = header_bytes + data + tail;
        if received.len() < whole {
            return Ok(0);
        }
        let room = SMALL + number(&header, 20) as usize;
        if opcode == SCSI_COMMAND && !self.out.has_room(room) {
            self.full = !self.out.flush(&mut self.socket, disk)?;
            if self.full || !self.out.has_room(room) {
                return if self.full { Ok(0) } else { Err(ErrorKind::OutOfMemory.into()) };
            }
        }
        let text = if opcode == LOGIN { received[HEADER..HEADER + data].to_vec() } else { Vec::new() };
        if opcode != LOGIN {
            self.number(&header);
        }
        match opcode {
            SCSI_COMMAND => {
                self.delay(settings);
                self.command(&header, disk)?;
            }
            LOGIN => self.log_in(&header, &text, settings),
            NOP_OUT if task == NO_TAG => {}
            NOP_OUT => {
                let mut nop = self.answer(0x20, task);
                put(&mut nop, 20, NO_TAG);
                self.status(&mut nop);
                self.send(nop, &[]);
            }
            TASK_MANAGEMENT | LOGOUT => {
                let mut done = self.answer(opcode | 0x20, task);
                self.status(&mut done);
                self.send(done, &[]);
            }
            _ => return Err(ErrorKind::Unsupported.into()),
        }
        Ok(whole)
    }

    fn number(&mut self, header: &Header) {
        if header[0] & 0x40 == 0 {
            self.exp_cmd_sn = number(header, 24).wrapping_add(1);
        }
    }

    fn delay(&self, settings: &Settings) {
        if !settings.delay.is_zero() {
            let begun = Instant::now();
            while begun.elapsed() < settings.delay {}
        }
    }

    fn log_in(&mut self, request: &Header, text: &[u8], settings: &Settings) {
        let answers = login::answer(text, settings, &mut self.agreed);
        self.exp_cmd_sn = number(request, 24);
        let mut response = self.answer(0x23, number(request, 16));
        // Transit and stages as asked for; the ISID is the initiator's, the TSIH ours.
        response[1] = request[1] & 0x8f;
        response[8..14].copy_from_slice(&request[8..14]);
        response[15] = 1;
        self.status(&mut response);
        self.send(response, &answers);
        if request[1] & 0x83 == 0x83 {
            (self.header_digest, self.data_digest) = (self.agreed.header_digest, self.agreed.data_digest);
        }
    }

    fn write(&mut self, header: &Header, data: usize, tail: usize, disk: &Disk) -> io::Result<()> {
        let task = number(header, 16);
        let (at, length) = match header[32] {
            0x8a => (lba16(header), number(header, 42)),
            0x2a => (u64::from(number(header, 34)), u32::from(u16::from_be_bytes([header[39], header[40]]))),
            _ => return Err(ErrorKind::Unsupported.into()),
        };
        let (at, length) = (at.saturating_mul(BLOCK), length.saturating_mul(BLOCK as u32));
        if !disk.holds(at, length as usize) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.writes[task as usize % WRITES] = Writing { at, length, left: length };
        self.segment = Segment { task, at, data, tail, ends_sequence: header[1] & FINAL != 0 };
        if data == 0 && self.segment.ends_sequence {
            self.go_on_writing();
        }
        Ok(())
    }

    fn command(&mut self, header: &Header, disk: &Disk) -> io::Result<()> {
        let cdb = &header[32..48];
        let word = |at| u32::from(u16::from_be_bytes([cdb[at], cdb[at + 1]]));
        let last = disk.blocks() - 1;
        match cdb[0] {
            0x88 => self.read(header, lba16(header), number(cdb, 10), disk)?,
            0x28 => self.read(header, u64::from(number(cdb, 2)), word(7), disk)?,
            0x00 => self.respond(number(header, 16), &[]),
            0x12 if cdb[1] & 1 == 0 => {
                let mut inquiry = [b' '; 36];
                inquiry[..8].copy_from_slice(&[0, 0, 6, 2, 31, 0, 0, 2]);
                inquiry[8..13].copy_from_slice(b"LIMIT");
                inquiry[16..22].copy_from_slice(b"SERVER");
                self.give(header, &inquiry, word(3));
            }
            0x25 => {
                let mut capacity = [0; 8];
                put(&mut capacity, 0, u32::try_from(last).unwrap_or(u32::MAX));
                put(&mut capacity, 4, BLOCK as u32);
                self.give(header, &capacity, 8);
            }
            0x9e if cdb[1] & 0x1f == 0x10 => {
                let mut capacity = [0; 32];
                capacity[..8].copy_from_slice(&last.to_be_bytes());
                put(&mut capacity, 8, BLOCK as u32);
                self.give(header, &capacity, number(cdb, 10));
            }
            0xa0 => {
                let mut luns = [0; 16];
                luns[3] = 8;
                self.give(header, &luns, number(cdb, 6));
            }
            // INVALID COMMAND OPERATION CODE.
            _ => {
                let mut sense = [0; 20];
                sense[1] = 18;
                sense[2] = 0x70;
                sense[4] = 0x05;
                sense[9] = 10;
                sense[14] = 0x20;
                self.respond(number(header, 16), &sense);
            }
        }
        Ok(())
    }

    fn read(&mut self, header: &Header, lba: u64, blocks: u32, disk: &Disk) -> io::Result<()> {
        let (start, length) = (lba.saturating_mul(BLOCK), blocks as usize * BLOCK as usize);
        // The room was made for what the command expects.
        if !disk.holds(start, length) || length > number(header, 20) as usize {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut sent = 0;
        while sent < length {
            let now = self.agreed.segment_bytes.min(length - sent);
            self.data_in(header, sent, now, (sent + now == length).then_some(0));
            let at = start + sent as u64;
            let digest = if let Some(bytes) = disk.mapped(at, now) {
                self.out.refer(at, now);
                self.data_digest.then(|| crc32c::crc32c(bytes))
            } else {
                let space = self.out.space(now);
                disk.read(at, space)?;
                self.data_digest.then(|| crc32c::crc32c(space))
            };
            if let Some(digest) = digest {
                self.out.copy(&digest.to_le_bytes());
            }
            sent += now;
        }
        Ok(())
    }

    /// The answer of a command that tells of itself.
    fn give(&mut self, header: &Header, answer: &[u8], allocated: u32) {
        let expected = number(header, 20);
        let length = answer.len().min(allocated as usize).min(expected as usize);
        self.data_in(header, 0, length, Some(expected - length as u32));
        self.payload(&answer[..length]);
    }

    /// The header of one; the last has the status, and says how much less it is than expected.
    fn data_in(&mut self, command: &Header, offset: usize, length: usize, ends_short_by: Option<u32>) {
        let mut header = self.answer(0x25, number(command, 16));
        header[1] = 0;
        put(&mut header, 4, length as u32);
        put(&mut header, 20, NO_TAG);
        put(&mut header, 36, (offset / self.agreed.segment_bytes) as u32);
        put(&mut header, 40, offset as u32);
        if let Some(short) = ends_short_by {
            header[1] = FINAL | 0x01 | if short > 0 { 0x02 } else { 0 };
            put(&mut header, 44, short);
            self.status(&mut header);
        }
        self.head(&header);
    }

    /// GOOD, or CHECK CONDITION with sense.
    fn respond(&mut self, task: u32, sense: &[u8]) {
        let mut header = self.answer(0x21, task);
        if !sense.is_empty() {
            header[3] = 0x02;
        }
        self.status(&mut header);
        self.send(header, sense);
    }

    /// What all answers begin with.
    fn answer(&self, opcode: u8, task: u32) -> Header {
        let mut header = [0; HEADER];
        header[0] = opcode;
        header[1] = FINAL;
        put(&mut header, 16, task);
        put(&mut header, 28, self.exp_cmd_sn);
        put(&mut header, 32, self.exp_cmd_sn.wrapping_add(WINDOW));
        header
    }

    fn status(&mut self, header: &mut Header) {
        put(header, 24, self.stat_sn);
        self.stat_sn = self.stat_sn.wrapping_add(1);
    }

    fn send(&mut self, mut header: Header, data: &[u8]) {
        put(&mut header, 4, data.len() as u32);
        self.head(&header);
        self.payload(data);
    }

    fn head(&mut self, header: &Header) {
        self.out.copy(header);
        if self.header_digest {
            self.out.copy(&crc32c::crc32c(header).to_le_bytes());
        }
    }

    fn payload(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let pad = padding(data.len());
        self.out.copy(data);
        self.out.copy(&[0; 3][..pad]);
        if self.data_digest {
            let digest = crc32c::crc32c_append(crc32c::crc32c(data), &[0; 3][..pad]);
            self.out.copy(&digest.to_le_bytes());
        }
    }
}

fn lba16(header: &Header) -> u64 {
    u64::from(number(header, 34)) << 32 | u64::from(number(header, 38))
}
