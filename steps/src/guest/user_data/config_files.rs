//! The files that a cloud-config writes. cloud-init's module ends with an error at one that it cannot decode, so that those
//! behind it are not written either.
//! <https://docs.cloud-init.io/en/latest/reference/modules.html#write-files>.

use serde_json::{Map, Value};

use super::{InputProblem, is_filled_later};

/// How the content of a file is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileEncoding {
    Plain,
    /// Packed by gzip. Only YAML's own binary text can hold it.
    Gzip,
    Base64,
    GzipInBase64,
    /// cloud-init warns of it in its log, and writes the content as it is.
    Unknown,
}

/// The first letters of the base64 of what gzip packs.
const GZIP_IN_BASE64: &str = "H4sI";

impl FileEncoding {
    fn of(name: &str) -> Self {
        match name.to_lowercase().trim() {
            "" | "text/plain" => Self::Plain,
            "gz" | "gzip" => Self::Gzip,
            "b64" | "base64" => Self::Base64,
            "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => Self::GzipInBase64,
            _ => Self::Unknown,
        }
    }

    /// Why the content cannot be decoded, or becomes something else.
    fn problem(self, content: &str) -> Option<&'static str> {
        match self {
            Self::Plain | Self::Gzip | Self::Unknown => None,
            Self::Base64 => (!is_base64(content)).then_some(NOT_BASE64),
            Self::GzipInBase64 if !is_base64(content) => Some(NOT_BASE64),
            Self::GzipInBase64 => {
                let is_packed = content.trim_start().starts_with(GZIP_IN_BASE64);
                (!is_packed).then_some("is said to be packed by gzip, and is not")
            }
        }
    }
}

const NOT_BASE64: &str = "is said to be base64, and is not";

/// The problem of a file that cloud-init cannot write.
pub(super) fn check(config: &Map<String, Value>) -> Option<InputProblem> {
    without_path(config).or_else(|| wrong_content(config))
}

fn files(config: &Map<String, Value>) -> impl Iterator<Item = (usize, &Value)> {
    let files = config.get("write_files").and_then(Value::as_array);
    (1..).zip(files.into_iter().flatten())
}

fn without_path(config: &Map<String, Value>) -> Option<InputProblem> {
    let has_path = |file: &Value| file.get("path").is_some_and(Value::is_string);
    let (number, _) = files(config).find(|(_, file)| !has_path(file))?;
    let message = format!("entry {number} of its `write_files` has no `path`");
    Some(InputProblem::new(message, "give each file its whole path"))
}

fn encoding(file: &Value) -> FileEncoding {
    let name = file.get("encoding").and_then(Value::as_str);
    name.map_or(FileEncoding::Plain, FileEncoding::of)
}

fn wrong_content(config: &Map<String, Value>) -> Option<InputProblem> {
    let (number, why) = files(config).find_map(|(number, file)| {
        let content = file.get("content")?.as_str()?;
        let is_now = !is_filled_later(content) && !content.contains("{{");
        let problem = encoding(file).problem(content).filter(|_| is_now)?;
        Some((number, problem))
    })?;
    let message = format!("the `content` of entry {number} of its `write_files` {why}");
    Some(InputProblem::new(
        message,
        "encode it again as a whole, or write it as text without `encoding`",
    ))
}

/// A doubt about an encoding that cloud-init does not know: it writes the content as it is.
pub(super) fn unknown_encoding(config: &Map<String, Value>) -> Option<InputProblem> {
    let (number, _) = files(config).find(|(_, file)| encoding(file) == FileEncoding::Unknown)?;
    let message = format!(
        "cloud-init does not know the `encoding` of entry {number} of its `write_files`, and writes the `content` \
         as it is"
    );
    Some(InputProblem {
        is_doubt: true,
        ..InputProblem::new(message, "write `encoding: b64`, `gz+b64` or `text/plain`")
    })
}

/// Whether a text is base64 with its padding, in letters of that alphabet. Python passes over other letters, which leaves
/// another content.
fn is_base64(text: &str) -> bool {
    let letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let (mut count, mut padding) = (0_usize, 0_usize);
    for letter in letters {
        match letter {
            b'=' => padding = padding.saturating_add(1),
            // Several texts, one behind the other, of which Python reads the first alone.
            _ if padding > 0 => return false,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                count = count.saturating_add(1);
            }
            _ => return false,
        }
    }
    match count % 4 {
        0 => true,
        1 => false,
        rest => rest.saturating_add(padding) >= 4,
    }
}
