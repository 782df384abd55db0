//! Formats durations for people.

/// Formats a duration in milliseconds briefly: `7 ms`, `1.2 s`, `5m00s`.
pub fn took(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{}m{:02}s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [took(7), took(1_250), took(61_000), took(300_000)],
            ["7 ms", "1.2 s", "1m01s", "5m00s"]
        );
    }
}
