//! Checks user-data, network configuration, keys and host names for what cloud-init would ignore: the guest
//! would then boot, and nothing of it would be applied.
//! <https://docs.cloud-init.io/en/latest/explanation/format.html>.

mod mime;

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::read::MultiGzDecoder;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::DuplicateKeyPolicy;

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
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "#upstart-job",
    "#cloud-config-archive",
    "#cloud-config-jsonp",
    "#include-once",
    TEMPLATE,
];
const TEMPLATE: &str = "## template: jinja";
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
/// The most bytes that packed user-data is unpacked to.
const UNPACKED_MAX: u64 = 32 << 20;
/// Where the head of a MIME message is looked for, as in cloud-init.
const MIME_HEAD: usize = 4096;

const FIRST_LINE: &str = "begin it with the line `#cloud-config`, or with `#!` and an interpreter";
const AS_UTF8: &str = "save it as UTF-8 without a byte order mark";

/// The problem of user-data, or of vendor-data, if cloud-init would ignore it.
pub fn check(bytes: &[u8]) -> Option<InputProblem> {
    if bytes.starts_with(GZIP) {
        return check_packed(bytes);
    }
    let packed = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic));
    if let Some((_, name)) = packed {
        let message = format!("it is packed by {name}, and cloud-init unpacks gzip only");
        return Some(InputProblem::new(message, "pack it by gzip, or not at all"));
    }
    check_text(bytes)
}

fn check_packed(bytes: &[u8]) -> Option<InputProblem> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes)
        .take(UNPACKED_MAX)
        .read_to_end(&mut unpacked);
    if read.is_err() {
        let message = "it is packed by gzip, and damaged or cut short";
        return Some(InputProblem::new(
            message,
            "pack it again, and encode it as a whole",
        ));
    }
    if unpacked.starts_with(GZIP) {
        let message = "it is packed by gzip twice, and cloud-init unpacks it once";
        return Some(InputProblem::new(message, "pack it once"));
    }
    check_text(&unpacked)
}

fn check_text(bytes: &[u8]) -> Option<InputProblem> {
    let text = match text_of(bytes) {
        Ok(text) => text,
        Err(problem) => return Some(problem),
    };
    let head: String = text.chars().take(MIME_HEAD).collect();
    if head.to_lowercase().contains("mime-version:") {
        return mime::check(text);
    }
    match form_of(text) {
        Some(TEMPLATE) => check_template(text),
        Some("#cloud-config") => check_yaml(text, YamlShape::Mapping),
        Some("#cloud-config-archive") => check_yaml(text, YamlShape::List),
        Some("#!" | "#cloud-boothook") => check_script(text),
        Some(_) => None,
        None => Some(unknown_form(text)),
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
    std::str::from_utf8(bytes).map_err(|_| InputProblem::new("it is not UTF-8 text", AS_UTF8))
}

/// The form of a text: the longest of those that it begins with.
fn form_of(text: &str) -> Option<&'static str> {
    let start: String = text.trim_start().chars().take(MIME_HEAD).collect();
    let start = start.to_lowercase();
    let forms = FORMS.iter().filter(|form| start.starts_with(**form));
    forms.copied().max_by_key(|form| form.len())
}

/// A template is text of another form once its variables are replaced.
fn check_template(text: &str) -> Option<InputProblem> {
    let (_, rest) = text.trim_start().split_once('\n').unwrap_or_default();
    if form_of(rest).is_some() {
        return None;
    }
    let message = "the line after `## template: jinja` is none that cloud-init knows";
    Some(InputProblem::new(
        message,
        "write `#cloud-config` as the second line",
    ))
}

fn check_script(text: &str) -> Option<InputProblem> {
    let first = text.trim_start().split('\n').next().unwrap_or_default();
    if !first.ends_with('\r') {
        return None;
    }
    let message =
        "the first line of the script ends with a carriage return, so that no interpreter is found";
    Some(InputProblem::new(
        message,
        "save it with the line ends of Unix",
    ))
}

fn unknown_form(text: &str) -> InputProblem {
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
    let of_image = !start.starts_with('#') && matches!(shape_of(text), Ok(YamlShape::Scalar));
    InputProblem {
        is_doubt: of_talos || of_windows || of_image,
        ..InputProblem::new(message, FIRST_LINE)
    }
}

/// Whether it is base64 of something that cloud-init knows.
fn is_encoded(text: &str) -> bool {
    let letters: String = text.split_whitespace().collect();
    let Ok(bytes) = BASE64.decode(letters) else {
        return false;
    };
    bytes.starts_with(GZIP)
        || std::str::from_utf8(&bytes).is_ok_and(|plain| form_of(plain).is_some())
}

/// The outermost part of a YAML text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum YamlShape {
    Nothing,
    Mapping,
    List,
    Scalar,
}

fn check_yaml(text: &str, expected: YamlShape) -> Option<InputProblem> {
    let remedy = "correct its YAML; `cloud-init schema --config-file FILE` checks it";
    let words = match expected {
        YamlShape::List => "a list",
        _ => "a mapping of keys to values",
    };
    match shape_of(text) {
        Err(place) => Some(InputProblem::new(format!("it is not YAML{place}"), remedy)),
        Ok(shape) if shape == expected || shape == YamlShape::Nothing => None,
        Ok(_) => Some(InputProblem::new(
            format!("its YAML is not {words}"),
            remedy,
        )),
    }
}

/// The shape of a YAML text, or where it is wrong.
fn shape_of(text: &str) -> Result<YamlShape, String> {
    read_yaml(text)
}

/// Reads YAML as cloud-init does, or says where it is wrong without repeating any of it.
fn read_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location();
        place.map_or_else(String::new, |place| {
            format!(" (line {}, column {})", place.line(), place.column())
        })
    })
}

impl<'de> Deserialize<'de> for YamlShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

macro_rules! scalars {
    ($($name:ident: $type:ty),*) => {
        $(fn $name<E>(self, _: $type) -> Result<YamlShape, E> {
            Ok(YamlShape::Scalar)
        })*
    };
}

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = YamlShape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("YAML")
    }

    scalars! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128,
        visit_f64: f64, visit_str: &str
    }

    fn visit_unit<E>(self) -> Result<YamlShape, E> {
        Ok(YamlShape::Nothing)
    }

    fn visit_none<E>(self) -> Result<YamlShape, E> {
        Ok(YamlShape::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<YamlShape, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<YamlShape, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(YamlShape::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlShape, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(YamlShape::Mapping)
    }
}

/// The sections of a network configuration of version 2 that define devices.
const DEVICES: [&str; 12] = [
    "ethernets",
    "wifis",
    "bonds",
    "bridges",
    "vlans",
    "tunnels",
    "vrfs",
    "modems",
    "nm-devices",
    "dummy-devices",
    "virtual-ethernets",
    "openvswitch",
];

/// The problem of a network configuration, if cloud-init would ignore it.
pub fn check_network(text: &str) -> Option<InputProblem> {
    let remedy = "write netplan's YAML, for example: version: 2 and below it ethernets";
    let problem = |message: String| Some(InputProblem::new(message, remedy));
    if text.starts_with('\u{feff}') {
        return problem("it begins with a byte order mark".to_owned());
    }
    let read: serde_json::Value = match read_yaml(text) {
        Ok(read) => read,
        Err(place) => return problem(format!("it is not YAML{place}")),
    };
    let network = read.get("network").unwrap_or(&read);
    let Some(fields) = network.as_object() else {
        return problem("it is not a mapping of keys to values".to_owned());
    };
    if fields
        .get("config")
        .is_some_and(|config| config == "disabled")
    {
        return None;
    }
    let version = fields.get("version").map(|version| match version.as_str() {
        Some(number) => number.to_owned(),
        None => version.to_string(),
    });
    match version.as_deref() {
        Some("1")
            if fields
                .get("config")
                .is_some_and(serde_json::Value::is_array) =>
        {
            None
        }
        Some("1") => problem("it has version 1 and no list `config`".to_owned()),
        Some("2") => {
            let mut sections = fields.keys().map(String::as_str);
            let others = sections
                .clone()
                .any(|key| !["version", "renderer"].contains(&key));
            let devices = sections.any(|key| DEVICES.contains(&key));
            // One without any section is valid, and configures nothing.
            (others && !devices)
                .then(|| InputProblem::new("it has version 2 and defines no devices", remedy))
        }
        Some(_) => problem("its `version` is neither 1 nor 2".to_owned()),
        None => problem("it has no `version`".to_owned()),
    }
}

/// Whether a line is a public key as `authorized_keys` has it: options, type, data and a comment.
pub fn is_public_key(line: &str) -> bool {
    let fields = quoted_fields(line);
    let key_at = |at: usize| match (fields.get(at), fields.get(at.saturating_add(1))) {
        (Some(kind), Some(data)) => names_itself(kind, data),
        _ => false,
    };
    key_at(0) || key_at(1)
}

/// Whether the data of a key begins with its type.
fn names_itself(kind: &str, data: &str) -> bool {
    let Ok(bytes) = BASE64.decode(data) else {
        return false;
    };
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return false;
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let inner = rest.get(..length);
    inner == Some(kind.as_bytes()) && rest.len() > length
}

/// Words between spaces; a space between quotation marks does not end a word.
fn quoted_fields(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let fields = line.split(|c: char| {
        is_quoted ^= c == '"';
        !is_quoted && (c == ' ' || c == '\t')
    });
    fields.filter(|field| !field.is_empty()).collect()
}

/// The longest host name of a Linux guest, in bytes.
const HOSTNAME_MAX: usize = 64;
/// The longest part of a host name between dots, in bytes.
const LABEL_MAX: usize = 63;

/// Whether a Linux guest can take this host name.
pub fn is_hostname(name: &str) -> bool {
    name.len() <= HOSTNAME_MAX && name.split('.').all(|label| label.len() <= LABEL_MAX)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
