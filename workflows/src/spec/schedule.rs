//! Schedules of recurring due times: cron's five fields, in UTC.
//!
//! Pure: schedules and times give times. A tenant's text is limited in length, characters and
//! frequency, before anything is computed from it.

use std::{fmt, time::Duration};

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use vsiflow_engine::model::Timestamp;

/// The longest text, in bytes.
const MAX_LEN: usize = 100;
/// The least time between two due times, because each may copy whole disks.
pub const CLOSEST: Duration = Duration::from_secs(15 * 60);
/// How many missed due times are counted at most.
pub const MAX_COUNTED: u64 = 1000;
/// How far back the newest due time is searched, in ms. The first window with a due time holds few of
/// them.
const WINDOWS: [u64; 5] = [
    HOUR_MS,
    24 * HOUR_MS,
    32 * 24 * HOUR_MS,
    366 * 24 * HOUR_MS,
    4 * 366 * 24 * HOUR_MS,
];
const HOUR_MS: u64 = 3_600_000;
/// Short names for five fields.
const WORDS: [(&str, &str); 6] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];
/// The form, for messages.
const FORM: &str = "a schedule is cron's five fields in UTC, such as \"30 2 * * *\" for each day at \
                    02:30, or @hourly, @daily, @weekly, @monthly or @yearly";

/// A recurring schedule.
#[derive(Clone, Debug)]
pub struct Schedule(Crontab);

/// Error: the text is not a valid schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSchedule(String);

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidSchedule {}

impl Schedule {
    /// Parses cron's five fields, or a short name for them.
    ///
    /// # Errors
    /// When the text is neither, is never due, or is due more often than every quarter of an hour.
    pub fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        if has_extension(text) {
            return Err(invalid(
                "`L` and `W` are no part of cron's five fields; instead of the last day of a month name the first one of the next month",
            ));
        }
        let schedule = Self::recorded(text)?;
        if schedule.next(Timestamp(0)).is_none() {
            return Err(invalid("the schedule is never due: no month has that day"));
        }
        let fields = five(text)?;
        let [minute, hour, ..] = fields.as_slice() else {
            return Err(invalid(FORM));
        };
        // Days are ignored: two times on any consecutive days are at least as far apart as on every
        // day.
        if read(&format!("{minute} {hour} * * *"))?.is_too_close() {
            return Err(invalid(
                "the schedule is due more often than every 15 minutes, and each time copies whole disks",
            ));
        }
        Ok(schedule)
    }

    /// Reads a recorded schedule, even if documents may not contain it any more.
    ///
    /// # Errors
    /// When it is not a schedule.
    pub fn recorded(text: &str) -> Result<Self, InvalidSchedule> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"*,-/ \t@".contains(&b);
        if text.len() > MAX_LEN || !text.bytes().all(plain) {
            return Err(invalid(FORM));
        }
        read(&five(text)?.join(" "))
    }

    /// The first due time after that time; `None` if there is none within years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = MakeTimestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let next = self.0.find_next(after).ok()?;
        let next = u64::try_from(next.timestamp().as_millisecond()).ok()?;
        Some(Timestamp(next))
    }

    /// The newest due time after `after` and not after `now`.
    pub fn latest(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        for window in WINDOWS {
            let from = Timestamp(now.0.saturating_sub(window).max(after.0));
            let found = self.between(from, now).last();
            if found.is_some() || from == after {
                return found;
            }
        }
        None
    }

    /// How many due times are after `after` and before `before`; at most [`MAX_COUNTED`].
    pub fn count(&self, after: Timestamp, before: Timestamp) -> u64 {
        let Some(last) = before.0.checked_sub(1) else {
            return 0;
        };
        let all = self.between(after, Timestamp(last));
        let most = usize::try_from(MAX_COUNTED).unwrap_or(usize::MAX);
        u64::try_from(all.take(most).count()).unwrap_or(MAX_COUNTED)
    }

    fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        let next = move |at: &Timestamp| self.next(*at).filter(|due| *due <= until);
        std::iter::successors(next(&after), next)
    }

    /// Whether two due times within two days are closer than permitted.
    fn is_too_close(&self) -> bool {
        let closest = u64::try_from(CLOSEST.as_millis()).unwrap_or(u64::MAX);
        let two_days = Timestamp(48 * HOUR_MS);
        let times = self.between(Timestamp(0), two_days);
        let mut gaps = times.scan(None, |before: &mut Option<Timestamp>, due| {
            let gap = before.map(|before| due.0.saturating_sub(before.0));
            *before = Some(due);
            Some(gap)
        });
        gaps.any(|gap| gap.is_some_and(|gap| gap < closest))
    }
}

/// Whether a field has a letter that only some programs know, such as `L` for the last day of a month. The library
/// calculates some of them wrongly: those of December are never due.
fn has_extension(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| {
        let letters = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_behind_number = letters.len() < word.len() && !letters.is_empty();
        is_behind_number || ["L", "W", "LW"].contains(&letters.to_uppercase().as_str())
    })
}

fn invalid(why: &str) -> InvalidSchedule {
    InvalidSchedule(why.to_owned())
}

/// Splits the five fields. A sixth would be a time zone, and machines know different ones.
fn five(text: &str) -> Result<Vec<&str>, InvalidSchedule> {
    let text = text.trim();
    let word = WORDS.iter().find(|(word, _)| *word == text);
    let fields = word.map_or(text, |(_, fields)| *fields);
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    if fields.len() == 5 {
        Ok(fields)
    } else {
        Err(invalid(FORM))
    }
}

fn read(fields: &str) -> Result<Schedule, InvalidSchedule> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::UTC;
    let crontab = cronexpr::parse_crontab_with(fields, options);
    crontab.map(Schedule).map_err(|_| invalid(FORM))
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
