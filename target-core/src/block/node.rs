//! The node in the file system that a store is kept in: found, told by its kind, and refused in plain words.

use std::fmt;
use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::open::OpenError;

/// A path free of symbolic links.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    Exists(PathBuf),
    /// Its directory exists.
    Missing(PathBuf),
}

impl Node {
    pub fn find(path: &Path) -> Result<Node, OpenError> {
        match path.canonicalize() {
            Ok(path) => return Ok(Node::Exists(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(path, &error)),
            Err(_) => {}
        }
        if let Ok(aim) = path.read_link() {
            let remedy = format!("create {} or mount the file system it is on", aim.display());
            return Err(OpenError::new(path.display(), "is a symbolic link to nothing", remedy));
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Some(name) = path.file_name() else {
            return Err(OpenError::new(path.display(), "names no file", "give the path of a file"));
        };
        match directory.canonicalize() {
            Ok(directory) => Ok(Node::Missing(directory.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(OpenError::new(
                path.display(),
                format!("lies in {}, which does not exist", directory.display()),
                "create that directory or mount its file system",
            )),
            Err(error) => Err(refused(directory, &error)),
        }
    }
}

pub fn kind(file_type: FileType) -> &'static str {
    match file_type {
        kind if kind.is_file() => "a regular file",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_block_device() => "a block device",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_fifo() => "a fifo",
        kind if kind.is_socket() => "a socket",
        _ => "neither a file nor a device",
    }
}

/// The file system said no.
pub fn refused(path: &Path, error: &io::Error) -> OpenError {
    let remedy = match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => "let the user this program runs as read and write it",
        Some(Errno::ROFS) => "set `read_only: true` or remount the file system for writing",
        Some(Errno::NOSPC | Errno::DQUOT) => "make room, or give a smaller size",
        Some(Errno::FBIG | Errno::INVAL) => "give a size that its file system can hold",
        Some(Errno::BUSY) => "unmount it, or stop what else uses it",
        Some(Errno::LOOP) => "mend the loop of symbolic links",
        Some(Errno::IO) => "look for faults of the medium in the kernel's log",
        _ => "see that the path is right and its file system in order",
    };
    OpenError::new(path.display(), format!("cannot be used: {}", Plain(error)), remedy)
}

/// An error without the "(os error 13)" that helps no operator.
struct Plain<'a>(&'a io::Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_what_is_missing_is_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("exists");
        let (file, link, dangling) = (root.join("file"), root.join("link"), root.join("dangling"));
        std::fs::write(&file, b"").expect("writes");
        symlink(&file, &link).expect("links");
        symlink(root.join("gone"), &dangling).expect("links");
        assert_eq!(Node::find(&link), Ok(Node::Exists(file)));
        assert_eq!(Node::find(&root.join("new")), Ok(Node::Missing(root.join("new"))));
        let refused = |path: PathBuf| Node::find(&path).expect_err("refused");
        assert_eq!(refused(dangling).cause, "is a symbolic link to nothing");
        let error = refused(root.join("no/where"));
        assert_eq!(error.cause, format!("lies in {}, which does not exist", root.join("no").display()));
    }

    #[test]
    fn refusals_speak_plainly() {
        let error = refused(Path::new("/srv/x"), &io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(
            error.to_string(),
            "/srv/x cannot be used: Permission denied; let the user this program runs as read and write it"
        );
    }
}
