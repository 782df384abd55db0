//! Values of options that several commands share.

/// How long finished work stays in the journal; `None` means for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention(pub(crate) Option<std::time::Duration>);

pub(super) fn retention(text: &str) -> Result<Retention, String> {
    if text == "never" {
        return Ok(Retention(None));
    }
    duration(text).map(|time| Retention(Some(time)))
}

pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text.parse::<u64>().map(std::time::Duration::from_secs);
    seconds
        .or_else(|_| humantime::parse_duration(text))
        .map_err(|error| format!("{error}; write a number with a unit, such as 90s, 10m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        assert_eq!(duration("90"), Ok(std::time::Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(std::time::Duration::from_secs(5_400)));
        assert!(duration("soon").is_err());
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(retention("1d"), Ok(Retention(Some(day))));
        assert_eq!(retention("never"), Ok(Retention(None)));
    }
}
