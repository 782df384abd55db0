//! Formats numbers for people, without overflowing.

/// Formats bytes: `999 B`, `1.5 KiB`, `40.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut unit, mut size) = ("B", 1_u64);
    for next in UNITS {
        let Some(larger) = size.checked_mul(1024).filter(|larger| count >= *larger) else {
            break;
        };
        (unit, size) = (next, larger);
    }
    if size == 1 {
        return format!("{count} B");
    }
    let whole = count / size;
    let tenth = (count % size) / (size / 10).max(1);
    format!("{whole}.{} {unit}", tenth.min(9))
}

/// Formats seconds: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A bar of `width` cells, and the percentage.
pub(crate) fn bar(done: u64, total: u64, width: u64) -> String {
    let total = total.max(1);
    let done = done.min(total);
    let part = |of: u64| {
        let part = u128::from(done) * u128::from(of) / u128::from(total);
        usize::try_from(part).unwrap_or_default()
    };
    let (full, width) = (part(width), usize::try_from(width).unwrap_or_default());
    let rest = width.saturating_sub(full);
    format!(
        "{}{} {:>3} %",
        "█".repeat(full),
        "░".repeat(rest),
        part(100)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_ages_and_parts_are_short_whatever_they_are() {
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        assert_eq!(
            [age(119), age(120), age(7_200), age(172_800)],
            ["119s", "2m", "2h", "2d"]
        );
        assert_eq!(bar(1, 4, 8), "██░░░░░░  25 %");
        assert_eq!(bar(u64::MAX, u64::MAX, 2), "██ 100 %");
        assert_eq!(bar(0, 0, 2), "░░   0 %");
    }
}
