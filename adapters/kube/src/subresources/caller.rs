//! The user that the front proxy names in its headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Refusal, trust::Trust};

/// The user that sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestCaller {
    pub(super) user: String,
    pub(super) uid: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl RequestCaller {
    /// The user in the headers that the ConfigMap names.
    pub(super) fn named(trust: &Trust, headers: &HeaderMap) -> Result<Self, Refusal> {
        let user = first(headers, &trust.users)?;
        let user = user.ok_or_else(|| Refusal::stranger("no user is named"))?;
        let mut caller = Self {
            user,
            uid: first(headers, &trust.uids)?,
            ..Self::default()
        };
        for name in &trust.groups {
            for value in headers.get_all(name.as_str()) {
                caller.groups.push(text(value)?);
            }
        }
        for (name, value) in headers {
            if let Some(key) = extra_key(name, &trust.extras) {
                caller.extra.entry(key).or_default().push(text(value)?);
            }
        }
        Ok(caller)
    }
}

/// The first of these headers that is not empty.
fn first(headers: &HeaderMap, names: &[String]) -> Result<Option<String>, Refusal> {
    let values = names.iter().filter_map(|name| headers.get(name.as_str()));
    for value in values {
        let text = text(value)?;
        if !text.is_empty() {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Refuses a value that is not UTF-8.
fn text(value: &HeaderValue) -> Result<String, Refusal> {
    let text = std::str::from_utf8(value.as_bytes());
    let text = text.map_err(|_| Refusal::stranger("a header is not text"))?;
    Ok(text.to_owned())
}

/// The key of an extra header: what follows the prefix, in lower case, with its escapes decoded.
fn extra_key(name: &HeaderName, prefixes: &[String]) -> Option<String> {
    let name = name.as_str();
    let key = prefixes.iter().find_map(|prefix| {
        let prefix = prefix.to_lowercase();
        name.strip_prefix(&prefix).filter(|_| !prefix.is_empty())
    })?;
    Some(unescaped(key).unwrap_or_else(|| key.to_owned()))
}

/// Decodes escapes; none if one is invalid.
fn unescaped(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |digit_byte: u8| char::from(digit_byte).to_digit(16);
        let value = digit(rest.next()?)?.checked_mul(16)?;
        let value = value.checked_add(digit(rest.next()?)?)?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}
