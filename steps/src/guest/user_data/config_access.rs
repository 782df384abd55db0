//! The keys and host names in a cloud-config, by which a guest is reached. They are checked as those of a document are.

use serde_json::{Map, Value};

use super::{
    InputProblem, LABEL_MAX, is_filled_later, is_hostname, is_label, is_obsolete_key, is_public_key,
};

const KEYS: &str = "ssh_authorized_keys";
const KEY_REMEDY: &str =
    "write the content of the .pub file, for example `ssh-ed25519 AAAA… me@example`";
/// The longest name of a host with its domain, in bytes.
const FQDN_MAX: usize = 253;

/// The problem of a key or host name that a guest would not take.
pub(super) fn check(config: &Map<String, Value>) -> Option<InputProblem> {
    wrong_key_of_guest(config)
        .or_else(|| wrong_key_of_user(config))
        .or_else(|| wrong_hostname(config))
        .or_else(|| wrong_fqdn(config))
}

fn wrong_key_of_guest(config: &Map<String, Value>) -> Option<InputProblem> {
    let entry = wrong_key(config.get(KEYS)?)?;
    let message = format!("entry {entry} of its `{KEYS}` is not a public SSH key");
    Some(InputProblem::new(message, KEY_REMEDY))
}

fn wrong_key_of_user(config: &Map<String, Value>) -> Option<InputProblem> {
    let users = config.get("users")?.as_array()?;
    (1_usize..).zip(users).find_map(|(number, user)| {
        let entry = keys_of_user(user).find_map(wrong_key)?;
        let message = format!(
            "entry {entry} of `{KEYS}` of entry {number} of its `users` is not a public SSH key"
        );
        Some(InputProblem::new(message, KEY_REMEDY))
    })
}

/// The lists of keys of a user. cloud-init reads a hyphen as an underscore here.
fn keys_of_user(user: &Value) -> impl Iterator<Item = &Value> {
    let fields = user.as_object().into_iter().flatten();
    let keys = fields.filter(|(name, _)| name.replace('-', "_") == KEYS);
    keys.map(|(_, keys)| keys)
}

/// The entries of a list of keys; none if it is no list.
fn entries(keys: &Value) -> Vec<&Value> {
    match keys {
        Value::Array(list) => list.iter().collect(),
        Value::Object(named) => named.values().collect(),
        Value::String(_) => vec![keys],
        _ => Vec::new(),
    }
}

/// The number of the first entry with a line that sshd would ignore.
fn wrong_key(keys: &Value) -> Option<usize> {
    let is_wrong = |entry: &&Value| match entry {
        Value::String(text) => is_known(text) && !text.lines().all(is_key_or_comment),
        Value::Null => false,
        _ => true,
    };
    let index = entries(keys).iter().position(is_wrong)?;
    Some(index.saturating_add(1))
}

/// A doubt about keys that newer guests ignore.
pub(super) fn obsolete_key(config: &Map<String, Value>) -> Option<InputProblem> {
    let users = config.get("users").and_then(Value::as_array);
    let of_users = users.into_iter().flatten().flat_map(keys_of_user);
    let lists = config.get(KEYS).into_iter().chain(of_users);
    let texts = lists.flat_map(entries).filter_map(Value::as_str);
    let mut lines = texts.flat_map(str::lines);
    let is_obsolete = |line: &str| is_obsolete_key(line.trim());
    lines.any(is_obsolete).then(|| InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            "it has a key of the type ssh-dss, which newer guests ignore",
            "make another key: ssh-keygen -t ed25519",
        )
    })
}

fn is_key_or_comment(line: &str) -> bool {
    let trimmed = line.trim();
    trimmed.is_empty() || trimmed.starts_with('#') || is_public_key(trimmed)
}

fn wrong_hostname(config: &Map<String, Value>) -> Option<InputProblem> {
    let name = config.get("hostname")?.as_str()?;
    let is_wrong = is_known(name) && !is_hostname(name);
    is_wrong.then(|| {
        let message = "no guest takes its `hostname`: each part between dots has 1 to 63 characters, begins and ends \
                       with a letter or digit, and all have 64 together at most";
        InputProblem::new(message, "write a shorter or simpler host name")
    })
}

/// The whole name is no host name, unless the image prefers it; its parts have the limits of one.
fn wrong_fqdn(config: &Map<String, Value>) -> Option<InputProblem> {
    let name = config.get("fqdn")?.as_str()?;
    let plain = name.strip_suffix('.').unwrap_or(name);
    let is_name = plain.len() <= FQDN_MAX && plain.split('.').all(is_label);
    if !is_known(name) || is_name {
        return None;
    }
    let message = format!(
        "no guest takes its `fqdn`: each part between dots has 1 to {LABEL_MAX} characters, begins and ends with a \
         letter or digit, and all have {FQDN_MAX} together at most"
    );
    Some(InputProblem::new(
        message,
        "write a shorter or simpler name",
    ))
}

/// Whether a text is known now. Variables of a template are filled in later, too.
fn is_known(text: &str) -> bool {
    !is_filled_later(text) && !text.contains("{{")
}
