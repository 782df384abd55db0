//! Rates per second, from two snapshots.

use std::time::Duration;

use vsiflow_workflows::fleet::FleetOverview;

/// Rates between two snapshots, in tenths per second; none before the second snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) events: Option<u64>,
    pub(crate) steps: Option<u64>,
    /// Bytes per second that uploads send.
    pub(crate) bytes: u64,
}

impl Rates {
    pub(crate) fn between(
        before: Option<&FleetOverview>,
        now: &FleetOverview,
        passed: Duration,
    ) -> Self {
        let sent = now.uploads.iter().filter_map(|upload| upload.rate);
        let bytes = sent.fold(0, u64::saturating_add);
        // Another journal, or a restored one, has other offsets.
        let Some(before) = before.filter(|before| before.end <= now.end) else {
            return Self {
                bytes,
                ..Self::default()
            };
        };
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let tenths = |count: u64| count.saturating_mul(10_000) / millis;
        let counted = now.counted_from.is_some();
        Self {
            events: Some(tenths(now.end.saturating_sub(before.end))),
            steps: counted.then(|| tenths(now.steps_ended)),
            bytes,
        }
    }
}

/// Formats a rate as `3.2/s`, or a dash.
pub(crate) fn shown(tenths: Option<u64>) -> String {
    tenths.map_or_else(
        || "–".to_owned(),
        |tenths| format!("{}.{}/s", tenths / 10, tenths % 10),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_looks_at_one_journal() {
        let at = |end, steps_ended| FleetOverview {
            end,
            counted_from: Some(0),
            steps_ended,
            ..FleetOverview::default()
        };
        let second = Duration::from_secs(2);
        let rates = Rates::between(Some(&at(10, 0)), &at(17, 3), second);
        assert_eq!(shown(rates.events), "3.5/s");
        assert_eq!(shown(rates.steps), "1.5/s");
        assert_eq!(shown(Rates::between(None, &at(17, 3), second).events), "–");
        assert_eq!(
            shown(Rates::between(Some(&at(99, 0)), &at(17, 3), second).events),
            "–"
        );
        let most = Rates::between(Some(&at(0, 0)), &at(u64::MAX, u64::MAX), Duration::ZERO);
        assert!(most.events.is_some());
    }
}
