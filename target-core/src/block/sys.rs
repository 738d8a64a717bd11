//! The calls of the system that no safe wrapper offers. All of this program's `unsafe` is here.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use bytes::BytesMut;
use rustix::io::Errno;

/// `preadv2(2)` of at most `bytes` bytes into the spare room of `buffer`, which it enlarges only if there is too little.
/// With `now`, RWF_NOWAIT: EAGAIN where it would have to wait.
pub fn read_append(file: &File, buffer: &mut BytesMut, bytes: usize, offset: u64, now: bool) -> Result<usize, Errno> {
    buffer.reserve(bytes);
    let room = &mut buffer.spare_capacity_mut()[..bytes];
    let io = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let flags = if now { libc::RWF_NOWAIT } else { 0 };
    // The kernel joins the two halves of the offset; where a long has 64 bits it ignores the second (pos_from_hilo).
    let (low, high) = (offset as libc::c_long, (offset >> 32) as libc::c_long);
    // SAFETY: `io` describes `room`, exclusively borrowed and writable for `iov_len` bytes throughout the call, and the
    // kernel writes nowhere else. The descriptor is open as long as `file` is borrowed.
    let read = unsafe { libc::syscall(libc::SYS_preadv2, file.as_raw_fd(), &raw const io, 1_usize, low, high, flags) };
    let read = usize::try_from(read).map_err(|_| last_errno())?;
    assert!(read <= bytes, "the kernel reads no more than asked for");
    // SAFETY: the kernel initialised the first `read` bytes of the spare room, and `read` lies within it.
    unsafe { buffer.set_len(buffer.len() + read) };
    Ok(read)
}

/// An open file description lock (`fcntl(2)`, F_OFD_SETLK) for writing on the whole file, until `file` is closed.
pub fn lock_open_file(file: &File) -> Result<(), Errno> {
    // SAFETY: all zeroes is a valid `flock`: it consists of integers only.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and the kernel only reads `lock` during the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Have the allocator keep freed buffers of up to [`LARGEST_KEPT`] bytes, [`KEPT_MAX`] in all, for those to come. By default glibc
/// gives the end of its heap back to the kernel whenever 256 KiB are free there, and each 4 KiB of what is then had anew is a page
/// fault: sequential writes of 1 MiB were a seventh slower.
pub fn keep_large_buffers() {
    for (parameter, bytes) in [(libc::M_MMAP_THRESHOLD, LARGEST_KEPT), (libc::M_TRIM_THRESHOLD, KEPT_MAX)] {
        // SAFETY: the call takes two integers and touches nothing of ours. That it may refuse a value changes nothing but speed.
        unsafe { libc::mallopt(parameter, bytes) };
    }
}

const LARGEST_KEPT: libc::c_int = 4 << 20;
const KEPT_MAX: libc::c_int = 16 << 20;

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn it_appends_at_the_offset_and_stops_at_the_end() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("writes");
        let mut buffer = BytesMut::from(&b"ab"[..]);
        assert_eq!(read_append(&file, &mut buffer, 3, 4, false), Ok(3));
        assert_eq!(&buffer[..], b"ab456");
        assert_eq!(read_append(&file, &mut buffer, 8, 8, false), Ok(2));
        assert_eq!(read_append(&file, &mut buffer, 8, 10, false), Ok(0));
        assert_eq!(&buffer[..], b"ab45689");
    }

    #[test]
    fn an_offset_above_32_bits_arrives_whole() {
        let file = tempfile::tempfile().expect("a file");
        let at = (5_u64 << 32) + 1;
        rustix::io::pwrite(&file, b"x", at).expect("writes");
        let mut buffer = BytesMut::new();
        assert_eq!(read_append(&file, &mut buffer, 1, at, false), Ok(1));
        assert_eq!(&buffer[..], b"x");
    }

    #[test]
    fn a_bad_descriptor_is_an_errno() {
        let write_only = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("opens");
        assert_eq!(read_append(&write_only, &mut BytesMut::new(), 1, 0, false), Err(Errno::BADF));
    }
}
