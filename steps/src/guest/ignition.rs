//! Checks Ignition's configuration for what a guest would refuse at its first boot.

use serde::Deserialize;

/// Maximum size of a configuration in bytes.
pub const CONFIG_MAX: usize = 8 << 20;

/// Sector size of disks in bytes.
const SECTOR: usize = 512;

#[derive(Deserialize)]
struct Config {
    ignition: Option<Ignition>,
}

#[derive(Deserialize)]
struct Ignition {
    version: Option<String>,
}

/// Checks that it is a configuration of a version that current guests read.
///
/// # Errors
/// What is wrong with it, in words that repeat only its version.
pub fn check(config: &[u8]) -> Result<(), String> {
    if config.len() > CONFIG_MAX {
        return Err(format!("it is longer than {CONFIG_MAX} bytes"));
    }
    let parsed: Config = serde_json::from_slice(config).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("it is not a JSON object of Ignition (line {line}, column {column})")
    })?;
    let version = parsed
        .ignition
        .and_then(|ignition| ignition.version)
        .ok_or("it has no `ignition.version`")?;
    if is_known(&version) {
        Ok(())
    } else {
        let printable: String = version
            .chars()
            .filter(|c| !c.is_control())
            .take(20)
            .collect();
        Err(format!(
            "its `ignition.version` is {printable:?}, and guests read 3.x.y"
        ))
    }
}

/// Accepts versions of specification 3, including experimental ones.
fn is_known(version: &str) -> bool {
    let plain = version.strip_suffix("-experimental").unwrap_or(version);
    let parts: Vec<&str> = plain.split('.').collect();
    let number = |part: &&str| part.parse::<u16>().is_ok();
    parts.len() == 3 && parts.first() == Some(&"3") && parts.iter().all(number)
}

/// The configuration as stored on a disk: padded with zeros to a whole sector. Ignition drops the zeros.
pub fn on_disk(config: &[u8]) -> Vec<u8> {
    let mut bytes = config.to_vec();
    bytes.resize(config.len().next_multiple_of(SECTOR), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_specification_3_are_taken() {
        for good in ["3.0.0", "3.4.0", "3.6.0-experimental"] {
            let config = format!(r#"{{"ignition":{{"version":"{good}"}},"storage":{{}}}}"#);
            assert_eq!(check(config.as_bytes()), Ok(()), "{good}");
        }
        for (bad, words) in [
            (r#"{"ignition":{"version":"2.2.0"}}"#, "2.2.0"),
            (r#"{"ignition":{"version":"3"}}"#, "3.x.y"),
            (r#"{"ignition":{}}"#, "has no"),
            (r#"{"passwd":{}}"#, "has no"),
            ("variant: fcos", "not a JSON"),
            ("", "not a JSON"),
        ] {
            let error = check(bad.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{bad}: {error}");
        }
    }

    #[test]
    fn a_disk_is_whole_sectors() {
        assert_eq!(on_disk(b"{}").len(), 512);
        assert_eq!(on_disk(&[b'x'; 512]).len(), 512);
        assert_eq!(on_disk(&[b'x'; 513]).len(), 1024);
    }
}
