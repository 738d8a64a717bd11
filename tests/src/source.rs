//! Rust sources as the house rules see them: code without comments, literals and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace").to_owned()
}

pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    /// Lines of code: comments and the insides of literals are blank, the trailing test module is gone.
    pub code: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let blank = blanked(text);
        let lines: Vec<String> = blank.lines().map(str::to_owned).collect();
        let tests = lines.iter().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
        // A `#[cfg(test)]` on a lone item, or on `mod testing;`, leaves code behind it; a whole module ends the file.
        let end = tests.filter(|&at| {
            lines[at + 1..].iter().find(|l| !l.trim().is_empty()).is_some_and(|l| l.contains("mod ") && l.contains('{'))
        });
        Source { path: path.to_owned(), code: lines[..end.unwrap_or(lines.len())].to_vec() }
    }

    /// Modules of this crate that the code names, with the line: `crate::x`, `crate::{x, y::z}`, `super::super::x`.
    pub fn crate_modules(&self) -> Vec<(usize, String)> {
        let text = self.code.join("\n");
        let mut found = Vec::new();
        for prefix in ["crate::", "super::super::"] {
            for (at, _) in text.match_indices(prefix) {
                let line = text[..at].matches('\n').count() + 1;
                for name in heads(&text[at + prefix.len()..]) {
                    found.push((line, name));
                }
            }
        }
        found
    }
}

/// Every Rust file of the workspace that is not a test.
pub fn workspace() -> Vec<Source> {
    let mut sources = Vec::new();
    for member in ["iscsi-proto", "mirror-link", "target-core", "bin"] {
        collect(&project().join(member).join("src"), &mut sources);
    }
    assert!(sources.len() > 50, "the sources are not where they were: {} found", sources.len());
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a crate has sources").map(|entry| entry.expect("readable").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        let for_tests = matches!(name.as_str(), "tests.rs" | "tests" | "testing.rs" | "testing" | "conformance");
        if path.is_dir() && !for_tests {
            collect(&path, sources);
        } else if name.ends_with(".rs") && !for_tests {
            let text = fs::read_to_string(&path).expect("a source is text");
            let relative = path.strip_prefix(project()).expect("below the root").to_string_lossy().replace('\\', "/");
            sources.push(Source::new(&relative, &text));
        }
    }
}

/// First path segments after `crate::`: one, or those of a braced group.
fn heads(rest: &str) -> Vec<String> {
    let identifier = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    if !rest.starts_with('{') {
        return vec![identifier(rest)];
    }
    let (mut depth, mut found, mut start) = (0, Vec::new(), true);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => start = true,
            c if c.is_whitespace() => {}
            _ if depth == 1 && start => {
                found.push(identifier(&rest[at..]));
                start = false;
            }
            _ => {}
        }
        start |= c == '{' && depth == 1;
        if depth == 0 {
            break;
        }
    }
    found
}

/// The same text with comments and the contents of literals replaced by blanks; lines stay where they are.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let blank = |out: &mut Vec<u8>, from: usize, to: usize| {
        out.extend(bytes[from..to].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
    };
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let start = at;
        if rest.starts_with(b"//") {
            at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            blank(&mut out, start, at);
        } else if rest.starts_with(b"/*") {
            at += find(rest, b"*/").map_or(rest.len(), |n| n + 2);
            blank(&mut out, start, at);
        } else if let Some(hashes) = raw_string(rest) {
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let open = 2 + hashes;
            at += find(&rest[open..], &close).map_or(rest.len(), |n| open + n + close.len());
            out.push(b'"');
            blank(&mut out, start + 1, at - 1);
            out.push(b'"');
        } else if rest[0] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at = (at + 1).min(bytes.len());
            // An empty literal stays recognisable: "".
            out.push(b'"');
            blank(&mut out, start + 1, at - 1);
            out.push(b'"');
        } else if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || rest.get(2) == Some(&b'\'')) {
            at += 2;
            while at < bytes.len() && bytes[at] != b'\'' {
                at += 1;
            }
            at = (at + 1).min(bytes.len());
            blank(&mut out, start, at);
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let after = rest.strip_prefix(b"r")?;
    let hashes = after.iter().take_while(|&&b| b == b'#').count();
    (after.get(hashes) == Some(&b'"')).then_some(hashes)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("x.rs", text).code.join("\n")
    }

    #[test]
    fn comments_and_literals_are_blank() {
        assert_eq!(code("a // b.unwrap()\nc"), "a              \nc");
        assert_eq!(code("a(\"x.unwrap()\")"), "a(\"          \")");
        assert_eq!(code("r#\"println!\"# + 1").trim_end(), "\"           \" + 1");
        assert_eq!(code("'\"' + x"), "    + x");
        assert!(code("fn f<'a>(x: &'a str) { y }").contains("{ y }"));
    }

    #[test]
    fn the_test_module_at_the_end_is_no_code() {
        assert_eq!(code("a\n#[cfg(test)]\nmod tests {\n x.unwrap()\n}\n"), "a");
        assert!(code("#[cfg(test)]\nmod testing;\nb").contains('b'));
    }

    #[test]
    fn modules_of_the_crate() {
        let names = |text| Source::new("x.rs", text).crate_modules().into_iter().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(names("use crate::lu::Unit;"), ["lu"]);
        assert_eq!(names("use crate::{block::{A, B},\n portal, scsi::X};"), ["block", "portal", "scsi"]);
        assert_eq!(names("super::super::target::f()"), ["target"]);
    }
}
