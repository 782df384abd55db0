//! Sizes as Kubernetes writes them: `107374182400`, `100Gi`, `1.5Gi`, `20G`, `1.073741824e+11`. A text without a
//! unit is bytes; one with a unit is rounded up to whole bytes.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::schema;

/// One mebibyte in bytes.
pub const MIB: u64 = 1 << 20;

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(schema_with = "schema::size")]
pub struct Quantity(pub u64);

impl Quantity {
    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// A size in the largest unit of which there are at least ten, rounded down.
    pub fn rounded(bytes: u64) -> Self {
        let units = [60_u32, 50, 40, 30, 20, 10];
        let unit = units.into_iter().find(|bits| bytes >> bits >= 10);
        Self(unit.map_or(bytes, |bits| bytes >> bits << bits))
    }
}

/// Error: the text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text cannot be parsed.
    #[error("{0:?} is not a size; write bytes or a unit, such as 107374182400, 100Gi or 20G")]
    Unreadable(String),
    /// It is larger than any disk.
    #[error("{0:?} is too large; the largest size is 8Ei")]
    TooLarge(String),
    /// It has no unit, and is not a whole number of bytes.
    #[error("{0:?} is not a whole number of bytes; write it with a unit, such as 1.5Gi")]
    Fraction(String),
}

/// The largest size; libvirt and file systems count in 63 bits.
const LARGEST: u128 = 1 << 63;

/// The largest power of ten that a number is multiplied with or divided by.
const MAX_EXPONENT: u32 = 30;

/// The longest text. Longer texts are not sizes, and could overflow during parsing.
const MAX_LEN: usize = 40;

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || QuantityError::Unreadable(text.chars().take(MAX_LEN).collect());
        if text.len() > MAX_LEN {
            return Err(unreadable());
        }
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end).ok_or_else(unreadable)?;
        let scale = Scale::of(unit).ok_or_else(unreadable)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(unreadable());
        }
        multiply(text, whole, fraction, scale)
    }
}

/// What a number is multiplied by: a unit, or a power of ten.
#[derive(Clone, Copy)]
struct Scale {
    factor: u128,
    divisor: u128,
    /// Whether it is a unit, with which parts of a byte are rounded up, as Kubernetes does.
    is_unit: bool,
}

impl Scale {
    fn of(unit: &str) -> Option<Self> {
        if let Some(factor) = factor(unit) {
            return Some(Self {
                factor,
                divisor: 1,
                is_unit: factor > 1,
            });
        }
        let exponent = unit.strip_prefix(['e', 'E'])?;
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        // A larger exponent is beyond all sizes in either direction.
        let power = 10_u128.pow(
            digits
                .parse::<u32>()
                .map_or(MAX_EXPONENT, |power| power.min(MAX_EXPONENT)),
        );
        Some(if exponent.starts_with('-') {
            Self {
                factor: 1,
                divisor: power,
                is_unit: false,
            }
        } else {
            Self {
                factor: power,
                divisor: 1,
                is_unit: false,
            }
        })
    }
}

/// Computes `whole.fraction × scale` in integers; a float would round sizes beyond 8 PiB.
fn multiply(
    text: &str,
    whole: &str,
    fraction: &str,
    scale: Scale,
) -> Result<Quantity, QuantityError> {
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let number: u128 = digits.parse().map_err(|_| too_large())?;
    let scaled = number.checked_mul(scale.factor).ok_or_else(too_large)?;
    let places = u32::try_from(fraction.len()).map_err(|_| too_large())?;
    let divisor = 10_u128.checked_pow(places).ok_or_else(too_large)?;
    let divisor = divisor.checked_mul(scale.divisor).ok_or_else(too_large)?;
    // Without a unit, a part of a byte is a mistake.
    if !scale.is_unit && scaled % divisor != 0 {
        return Err(QuantityError::Fraction(text.to_owned()));
    }
    let bytes = scaled.div_ceil(divisor);
    if bytes > LARGEST {
        return Err(too_large());
    }
    u64::try_from(bytes).map(Quantity).map_err(|_| too_large())
}

fn factor(unit: &str) -> Option<u128> {
    Some(match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return None,
    })
}

impl fmt::Display for Quantity {
    /// In the largest binary unit that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 6] = [
            ("Ei", 60),
            ("Pi", 50),
            ("Ti", 40),
            ("Gi", 30),
            ("Mi", 20),
            ("Ki", 10),
        ];
        let fits = |bits: u32| self.0 != 0 && self.0.trailing_zeros() >= bits;
        match UNITS.into_iter().find(|(_, bits)| fits(*bits)) {
            Some((unit, bits)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(SizeVisitor { unit: 1 })
            .map(Self)
    }
}

/// The size of a disk that is made: a [`Quantity`] other than zero.
///
/// # Errors
/// If it is no size, or zero.
pub(super) fn disk_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
    match Quantity::deserialize(deserializer)? {
        Quantity(0) => Err(de::Error::custom(
            "a disk has at least one byte; write a size such as 100Gi",
        )),
        size => Ok(size),
    }
}

/// As [`disk_size`], where it may be absent.
pub(super) fn optional_disk_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Quantity>, D::Error> {
    struct DiskSize(Quantity);
    impl<'de> Deserialize<'de> for DiskSize {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            disk_size(deserializer).map(Self)
        }
    }
    Ok(Option::<DiskSize>::deserialize(deserializer)?.map(|DiskSize(size)| size))
}

/// Memory of a guest, in MiB. A plain number is MiB; a text is a [`Quantity`], rounded up to whole MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(schema_with = "schema::size", extend("x-example" = "4Gi"))]
pub struct Memory {
    mib: u64,
    is_rounded: bool,
}

impl Memory {
    /// The largest memory of a guest: 16 TiB.
    pub const MAX_MIB: u64 = 16 << 20;

    /// Memory of that many MiB.
    ///
    /// # Errors
    /// When it is zero, or more than [`Self::MAX_MIB`].
    pub fn from_mib(mib: u64) -> Result<Self, String> {
        if (1..=Self::MAX_MIB).contains(&mib) {
            let is_rounded = false;
            return Ok(Self { mib, is_rounded });
        }
        Err(
            "memory is between 1Mi and 16Ti; a plain number is MiB, a text without a unit is bytes"
                .to_owned(),
        )
    }

    /// The memory in MiB.
    pub fn mib(self) -> u64 {
        self.mib
    }

    /// Whether the document named no whole number of MiB.
    pub fn is_rounded(self) -> bool {
        self.is_rounded
    }
}

impl Default for Memory {
    /// 4 GiB, the least with which the Hyper Protect image boots.
    fn default() -> Self {
        Self {
            mib: 4096,
            is_rounded: false,
        }
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Quantity(self.mib.saturating_mul(MIB)))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_any(SizeVisitor { unit: MIB })?;
        // Less than a MiB is not rounded: a number of MiB was probably meant.
        let mib = if bytes < MIB { 0 } else { bytes.div_ceil(MIB) };
        let memory = Self::from_mib(mib).map_err(de::Error::custom)?;
        Ok(Self {
            is_rounded: !bytes.is_multiple_of(MIB),
            ..memory
        })
    }
}

/// Reads a size in bytes; `unit` is the number of bytes that a plain number counts.
struct SizeVisitor {
    unit: u64,
}

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 100Gi")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        let bytes = number
            .checked_mul(self.unit)
            .filter(|bytes| u128::from(*bytes) <= LARGEST);
        bytes.ok_or_else(|| E::custom(QuantityError::TooLarge(number.to_string())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(QuantityError::Unreadable(number.to_string()))),
        }
    }

    /// A whole number in exponent form.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
        // The shortest decimal form is what JSON has for it elsewhere.
        let digits = format!("{number}");
        match digits.parse::<u64>() {
            Ok(whole) => self.visit_u64(whole),
            Err(_) if number.fract() != 0.0 => Err(E::custom(QuantityError::Fraction(digits))),
            Err(_) => Err(E::custom(QuantityError::Unreadable(
                digits.chars().take(MAX_LEN).collect(),
            ))),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        text.parse::<Quantity>()
            .map(Quantity::bytes)
            .map_err(E::custom)
    }
}

#[cfg(test)]
#[path = "quantity_tests.rs"]
mod tests;
