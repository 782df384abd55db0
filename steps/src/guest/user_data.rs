//! Checks user-data, network configuration, keys and host names for what cloud-init would ignore: the guest
//! would then boot, and nothing of it would be applied.
//! <https://docs.cloud-init.io/en/latest/explanation/format.html>.

mod archive;
mod budget;
mod config_access;
mod config_files;
mod config_keys;
mod duplicate_keys;
mod joined;
mod merging;
mod mime;
mod misspelling;
mod netplan_keys;
mod netplan_references;
mod netplan_values;
mod network;
mod network_v1;
mod network_values;
mod patch;
mod public_key;
mod python_scalars;
mod python_yaml;
mod script;
mod template;
mod transfer_encoding;
mod yaml;

use std::io::Read as _;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::bufread::GzDecoder;

use self::{
    budget::CheckBudget,
    yaml::{YamlShape, check_yaml, read_yaml, shape_of},
};
pub use self::{
    network::{check_network, is_network_checked},
    public_key::{is_certificate, is_obsolete_key, is_public_key},
};
use crate::verdicts::{VERDICTS_MAX, Verdicts};

/// What is wrong with an input of a guest, in words that repeat nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputProblem {
    /// What is wrong.
    pub message: String,
    /// What the user can do.
    pub remedy: &'static str,
    /// Whether another program than cloud-init may read it, so that it may be meant.
    pub is_doubt: bool,
}

impl InputProblem {
    fn new(message: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            message: message.into(),
            remedy,
            is_doubt: false,
        }
    }
}

/// The first words by which cloud-init knows a format. It ignores case and white space before them.
const FORMS: [&str; 10] = [
    CLOUD_CONFIG,
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "#upstart-job",
    ARCHIVE,
    "#cloud-config-jsonp",
    "#include-once",
    TEMPLATE,
];
const CLOUD_CONFIG: &str = "#cloud-config";
const TEMPLATE: &str = "## template: jinja";
const ARCHIVE: &str = "#cloud-config-archive";
/// The first words that cloudbase-init knows, which configures Windows.
const WINDOWS_FORMS: [&str; 5] = ["#ps1", "rem cmd", "<powershell>", "<script>", "#py"];
/// The first bytes of packed data, and the name of their format.
const PACKED: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"\x04\x22\x4d\x18", "lz4"),
];
const GZIP: &[u8] = b"\x1f\x8b";
/// Where the head of a MIME message is looked for, as in cloud-init.
const MIME_HEAD: usize = 4096;

/// Both alphabets of base64, with and without padding.
const DECODERS: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&alphabet::STANDARD, PADDED_OR_NOT),
    GeneralPurpose::new(&alphabet::URL_SAFE, PADDED_OR_NOT),
];
const PADDED_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// How often user-data may have been encoded for that to be seen.
const ENCODINGS_MAX: usize = 4;

const FIRST_LINE: &str = "begin it with the line `#cloud-config`, or with `#!` and an interpreter";
const NOT_UTF8: &str = "it is not UTF-8 text";
const AS_UTF8: &str = "save it as UTF-8 without a byte order mark";

/// A shorter input that cannot grow is checked faster than it is looked up.
const SHORT: usize = 1024;

static VERDICTS: Verdicts<Option<InputProblem>> = Verdicts::new(VERDICTS_MAX);

/// The problem of user-data, or of vendor-data, if cloud-init would ignore it. What exceeds the budget of one check is
/// a doubt.
pub fn check(bytes: &[u8]) -> Option<InputProblem> {
    if is_small(bytes) {
        return check_anew(bytes);
    }
    VERDICTS.of(bytes, || check_anew(bytes))
}

/// Whether an input is short and cannot become long when it is read: it is neither packed nor a message or an archive of
/// parts, and no alias repeats a part of it.
fn is_small(bytes: &[u8]) -> bool {
    if bytes.len() >= SHORT || bytes.starts_with(GZIP) {
        return false;
    }
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let may_repeat = text.contains('&') && text.contains('*');
    !may_repeat
        && !["mime-version:", ARCHIVE]
            .iter()
            .any(|parts| text.contains(parts))
}

/// Whether a variable of a group or of a pool's member in a text is filled in later.
fn is_filled_later(text: &str) -> bool {
    text.contains("$(")
}

/// Whether [`check`] returns at once, because it was called with the same bytes or they are few. Anew it may take
/// seconds.
pub fn is_checked(bytes: &[u8]) -> bool {
    is_small(bytes) || VERDICTS.get(bytes).is_some()
}

fn check_anew(bytes: &[u8]) -> Option<InputProblem> {
    let budget = &CheckBudget::new();
    if bytes.starts_with(GZIP) {
        return check_unpacked(bytes, budget, check_text);
    }
    let packed = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic));
    if let Some((_, name)) = packed {
        let message = format!("it is packed by {name}, and cloud-init unpacks gzip only");
        return Some(InputProblem::new(message, "pack it by gzip, or not at all"));
    }
    check_text(bytes, budget)
}

/// The problem of packed bytes, or of what is packed.
fn check_unpacked(
    bytes: &[u8],
    budget: &CheckBudget,
    check: impl FnOnce(&[u8], &CheckBudget) -> Option<InputProblem>,
) -> Option<InputProblem> {
    match unpacked_once(bytes, budget) {
        Ok(unpacked) => check(&unpacked, budget),
        Err(problem) => Some(problem),
    }
}

/// What is packed by gzip, as far as the budget permits it.
fn unpacked_once(bytes: &[u8], budget: &CheckBudget) -> Result<Vec<u8>, InputProblem> {
    // One byte more shows that there are more.
    let most = budget.bytes_left().saturating_add(1);
    let Ok(unpacked) = unpacked(bytes, most) else {
        let message = "it is packed by gzip, and damaged or cut short";
        return Err(InputProblem::new(
            message,
            "pack it again, and encode it as a whole",
        ));
    };
    if unpacked.starts_with(GZIP) {
        let message = "it is packed by gzip twice, and cloud-init unpacks it once";
        return Err(InputProblem::new(message, "pack it once"));
    }
    budget.take_bytes(unpacked.len())?;
    Ok(unpacked)
}

/// The text of a file of user-data, unpacked if it is packed by gzip, as cloud-init does.
///
/// # Errors
/// If it is no text that cloud-init takes.
pub fn text_of_file(bytes: Vec<u8>) -> Result<String, InputProblem> {
    let plain = if bytes.starts_with(GZIP) {
        unpacked_once(&bytes, &CheckBudget::new())?
    } else {
        bytes
    };
    String::from_utf8(plain).map_err(|error| {
        let problem = check_anew(error.as_bytes());
        problem.unwrap_or_else(|| InputProblem::new(NOT_UTF8, AS_UTF8))
    })
}

/// Unpacks all members of a gzip file, to so many bytes. Python passes over zeros behind them, with which tapes and
/// disks are padded.
fn unpacked(bytes: &[u8], most: usize) -> std::io::Result<Vec<u8>> {
    let (mut unpacked, mut rest) = (Vec::new(), bytes);
    while let Some(start) = rest.iter().position(|byte| *byte != 0) {
        let room = most.saturating_sub(unpacked.len());
        let mut member = GzDecoder::new(rest.get(start..).unwrap_or_default());
        member
            .by_ref()
            .take(room as u64)
            .read_to_end(&mut unpacked)?;
        if unpacked.len() >= most {
            break;
        }
        rest = member.into_inner();
    }
    Ok(unpacked)
}

fn check_text(bytes: &[u8], budget: &CheckBudget) -> Option<InputProblem> {
    check_text_of(bytes, |text| {
        let head: String = text.chars().take(MIME_HEAD).collect();
        if head.to_lowercase().contains("mime-version:") {
            mime::check(text, budget)
        } else {
            check_form(text, budget)
        }
    })
}

/// The problem of bytes that are no text, or of their text.
fn check_text_of(
    bytes: &[u8],
    check: impl FnOnce(&str) -> Option<InputProblem>,
) -> Option<InputProblem> {
    match text_of(bytes) {
        Ok(text) => check(text),
        Err(problem) => Some(problem),
    }
}

/// The problem of a text whose format cloud-init tells by its first line.
fn check_form(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    match form_of(text) {
        Some(TEMPLATE) => template::check(text, budget),
        Some(CLOUD_CONFIG) => check_config(text, budget),
        Some(ARCHIVE) => check_archive(text, budget),
        Some("#cloud-config-jsonp") => patch::check(text, budget),
        Some(form @ ("#include" | "#include-once")) => {
            joined::check(text, form).or_else(|| check_include(text, form))
        }
        Some("#!") => script::check(text),
        Some(script::BOOTHOOK) => script::check_boothook(text),
        Some("#upstart-job") => Some(upstart()),
        Some(form) => joined::check(text, form),
        None => Some(unknown_form(text, budget)),
    }
}

fn check_config(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    joined::check(text, CLOUD_CONFIG)
        .or_else(|| inner_mark(text))
        .or_else(|| check_yaml(text, YamlShape::Mapping, budget))
        .or_else(|| config_keys::check(text))
        .or_else(|| duplicate_keys::check(text))
}

/// The problem of a byte order mark within a text, such as one of two files that were joined: it becomes a part of
/// the key behind it.
fn inner_mark(text: &str) -> Option<InputProblem> {
    let line = text.lines().position(|line| line.starts_with('\u{feff}'))?;
    let message = format!(
        "a byte order mark begins its line {}, so that cloud-init reads another key there",
        line.saturating_add(1)
    );
    Some(InputProblem::new(message, "remove the mark from that line"))
}

fn check_archive(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    joined::check(text, ARCHIVE)
        .or_else(|| check_yaml(text, YamlShape::List, budget))
        .or_else(|| archive::check(text, budget))
}

fn upstart() -> InputProblem {
    let message = "it is a job of Upstart, which cloud-init reads no more";
    InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            message,
            "write a unit of systemd by `write_files`, or a script",
        )
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, InputProblem> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        let message =
            "it begins with a byte order mark, so that cloud-init does not know its format";
        return Err(InputProblem::new(message, AS_UTF8));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0) {
        let message = "it is not UTF-8 text; it may be UTF-16";
        return Err(InputProblem::new(message, AS_UTF8));
    }
    std::str::from_utf8(bytes).map_err(|_| InputProblem::new(NOT_UTF8, AS_UTF8))
}

/// The form of a text: the longest of those that it begins with.
fn form_of(text: &str) -> Option<&'static str> {
    let start: String = text.trim_start().chars().take(MIME_HEAD).collect();
    let lower = start.to_lowercase();
    let forms = FORMS.iter().filter(|form| lower.starts_with(**form));
    forms.copied().max_by_key(|form| form.len())
}

fn check_include(text: &str, form: &str) -> Option<InputProblem> {
    let start = text.trim_start();
    let lines = start.get(form.len()..).unwrap_or_default().lines();
    let names = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let remedy = "write the addresses below its first line, one a line";
    let mut named = lines.map(str::trim).filter(|line| names(line)).peekable();
    if named.peek().is_none() {
        return Some(InputProblem::new("it includes nothing", remedy));
    }
    let is_address = |line: &str| {
        let is_place = line.contains("://") || line.starts_with('/') || is_filled_later(line);
        is_place && !line.contains(char::is_whitespace)
    };
    let is_wrong = !named.all(is_address);
    is_wrong.then(|| InputProblem::new("a line that it includes is not an address", remedy))
}

fn unknown_form(text: &str, budget: &CheckBudget) -> InputProblem {
    let start = text.trim_start().to_lowercase();
    if is_encoded(text) {
        let message = "it is still encoded in base64, and cloud-init does not decode it";
        return InputProblem::new(
            message,
            "encode it once: `data` of a Secret is base64, `stringData` is not",
        );
    }
    if start.starts_with('{') && start.contains("\"ignition\"") {
        let message = "it is a configuration of Ignition";
        return InputProblem::new(message, "write `type: ignition`");
    }
    let message = "its first line is none that cloud-init knows";
    let of_talos = start.contains("version: v1alpha1") && start.contains("machine:");
    let of_windows = WINDOWS_FORMS.iter().any(|form| start.starts_with(form));
    // A program in the image may read a word or sentence; a mapping or a comment is meant for cloud-init.
    let is_scalar = || matches!(shape_of(text, budget), Ok(YamlShape::Scalar));
    let of_image = !start.starts_with('#') && is_scalar();
    InputProblem {
        is_doubt: of_talos || of_windows || of_image,
        ..InputProblem::new(message, FIRST_LINE)
    }
}

/// Whether it is base64 of something that cloud-init knows.
fn is_encoded(text: &str) -> bool {
    let mut letters: String = text.split_whitespace().collect();
    for _ in 0..ENCODINGS_MAX {
        let decoded = DECODERS.iter().find_map(|form| form.decode(&letters).ok());
        let Some(bytes) = decoded.filter(|bytes| !bytes.is_empty()) else {
            return false;
        };
        if bytes.starts_with(GZIP) {
            return true;
        }
        let Ok(plain) = String::from_utf8(bytes) else {
            return false;
        };
        if form_of(&plain).is_some() {
            return true;
        }
        letters = plain.split_whitespace().collect();
    }
    false
}

/// The longest host name of a Linux guest, in bytes.
const HOSTNAME_MAX: usize = 64;
/// The longest part of a host name between dots, in bytes.
const LABEL_MAX: usize = 63;

/// Whether a Linux guest can take this host name.
pub fn is_hostname(name: &str) -> bool {
    name.len() <= HOSTNAME_MAX && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    bytes.len() <= LABEL_MAX && is_edge(bytes.first()) && is_edge(bytes.last())
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
