//! Policy for deleting unused images of a host automatically.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Which unused images are deleted automatically: those beyond the newest `keep` of each pool. With an
/// age, only older ones; with a watermark, the oldest ones while the pool is fuller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePolicy {
    /// How many of the newest unused images of each pool are always retained.
    pub keep: usize,
    /// After how many seconds since its last verification an image is deleted.
    pub age_s: Option<u64>,
    /// Above which percentage of the pool in use the oldest images are deleted.
    pub watermark: Option<u8>,
}

/// An unused image of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusedImage {
    /// When it was last verified: uploaded, or checked for a VSI that needs it. Milliseconds since the
    /// epoch; not in the future.
    pub verified_ms: u64,
}

impl UnusedImage {
    /// Images with these recorded times, the last verified first. A time in the future was recorded while the clock was
    /// ahead: the image was verified before those after it were, and otherwise counts as verified now.
    pub fn counted(recorded_ms: impl Iterator<Item = u64>, now_ms: u64) -> Vec<Self> {
        let mut latest_ms = now_ms;
        let counted = recorded_ms.map(|at_ms| {
            let verified_ms = if at_ms <= now_ms { at_ms } else { latest_ms };
            latest_ms = latest_ms.min(verified_ms);
            Self { verified_ms }
        });
        counted.collect()
    }
}

/// Why an image is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// There are more newer ones than `keep`.
    Count,
    /// It was not needed for too long.
    Age,
    /// The pool is too full.
    Watermark,
}

impl ImagePolicy {
    /// Which of the unused images of a pool, the last verified first, to delete next, and why: the
    /// oldest one that may be deleted. `used` is the percentage of the pool in use; unknown is not full.
    pub fn next(
        &self,
        unused: &[UnusedImage],
        now_ms: u64,
        used: Option<u8>,
    ) -> Option<(usize, Due)> {
        let (index, oldest) = unused.iter().enumerate().skip(self.keep).next_back()?;
        Some((index, self.due(*oldest, now_ms, used)?))
    }

    fn due(&self, image: UnusedImage, now_ms: u64, used: Option<u8>) -> Option<Due> {
        let age_s = now_ms.saturating_sub(image.verified_ms) / 1_000;
        if self.age_s.is_none() && self.watermark.is_none() {
            return Some(Due::Count);
        }
        if self.age_s.is_some_and(|limit| age_s > limit) {
            return Some(Due::Age);
        }
        let full = self.watermark.zip(used);
        full.is_some_and(|(mark, percent)| percent > mark)
            .then_some(Due::Watermark)
    }
}

/// The form, for messages.
pub(super) const FORM: &str =
    "write what stays and what goes, such as \"keep=2, age=30d, watermark=80%\", or leave it out";

impl FromStr for ImagePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mut keep, mut age_s, mut watermark) = (None, None, None);
        let is_end = |c: char| c == ',' || c.is_whitespace();
        for word in text.split(is_end).filter(|word| !word.is_empty()) {
            let shown: String = word.chars().take(40).collect();
            let unknown = || format!("{shown:?} is not understood");
            let (name, value) = word.split_once('=').ok_or_else(unknown)?;
            let again = match name {
                "keep" => keep
                    .replace(value.parse::<usize>().map_err(|_| unknown())?)
                    .is_some(),
                "age" => age_s.replace(age(value).ok_or_else(unknown)?).is_some(),
                "watermark" => watermark
                    .replace(percent(value).ok_or_else(unknown)?)
                    .is_some(),
                _ => return Err(unknown()),
            };
            if again {
                return Err(format!("{name} is given twice"));
            }
        }
        let keep = keep.ok_or("it does not say how many unused images to keep (keep=N)")?;
        Ok(Self {
            keep,
            age_s,
            watermark,
        })
    }
}

fn age(text: &str) -> Option<u64> {
    let age = humantime::parse_duration(text).ok()?;
    (age.as_secs() > 0).then_some(age.as_secs())
}

fn percent(text: &str) -> Option<u8> {
    let percent: u8 = text.strip_suffix('%')?.parse().ok()?;
    (1..100).contains(&percent).then_some(percent)
}

impl fmt::Display for ImagePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keep={}", self.keep)?;
        if let Some(age) = self.age_s {
            let age = humantime::format_duration(Duration::from_secs(age)).to_string();
            write!(f, ", age={}", age.replace(' ', ""))?;
        }
        match self.watermark {
            Some(watermark) => write!(f, ", watermark={watermark}%"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for ImagePolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ImagePolicy> for String {
    fn from(policy: ImagePolicy) -> Self {
        policy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    fn policy(text: &str) -> ImagePolicy {
        text.parse().unwrap()
    }

    fn aged(days: &[u64]) -> Vec<UnusedImage> {
        let at = |age: &u64| UnusedImage {
            verified_ms: 100 * DAY_MS - age * DAY_MS,
        };
        days.iter().map(at).collect()
    }

    fn next(text: &str, days: &[u64], used: Option<u8>) -> Option<(usize, Due)> {
        policy(text).next(&aged(days), 100 * DAY_MS, used)
    }

    #[test]
    fn the_oldest_goes_and_the_newest_stay() {
        assert_eq!(next("keep=2", &[1, 5, 9], None), Some((2, Due::Count)));
        assert_eq!(next("keep=3", &[1, 5, 9], None), None);
        assert_eq!(next("keep=0", &[], None), None);
        assert_eq!(next("keep=0", &[3], None), Some((0, Due::Count)));
    }

    #[test]
    fn age_and_watermark_each_suffice_and_keep_holds_against_both() {
        let both = "keep=1, age=7d, watermark=80%";
        assert_eq!(next(both, &[1, 9], Some(10)), Some((1, Due::Age)));
        assert_eq!(next(both, &[1, 5], Some(81)), Some((1, Due::Watermark)));
        assert_eq!(next(both, &[1, 7], Some(80)), None);
        assert_eq!(next(both, &[99], Some(99)), None);
    }

    #[test]
    fn an_image_that_was_verified_while_the_clock_was_ahead_is_no_younger_than_those_after_it() {
        let (now, ahead) = (100 * DAY_MS, 900 * DAY_MS);
        let recorded = [ahead, 99 * DAY_MS, ahead, 90 * DAY_MS, u64::MAX];
        let counted = UnusedImage::counted(recorded.into_iter(), now);
        let times: Vec<_> = counted
            .iter()
            .map(|image| image.verified_ms / DAY_MS)
            .collect();
        assert_eq!(times, [100, 99, 99, 90, 90]);
        let aged = policy("keep=1, age=7d").next(&counted, now, None);
        assert_eq!(aged, Some((4, Due::Age)));
    }

    #[test]
    fn a_pool_of_unknown_room_is_not_full() {
        assert_eq!(next("keep=0 watermark=1%", &[9], None), None);
    }

    #[test]
    fn what_was_written_reads_the_same() {
        for text in [
            "keep=0",
            "keep=2, age=30days, watermark=80%",
            "keep=1, age=1h30m",
        ] {
            let read = policy(text);
            assert_eq!(policy(&read.to_string()), read);
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<ImagePolicy>(&json).unwrap(), read);
        }
        assert_eq!(policy("keep=2,age=1d").age_s, Some(86_400));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in [
            "",
            "age=1d",
            "keep=-1",
            "keep=1 keep=2",
            "keep=1 age=0s",
            "keep=1 age=soon",
            "keep=1 watermark=80",
            "keep=1 watermark=0%",
            "keep=1 watermark=100%",
            "keep=1 watermark=300%",
            "keep",
            "keep=1 size=2",
        ] {
            assert!(text.parse::<ImagePolicy>().is_err(), "{text}");
        }
    }
}
