//! Words that PyYAML takes for numbers and dates, and that Python then cannot represent.

use std::str::FromStr;

use jiff::civil::DateTime;

/// Why Python has no value for an unquoted word, if that is so.
pub(super) fn refused(word: &str) -> Option<&'static str> {
    if is_number_without_digits(word) {
        return Some("cloud-init takes a word for a number, and that has no digits");
    }
    let is_wrong = Timestamp::read(word).is_some_and(|timestamp| !timestamp.exists());
    is_wrong.then_some("cloud-init takes a word for a date, and no calendar has that")
}

/// A number of base 2 or 16 whose digits are underscores only.
fn is_number_without_digits(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let digits = unsigned.strip_prefix("0x").or(unsigned.strip_prefix("0b"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte == b'_'))
}

/// A date, with or without a time.
#[derive(Default)]
struct Timestamp {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    /// How far its time zone is from UTC, in minutes.
    zone: i32,
}

impl Timestamp {
    /// Reads a date as PyYAML recognises one; `None` for other words.
    fn read(word: &str) -> Option<Self> {
        let mut rest = Rest(word);
        let year = rest.number(4, 4)?;
        rest.one_of(&['-'])?;
        let month = rest.number(1, 2)?;
        rest.one_of(&['-'])?;
        let day = rest.number(1, 2)?;
        let date = Self {
            year,
            month,
            day,
            ..Self::default()
        };
        match rest.0 {
            "" => (word.len() == "2026-01-02".len()).then_some(date),
            _ => date.with_time(rest),
        }
    }

    fn with_time(self, mut rest: Rest<'_>) -> Option<Self> {
        if rest.one_of(&['T', 't']).is_none() {
            rest.one_of(&[' ', '\t'])?;
            rest.spaces();
        }
        let hour = rest.number(1, 2)?;
        rest.one_of(&[':'])?;
        let minute = rest.number(2, 2)?;
        rest.one_of(&[':'])?;
        let second = rest.number(2, 2)?;
        if rest.one_of(&['.']).is_some() {
            rest.0 = rest.0.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let zone = if rest.0.is_empty() { 0 } else { rest.zone()? };
        rest.0.is_empty().then_some(Self {
            hour,
            minute,
            second,
            zone,
            ..self
        })
    }

    /// Whether Python has it: its years begin with 1, and its time zones are less than a day from UTC.
    fn exists(&self) -> bool {
        let (hour, minute, second) = (self.hour, self.minute, self.second);
        let time = DateTime::new(self.year, self.month, self.day, hour, minute, second, 0);
        time.is_ok() && self.year > 0 && self.zone < 24 * 60
    }
}

/// What of a word was not read yet.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    /// A number with so many digits.
    fn number<T: FromStr>(&mut self, least: usize, most: usize) -> Option<T> {
        let digits = self
            .0
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        let (number, rest) = self
            .0
            .split_at_checked(digits)
            .filter(|_| digits >= least)?;
        self.0 = rest;
        number.parse().ok()
    }

    fn one_of(&mut self, marks: &[char]) -> Option<()> {
        self.0 = self.0.strip_prefix(marks)?;
        Some(())
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// A time zone, as minutes from UTC.
    fn zone(&mut self) -> Option<i32> {
        self.spaces();
        if self.one_of(&['Z']).is_some() {
            return Some(0);
        }
        self.one_of(&['+', '-'])?;
        let hours: i32 = self.number(1, 2)?;
        let minutes = match self.one_of(&[':']) {
            Some(()) => self.number(2, 2)?,
            None => 0,
        };
        Some(hours.saturating_mul(60).saturating_add(minutes))
    }
}
