//! One user for each file and device: two would corrupt it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, fstat, major, minor};
use rustix::io::Errno;

use super::open::OpenError;
use super::{node, sys};

/// Hold `file` for ourselves until it is closed, or say who holds it.
///
/// Twice: `flock(2)` finds our own kind and tells its process; an open file description lock finds programs that lock byte
/// ranges, as virtual machine monitors lock their images.
pub fn exclusive(file: &File, path: &Path, writable: bool) -> Result<(), OpenError> {
    match patiently(|| Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(in_use(path, holder_of(file))),
        Err(error) => return Err(node::refused(path, &error)),
    }
    // Where flock is itself made of byte range locks (NFS), one kind is all there is; where the second kind is not known,
    // the first stands.
    if writable
        && !on_network_file_system(file)
        && let Err(Errno::AGAIN | Errno::ACCESS) = sys::lock_open_file(file)
    {
        return Err(in_use(path, None));
    }
    Ok(())
}

/// Try again for a moment while somebody has it: udev looks at a device when it appears, and a device dropped here gives its
/// descriptor back when its last blocking call returns.
pub fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted
                ) =>
            {
                std::thread::sleep(TRY_INTERVAL);
            }
            result => return result,
        }
    }
    call()
}

fn in_use(path: &Path, holder: Option<u32>) -> OpenError {
    let (cause, remedy) = match holder {
        Some(pid) if pid == std::process::id() => {
            ("is in use by another volume of this process".to_owned(), "name each file or device in one volume only")
        }
        Some(pid) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim();
            let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
            (format!("is in use by pid {pid}{name}"), "stop that process, or use another file or device")
        }
        None => ("is in use by another process".to_owned(), "stop that process, or use another file or device"),
    };
    OpenError::new(path.display(), cause, remedy)
}

fn holder_of(file: &File) -> Option<u32> {
    let stat = fstat(file).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    holder(&locks, major(stat.st_dev), minor(stat.st_dev), stat.st_ino)
}

/// The process that holds the inode, from the text of /proc/locks: `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`.
fn holder(locks: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let place = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        // "->" in the second column marks one who waits.
        (words.nth(1)? == "FLOCK").then_some(())?;
        let pid = words.nth(2)?.parse().ok().filter(|&pid| pid > 0)?;
        (words.next()? == place).then_some(pid)
    })
}

fn on_network_file_system(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| NETWORK_FILE_SYSTEMS.contains(&(stat.f_type as u32)))
}

/// A tenth of a second in all.
const TRIES: u32 = 6;
const TRY_INTERVAL: Duration = Duration::from_millis(20);
/// statfs(2): NFS, CIFS, SMB2.
const NETWORK_FILE_SYSTEMS: [u32; 3] = [0x6969, 0xff53_4d42, 0xfe53_4d42];

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_holder_is_read_from_the_table_of_locks() {
        let locks = "1: OFDLCK ADVISORY  WRITE -1 fe:00:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fe:00:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 fe:00:7 0 EOF\n";
        assert_eq!(holder(locks, 0xfe, 0, 7), Some(14));
        assert_eq!(holder(locks, 0xfe, 1, 7), None);
        assert_eq!(holder("nonsense\n\n4: FLOCK", 0xfe, 0, 7), None);
    }

    #[test]
    fn another_process_is_named_until_it_ends() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut other = Command::new("flock")
            .arg(file.path())
            .args(["sh", "-c", "echo held; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        other.stdout.as_mut().expect("piped").read_exact(&mut [0; 5]).expect("it says that it holds the lock");
        let ours = File::options().read(true).write(true).open(file.path()).expect("opens");
        let error = exclusive(&ours, file.path(), true).expect_err("refused");
        assert_eq!(error.cause, format!("is in use by pid {} (flock)", other.id()));
        other.stdin.take().expect("piped").write_all(b"\n").expect("it reads");
        other.wait().expect("it ends");
        exclusive(&ours, file.path(), true).expect("free again");
    }

    #[test]
    fn another_volume_of_this_process_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let open = || File::options().read(true).write(true).open(file.path()).expect("opens");
        let first = open();
        exclusive(&first, file.path(), true).expect("free");
        assert_eq!(
            exclusive(&open(), file.path(), true).expect_err("refused").cause,
            "is in use by another volume of this process"
        );
    }

    #[test]
    fn a_program_that_locks_byte_ranges_is_noticed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let other = File::options().read(true).write(true).open(file.path()).expect("opens");
        sys::lock_open_file(&other).expect("free");
        let ours = File::options().read(true).write(true).open(file.path()).expect("opens");
        assert_eq!(exclusive(&ours, file.path(), true).expect_err("refused").cause, "is in use by another process");
    }
}
