//! Words that PyYAML takes for numbers and dates, and that Python then cannot represent.

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
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    /// How far its time zone is from UTC, in minutes.
    zone: u32,
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

    fn exists(&self) -> bool {
        let is_leap = self.year.is_multiple_of(4) && !self.year.is_multiple_of(100)
            || self.year.is_multiple_of(400);
        let days = match self.month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let is_date =
            self.year > 0 && (1..=12).contains(&self.month) && (1..=days).contains(&self.day);
        is_date && self.hour < 24 && self.minute < 60 && self.second < 60 && self.zone < 24 * 60
    }
}

/// What of a word was not read yet.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    /// A number with so many digits.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
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
    fn zone(&mut self) -> Option<u32> {
        self.spaces();
        if self.one_of(&['Z']).is_some() {
            return Some(0);
        }
        self.one_of(&['+', '-'])?;
        let hours = self.number(1, 2)?;
        let minutes = match self.one_of(&[':']) {
            Some(()) => self.number(2, 2)?,
            None => 0,
        };
        Some(hours.saturating_mul(60).saturating_add(minutes))
    }
}
