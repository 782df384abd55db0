//! Checks the archive that describes the workload's containers: a gzipped tar file in base64.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::{document, token};

/// Maximum unpacked size in bytes: a compose file has a few kilobytes.
const UNPACKED_MAX: u64 = 4 * 1024 * 1024;
const BLOCK: usize = 512;

/// Which file the archive must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A compose file.
    Compose,
    /// Pod descriptors.
    Play,
}

/// A defect of an archive. If `fatal`, the guest refuses the archive; else it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArchiveFault {
    pub(super) fatal: bool,
    pub(super) what: &'static str,
}

const fn fatal(what: &'static str) -> ArchiveFault {
    ArchiveFault { fatal: true, what }
}

const fn doubt(what: &'static str) -> ArchiveFault {
    ArchiveFault { fatal: false, what }
}

/// Returns every defect of the archive.
pub(super) fn check(text: &str, kind: EntryKind) -> Vec<ArchiveFault> {
    let tar = match unpack(text) {
        Ok(tar) => tar,
        Err(fault) => return vec![fault],
    };
    match entries(&tar) {
        Some(entries) => contents(&entries, kind),
        None => vec![fatal("is not a tar file")],
    }
}

fn unpack(text: &str) -> Result<Vec<u8>, ArchiveFault> {
    let packed = token::decode(text).ok_or(fatal("is not base64"))?;
    let mut tar = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(UNPACKED_MAX.saturating_add(1))
        .read_to_end(&mut tar)
        .map_err(|_| fatal("is not a whole gzip file"))?;
    if tar.len() as u64 > UNPACKED_MAX {
        return Err(doubt("unpacks to more than 4 MiB and was not checked"));
    }
    Ok(tar)
}

fn contents(entries: &[ArchiveEntry<'_>], kind: EntryKind) -> Vec<ArchiveFault> {
    let mut faults = Vec::new();
    if entries.iter().any(|entry| !entry.allowed) {
        faults.push(doubt(
            "holds something else than folders and regular files, such as a link",
        ));
    }
    let top = |name: &str| !name.contains('/');
    let yaml = |name: &str| name.ends_with(".yaml") || name.ends_with(".yml");
    let named = |entry: &&ArchiveEntry<'_>| match kind {
        EntryKind::Compose => {
            ["docker-compose.yaml", "docker-compose.yml"].contains(&entry.name.as_str())
        }
        EntryKind::Play => top(&entry.name) && yaml(&entry.name),
    };
    match (entries.iter().find(named), kind) {
        (Some(entry), EntryKind::Compose) => faults.extend(compose_file(entry.data)),
        (Some(_), EntryKind::Play) => {}
        (None, EntryKind::Compose) => faults.push(fatal(
            "has no docker-compose.yaml or docker-compose.yml at its top",
        )),
        (None, EntryKind::Play) => {
            faults.push(fatal("has no pod descriptor (*.yaml or *.yml) at its top"))
        }
    }
    faults
}

fn compose_file(data: &[u8]) -> Vec<ArchiveFault> {
    let map = std::str::from_utf8(data)
        .ok()
        .and_then(|text| document::parse(text).ok());
    let Some(map) = map else {
        return vec![fatal("has a compose file that is not a YAML mapping")];
    };
    let Some(Value::Object(services)) = map.get("services") else {
        return vec![fatal("has a compose file without `services`")];
    };
    let builds = services
        .values()
        .any(|service| service.get("build").is_some());
    let mut faults = Vec::new();
    if services.is_empty() {
        faults.push(fatal("has a compose file without `services`"));
    }
    if builds {
        faults.push(doubt(
            "has a compose file with `build`: guests only run images that exist",
        ));
    }
    faults
}

struct ArchiveEntry<'a> {
    /// Its path, without a leading `./`.
    name: String,
    data: &'a [u8],
    /// Whether guests accept entries of this type.
    allowed: bool,
}

/// The entries of a tar file; `None` if it is not one, has no entries, or an entry is cut off.
fn entries(tar: &[u8]) -> Option<Vec<ArchiveEntry<'_>>> {
    let mut entries = Vec::new();
    let mut rest = tar;
    let mut long_name = None;
    while let Some((header, after)) = rest.split_at_checked(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        checked(header)?;
        let size = usize::try_from(octal(header.get(124..136)?)?).ok()?;
        let data = after.get(..size)?;
        let padded = size.checked_next_multiple_of(BLOCK)?;
        rest = after.get(padded..).unwrap_or_default();
        match header.get(156)? {
            // GNU tar writes a long name as an entry before the one that it names.
            b'L' => long_name = Some(text(data)),
            // Attributes that do not matter for this check.
            b'x' | b'g' | b'K' => {}
            kind => entries.push(ArchiveEntry {
                name: clean(long_name.take().unwrap_or_else(|| path(header))),
                data,
                allowed: matches!(kind, b'0' | b'5' | b'7' | 0),
            }),
        }
    }
    (!entries.is_empty()).then_some(entries)
}

/// Checks the header's checksum, which is computed with its own field as spaces.
fn checked(header: &[u8]) -> Option<()> {
    let stored = octal(header.get(148..156)?)?;
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u64::from(*byte)
            }
        })
        .sum();
    (sum == stored).then_some(())
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

fn path(header: &[u8]) -> String {
    let name = text(header.get(..100).unwrap_or_default());
    let prefix = match header.get(257..262) {
        Some(b"ustar") => text(header.get(345..500).unwrap_or_default()),
        _ => String::new(),
    };
    match prefix.as_str() {
        "" => name,
        prefix => format!("{prefix}/{name}"),
    }
}

fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

fn clean(name: String) -> String {
    name.trim_start_matches("./").to_owned()
}

#[cfg(test)]
mod fuzz;
