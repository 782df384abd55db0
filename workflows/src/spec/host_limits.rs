//! Limits in a host's settings: how much may be promised on it, and its devices.

use serde::{Deserialize, Serialize};

use super::host_keys::{HostKeyError, HostSettingKeys};
use super::placement::is_device;

/// A factor in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio(pub u32);

impl Ratio {
    /// Exactly the capacity.
    pub const ONE: Self = Self(1000);

    /// This multiple of an amount; at most `u64::MAX`.
    pub fn of(self, amount: u64) -> u64 {
        let scaled = u128::from(amount).saturating_mul(u128::from(self.0));
        u64::try_from(scaled / 1000).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match format!("{rest:03}").trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            rest => write!(f, "{whole}.{rest}"),
        }
    }
}

/// How much may be promised on a host, as factors of its capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overcommit {
    /// Processors.
    pub cpus: Ratio,
    /// Memory.
    pub memory: Ratio,
    /// Disk space in a pool.
    pub pool: Ratio,
}

impl Default for Overcommit {
    /// Guests rarely use all their processors at the same time, but memory and disk space that are
    /// promised twice kill guests.
    fn default() -> Self {
        Self {
            cpus: Ratio(4000),
            memory: Ratio::ONE,
            pool: Ratio::ONE,
        }
    }
}

/// The settings of a host other than its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostLimits {
    /// How much may be promised on it.
    #[serde(default)]
    pub overcommit: Overcommit,
    /// The names of its devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

impl HostLimits {
    /// Whether everything has its default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The limits in the settings.
///
/// # Errors
/// With the key that has the problem.
pub(super) fn limits(keys: &HostSettingKeys<'_>) -> Result<HostLimits, HostKeyError> {
    let usual = Overcommit::default();
    let ratio = |key: &'static str, otherwise: Ratio| match keys.text(key)? {
        None => Ok(otherwise),
        Some(text) => {
            parse(&text).ok_or_else(|| keys.wrong(key, format!("{text:?} is not a factor")))
        }
    };
    let devices = keys.text("DEVICES")?.unwrap_or_default();
    let devices = devices
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let mut devices: Vec<_> = devices.map(str::to_owned).collect();
    if let Some(odd) = devices.iter().find(|name| !is_device(name)) {
        return Err(keys.wrong("DEVICES", format!("{odd:?} is not the name of a device")));
    }
    devices.sort();
    devices.dedup();
    Ok(HostLimits {
        overcommit: Overcommit {
            cpus: ratio("OVERCOMMIT_CPUS", usual.cpus)?,
            memory: ratio("OVERCOMMIT_MEMORY", usual.memory)?,
            pool: ratio("OVERCOMMIT_POOL", usual.pool)?,
        },
        devices,
    })
}

/// The largest factor; more is probably a mistake.
const MAX: u32 = 1000;

fn parse(text: &str) -> Option<Ratio> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 4 || rest.len() > 3 || !digits(whole) || !digits(rest) {
        return None;
    }
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= MAX)?;
    let rest: u32 = format!("{rest:0<3}").parse().ok()?;
    let ratio = whole.checked_mul(1000)?.checked_add(rest)?;
    (ratio > 0).then_some(Ratio(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_read_and_written_to_a_thousandth() {
        for (text, ratio) in [("1", 1000), ("1.5", 1500), ("0.125", 125), ("16", 16000)] {
            assert_eq!(parse(text), Some(Ratio(ratio)));
            assert_eq!(Ratio(ratio).to_string(), text);
        }
        for wrong in ["", "0", "-1", "1.2.3", "1.0001", "99999", "1e3", "4x", "."] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(Ratio(1500).of(10), 15);
        assert_eq!(Ratio(2000).of(u64::MAX), u64::MAX);
    }
}
