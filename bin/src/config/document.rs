//! From text to raw structs without stopping at the first fault: what does not fit is noted, cut out, and the rest read
//! again. Lines come from a second reading that keeps the marks.

use saphyr::{LoadableYamlNode, MarkedYaml, YamlData};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::{Mapping, Value};

use super::fault::{Fault, Findings, Place};

/// Read `text` as a `T`; `None` where it is not YAML at all.
pub fn read<T: DeserializeOwned>(text: &str, findings: &mut Findings) -> Option<T> {
    let mut value: Value = match serde_yaml::from_str(text) {
        Ok(Value::Null) => Value::Mapping(Mapping::new()),
        Ok(value) => with_text_keys(value),
        Err(error) => {
            findings.faults.push(not_yaml(text, &error));
            return None;
        }
    };
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let place = place_of(error.path());
        let reason = error.into_inner().to_string();
        match UnknownField::parse(&reason) {
            Some(unknown) => {
                let section = if place.0.last().is_some_and(|last| *last == unknown.name) {
                    Place(place.0[..place.0.len() - 1].to_vec())
                } else {
                    place
                };
                findings.fault(&section.at(&unknown.name), "there is no such setting", unknown.remedy());
                if let Some(meant) = unknown.meant() {
                    findings.excused.push(section.at(meant));
                }
                if !cut(&mut value, &section.at(&unknown.name)) {
                    return None;
                }
            }
            None => {
                let (message, remedy) = explain(&reason);
                findings.fault(&place, message, remedy);
                if !blank(&mut value, &place) {
                    return None;
                }
            }
        }
    }
}

/// Give each finding the line of its place, or of the nearest enclosing one that is written, and sort them by it.
pub fn number_lines(text: &str, findings: &mut [Fault]) {
    let documents = MarkedYaml::load_from_str(text).unwrap_or_default();
    if let Some(root) = documents.first() {
        for finding in findings.iter_mut().filter(|finding| finding.line.is_none() && !finding.place.0.is_empty()) {
            finding.line = Some(line_of(root, &finding.place.0));
        }
    }
    findings.sort_by(|a, b| (a.line, &a.place).cmp(&(b.line, &b.place)));
}

fn line_of(root: &MarkedYaml<'_>, steps: &[String]) -> usize {
    let (mut node, mut line) = (root, root.span.start.line());
    for step in steps {
        let next = match &node.data {
            YamlData::Mapping(mapping) => mapping
                .iter()
                .find(|(key, _)| text_of(key).as_deref() == Some(step))
                .map(|(key, value)| (value, key.span.start.line())),
            YamlData::Sequence(list) => {
                step.parse().ok().and_then(|index: usize| list.get(index)).map(|value| (value, value.span.start.line()))
            }
            _ => None,
        };
        match next {
            Some(next) => (node, line) = next,
            None => break,
        }
    }
    line
}

fn text_of(key: &MarkedYaml<'_>) -> Option<String> {
    match &key.data {
        YamlData::Value(saphyr::Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(saphyr::Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(saphyr::Scalar::Null) => Some("null".to_owned()),
        YamlData::Value(saphyr::Scalar::Boolean(truth)) => Some(truth.to_string()),
        _ => None,
    }
}

fn not_yaml(text: &str, error: &serde_yaml::Error) -> Fault {
    let reason = error.to_string();
    // serde_yaml places a key that is there twice at its section's start; the other reading at the second key.
    let duplicate = reason.contains("duplicate entry");
    let marked = MarkedYaml::load_from_str(text).err().filter(|_| duplicate).map(|error| error.marker().line());
    let is_too_large = reason.contains("as u128") || reason.contains("as i128");
    let remedy = if duplicate {
        "keep one of them"
    } else if reason.contains("more than one document") {
        "keep one: nothing may follow a line of ---"
    } else if reason.contains("repetition limit") {
        "write out what the aliases (*NAME) stand for"
    } else if is_too_large {
        "write a smaller number"
    } else {
        "mind the indentation, and quote what holds `: `, `#`, `*` or `[` (\"[::]:3260\")"
    };
    // Beyond 64 bits serde_yaml has a kind of its own for a number, and YAML's value has none.
    let reason = match is_too_large {
        true => reason
            .replace("invalid type: ", "")
            .replace(", expected any YAML value", " is too large")
            .replace(" as u128", "")
            .replace(" as i128", ""),
        false => reason,
    };
    Fault {
        place: Place::root(),
        line: marked.or(error.location().map(|location| location.line())),
        message: format!("this is not YAML: {reason}"),
        remedy: remedy.to_owned(),
    }
}

/// `null: {}` is a volume's store, and YAML takes the key for a null.
fn with_text_keys(value: Value) -> Value {
    match value {
        Value::Mapping(mapping) => Value::Mapping(
            mapping
                .into_iter()
                .map(|(key, value)| match key {
                    Value::Null => (Value::String("null".to_owned()), with_text_keys(value)),
                    key => (key, with_text_keys(value)),
                })
                .collect(),
        ),
        Value::Sequence(list) => Value::Sequence(list.into_iter().map(with_text_keys).collect()),
        other => other,
    }
}

fn place_of(path: &serde_path_to_error::Path) -> Place {
    Place(
        path.iter()
            .filter_map(|segment| match segment {
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Map { key } => Some(key.clone()),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect(),
    )
}

/// What is refused becomes a null, which is what an absent value is. Whether that changed anything.
fn blank(value: &mut Value, place: &Place) -> bool {
    match find(value, &place.0) {
        Some(node) if !node.is_null() => {
            *node = Value::Null;
            !place.0.is_empty()
        }
        _ => false,
    }
}

fn cut(value: &mut Value, place: &Place) -> bool {
    let Some((name, section)) = place.0.split_last() else { return false };
    match find(value, section) {
        Some(Value::Mapping(mapping)) => {
            let before = mapping.len();
            mapping.retain(|key, _| !is_key(key, name));
            mapping.len() < before
        }
        _ => false,
    }
}

fn find<'a>(value: &'a mut Value, steps: &[String]) -> Option<&'a mut Value> {
    steps.iter().try_fold(value, |node, step| match node {
        Value::Mapping(mapping) => mapping.iter_mut().find(|(key, _)| is_key(key, step)).map(|(_, value)| value),
        Value::Sequence(list) => list.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn is_key(key: &Value, name: &str) -> bool {
    match key {
        Value::String(text) => text == name,
        Value::Number(number) => number.to_string() == name,
        Value::Bool(truth) => truth.to_string() == name,
        _ => false,
    }
}

/// serde tells of a field it does not know, and of those it does, in words only.
struct UnknownField {
    name: String,
    known: Vec<String>,
}

impl UnknownField {
    fn parse(reason: &str) -> Option<UnknownField> {
        let mut quoted = reason.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2).map(str::to_owned);
        Some(UnknownField { name: quoted.next()?, known: quoted.collect() })
    }

    fn meant(&self) -> Option<&str> {
        did_you_mean(&self.name, self.known.iter().map(String::as_str))
    }

    fn remedy(&self) -> String {
        match self.meant() {
            Some(near) => format!("did you mean {near}?"),
            None if self.known.is_empty() => "remove it: nothing is set here".to_owned(),
            None => format!("remove it, or use one of: {}", self.known.join(", ")),
        }
    }
}

/// The one of `known` that `written` is most likely a slip of.
pub fn did_you_mean<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let written = bare(written);
    known
        .map(|name| (strsim::damerau_levenshtein(&written, &bare(name)), name))
        .filter(|(slips, _)| *slips <= (written.len() / LETTERS_PER_SLIP).max(1))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

/// serde says "invalid type: found, expected this"; an operator would rather hear what to write first.
fn explain(reason: &str) -> (String, String) {
    let stripped = reason.strip_prefix("invalid type: ").or_else(|| reason.strip_prefix("invalid value: "));
    match stripped.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, "a string")) => (format!("expected text, found {}", plain(found)), "put it in quotes".to_owned()),
        Some((found, expected)) => {
            let expected = plain(expected);
            (format!("found {}", plain(found)), format!("write {expected}"))
        }
        None => (reason.to_owned(), "see conf/full.yaml for what may be written here".to_owned()),
    }
}

/// serde's words for kinds, in YAML's.
fn plain(words: &str) -> String {
    let words = match words {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "unit value" => "nothing",
        "a boolean" => "true or false",
        "sequence" | "a sequence" => "a list",
        "map" | "a map" => "a section (key: value)",
        other if other.starts_with("struct ") => "a section (key: value)",
        other => other,
    };
    words
        .replace("string \"", "\"")
        .replace("integer `", "`")
        .replace("boolean `", "`")
        .replace("floating point `", "`")
}

/// One letter in four may be wrong, missing, too many or transposed.
const LETTERS_PER_SLIP: usize = 4;
