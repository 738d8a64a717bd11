//! A pair's secret.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use lunmirror::api::Failure;

/// Text, so that it survives being pasted from one terminal into another.
pub fn create(file: &Path) -> Result<(), Failure> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::new(format!("the kernel gives no random bytes: {error}"), "try again"))?;
    write(file, &format!("{}\n", hex::encode(secret))).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            format!("{} is there already, and is left as it is", file.display()),
            "name another file; or remove it, if no node knows its peer by it",
        ),
        _ => Failure::new(format!("{} cannot be written: {error}", file.display()), "name a file that can be"),
    })
}

/// At no moment can others read it.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

const SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_new_random_and_ours() {
        let directory = tempfile::tempdir().expect("a directory");
        let (one, two) = (directory.path().join("new/one"), directory.path().join("two"));
        create(&one).expect("written");
        create(&two).expect("written");
        let read = |path: &Path| fs::read_to_string(path).expect("it is text");
        let text = read(&one);
        assert_eq!(hex::decode(text.trim_end()).expect("it is hexadecimal").len(), SECRET_BYTES);
        assert_ne!(text, read(&two));
        assert_eq!(fs::metadata(&one).expect("it is there").permissions().mode() & 0o777, 0o600);

        let error = create(&one).expect_err("it is there");
        assert!(error.error.ends_with("is there already, and is left as it is"), "{error}");
        assert_eq!(read(&one), text);
    }
}
