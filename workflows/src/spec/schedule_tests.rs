use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    Timestamp(u64::try_from(time.as_millisecond()).unwrap())
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap()
}

#[test]
fn the_next_time_is_after_the_moment_and_never_the_moment_itself() {
    let daily = schedule("30 2 * * *");
    assert_eq!(
        daily.next(at("2026-11-23T02:29:59.999Z")),
        Some(at("2026-11-23T02:30:00Z"))
    );
    assert_eq!(
        daily.next(at("2026-11-23T02:30:00Z")),
        Some(at("2026-11-24T02:30:00Z"))
    );
    let words = [
        ("@hourly", "2026-11-23T03:00:00Z"),
        ("@daily", "2026-11-24T00:00:00Z"),
        ("@weekly", "2026-11-29T00:00:00Z"),
        ("@monthly", "2026-12-01T00:00:00Z"),
    ];
    for (word, next) in words {
        let found = schedule(word).next(at("2026-11-23T02:10:00Z"));
        assert_eq!(found, Some(at(next)), "{word}");
    }
}

#[test]
fn the_newest_due_time_is_found_however_long_ago_and_those_before_it_are_counted() {
    let daily = schedule("0 3 * * *");
    let (since, now) = (at("2026-11-20T12:00:00Z"), at("2026-11-23T02:59:00Z"));
    let latest = daily.latest(since, now).unwrap();
    assert_eq!(latest, at("2026-11-22T03:00:00Z"));
    assert_eq!(daily.count(since, latest), 1);
    assert_eq!(daily.latest(latest, now), None);
    let yearly = schedule("0 0 1 1 *");
    let found = yearly.latest(at("2020-06-01T00:00:00Z"), now);
    assert_eq!(found, Some(at("2026-01-01T00:00:00Z")));
    let often = schedule("*/15 * * * *");
    assert_eq!(
        often.latest(Timestamp(0), now),
        Some(at("2026-11-23T02:45:00Z"))
    );
    assert_eq!(often.count(Timestamp(0), now), MAX_COUNTED);
    // If the clock is set back, nothing is due until it reaches that time again.
    assert_eq!(daily.latest(at("2027-01-01T00:00:00Z"), now), None);
}

#[test]
fn what_is_no_schedule_is_refused() {
    let long = "0 ".repeat(80);
    for text in [
        "",
        "daily",
        "@reboot",
        "* * *",
        "60 * * * *",
        "0 3 * * * Europe/Berlin",
        "0 3 * * * *",
        "0 0 30 2 *",
        "0 3 * * $(reboot)",
        "0 3 * * é",
        "0 0 L * *",
        "0 0 LW * *",
        "0 0 15W * *",
        "0 0 * * 5L",
        long.as_str(),
    ] {
        assert!(Schedule::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_due_too_often_is_refused_over_midnight_as_well() {
    for text in [
        "* * * * *",
        "*/10 * * * *",
        "0,5 3 * * *",
        "0,55 0,23 1,31 * *",
    ] {
        let why = Schedule::parse(text).err().map(|why| why.to_string());
        assert!(why.unwrap_or_default().contains("15 minutes"), "{text}");
    }
    for text in [
        "*/15 * * * *",
        "0,45 0,23 * * *",
        "0 3 * * MON-FRI",
        "0 3 1 JUL wed",
    ] {
        assert!(Schedule::parse(text).is_ok(), "{text}");
    }
}

/// A field of cron, in any form that a user may write.
fn field(most: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (0..=most).prop_map(|one| one.to_string()),
        (0..=most, 1..=most).prop_map(|(from, step)| format!("{from}/{step}")),
        (0..=most, 0..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (0..=most, 0..=most).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\\t]{0,60}") {
        let _ = Schedule::parse(&text);
    }

    #[test]
    fn times_are_in_order_and_far_enough_apart(
        minute in field(59), hour in field(23), day in field(31), month in field(12), weekday in field(7),
        from in 0_u64..4_102_444_800_000,
    ) {
        let Ok(schedule) = Schedule::parse(&format!("{minute} {hour} {day} {month} {weekday}")) else {
            return Ok(());
        };
        let from = Timestamp(from);
        let times: Vec<_> = std::iter::successors(schedule.next(from), |at| schedule.next(*at))
            .take(20)
            .collect();
        prop_assert!(times.iter().all(|time| *time > from && time.0 % 60_000 == 0));
        let gaps = times.windows(2).map(|pair| pair[1].0 - pair[0].0);
        prop_assert!(gaps.min().is_none_or(|gap| gap >= 15 * 60_000));
        if let Some(last) = times.last() {
            prop_assert_eq!(schedule.latest(from, *last), Some(*last));
            prop_assert_eq!(schedule.count(from, *last), times.len() as u64 - 1);
        }
    }
}
