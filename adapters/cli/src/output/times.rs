//! Times for people.

use clap::ValueEnum;

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Times {
    /// How long ago, such as `5m`.
    #[default]
    Relative,
    /// The moment, in UTC.
    Absolute,
}

impl Times {
    /// The shown form of a moment in RFC 3339; other text is returned unchanged.
    pub(crate) fn shown(self, moment: &str) -> String {
        self.shown_at(moment, jiff::Timestamp::now())
    }

    /// The shown form in a sentence: `5m ago`.
    pub(crate) fn ago(self, moment: &str) -> String {
        match self {
            Self::Absolute => moment.to_owned(),
            Self::Relative => format!("{} ago", self.shown(moment)),
        }
    }

    /// The shown form relative to `now`.
    pub(crate) fn shown_at(self, moment: &str, now: jiff::Timestamp) -> String {
        match self {
            Self::Absolute => moment.to_owned(),
            Self::Relative => ago(moment, now),
        }
    }
}

/// The time from a moment to `now`, in kubectl's form.
fn ago(moment: &str, now: jiff::Timestamp) -> String {
    let Ok(moment) = moment.parse::<jiff::Timestamp>() else {
        return "<unknown>".to_owned();
    };
    let seconds = now.as_second().saturating_sub(moment.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_by_its_age_or_as_it_is() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(ago("2026-01-02T03:04:00Z", now), "5s");
        assert_eq!(ago("2026-01-02T02:04:05Z", now), "60m");
        assert_eq!(ago("2026-01-01T03:04:05Z", now), "24h");
        assert_eq!(ago("2025-01-02T03:04:05Z", now), "365d");
        assert_eq!(
            ago("2027-01-02T03:04:05Z", now),
            "0s",
            "a clock that is off"
        );
        assert_eq!(ago("", now), "<unknown>");
        assert_eq!(
            Times::Absolute.shown("2026-01-02T03:04:05Z"),
            "2026-01-02T03:04:05Z"
        );
    }
}
