//! A moment of a journal, or of a set of journals, as users write it.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{journal::Offset, model::Timestamp};

use crate::fleet::vsi::object::rfc3339;

/// A moment: `OFFSET`, in a set of journals `JOURNAL:OFFSET`, or a time such as `2026-11-22T09:30:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Moment {
    /// When the event of this offset was recorded; that event is included.
    Offset(Offset),
    /// When the event of this offset was recorded in that journal of a set: in that journal it is the newest that is
    /// included, and of the others all that were recorded by that time.
    Event {
        /// The journal's number.
        journal: u16,
        /// The offset of the event there.
        offset: Offset,
    },
    /// This time; events of the same millisecond are included.
    Time(Timestamp),
}

/// Error: the text is not a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write an offset, such as 41 (in a set of journals 2:41), or a time with its zone, such as 2026-11-22T09:30:00Z"
)]
pub struct InvalidMoment;

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        let event = text.split_once(':');
        if let Some((Ok(journal), Ok(offset))) =
            event.map(|(one, other)| (one.parse(), other.parse()))
        {
            return Ok(Self::Event { journal, offset });
        }
        let time = text.parse::<jiff::Timestamp>().map_err(|_| InvalidMoment)?;
        let millis = u64::try_from(time.as_millisecond()).map_err(|_| InvalidMoment)?;
        Ok(Self::Time(Timestamp(millis)))
    }
}

impl TryFrom<String> for Moment {
    type Error = InvalidMoment;

    fn try_from(text: String) -> Result<Self, InvalidMoment> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "{offset}"),
            Self::Event { journal, offset } => write!(f, "{journal}:{offset}"),
            Self::Time(time) => f.write_str(&rfc3339(*time)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_times_with_a_zone_are_moments_and_nothing_else_is() {
        assert_eq!("41".parse(), Ok(Moment::Offset(41)));
        let event = Moment::Event {
            journal: 2,
            offset: 41,
        };
        assert_eq!("2:41".parse(), Ok(event));
        let noon = Ok(Moment::Time(Timestamp(43_200_000)));
        assert_eq!("1970-01-01T12:00:00Z".parse(), noon);
        assert_eq!("1970-01-01T14:00:00+02:00".parse(), noon);
        for wrong in [
            "",
            "-1",
            "noon",
            "1970-01-01",
            "1960-01-01T00:00:00Z",
            "99999999999999999999",
            "2:",
            ":41",
            "70000:41",
            "2:41:0",
        ] {
            assert_eq!(wrong.parse::<Moment>(), Err(InvalidMoment), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_printed_as_it_can_be_read() {
        for text in ["41", "2:41", "1970-01-01T12:00:00.000Z"] {
            assert_eq!(text.parse::<Moment>().unwrap().to_string(), text);
        }
    }
}
