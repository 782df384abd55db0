//! Prints the figures as text and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{CONCURRENCY, engine::Rate, restart::Restart};

type ByCount<T> = BTreeMap<usize, T>;

/// Everything measured in one run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) raw: ByCount<f64>,
    /// Appends per second of one task that hands each append to a thread.
    pub(crate) raw_by_thread: f64,
    pub(crate) journal: ByCount<f64>,
    pub(crate) engine: ByCount<Rate>,
    pub(crate) bytes_per_event: f64,
    pub(crate) restart: Restart,
    pub(crate) rebuild: Restart,
    /// The longest time to load the state as of one of several past moments.
    pub(crate) at_1m_ms: f64,
    rival: ByCount<Rate>,
}

fn keyed<T>(values: &ByCount<T>, figure: impl Fn(&T) -> f64) -> Value {
    let figures = values
        .iter()
        .map(|(count, value)| (count.to_string(), rounded(figure(value))));
    if values.is_empty() {
        Value::Null
    } else {
        Value::Object(figures.collect())
    }
}

fn rounded(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}

impl Report {
    /// Reads the lines `restate concurrency=N … steps/s=N run p50=Nms p99=Nms`.
    pub(crate) fn read_rival(&mut self, text: &str) {
        for line in text.lines().filter(|line| line.starts_with("restate ")) {
            let field = |name: &str| {
                let word = line
                    .split_whitespace()
                    .find_map(|word| word.strip_prefix(name));
                word.and_then(|word| word.trim_end_matches("ms").parse::<f64>().ok())
            };
            let count = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix("concurrency="));
            let count = count.and_then(|count| count.parse().ok());
            if let (Some(count), Some(steps_per_s), Some(p50_ms), Some(p99_ms)) =
                (count, field("steps/s="), field("p50="), field("p99="))
            {
                self.rival.insert(
                    count,
                    Rate {
                        steps_per_s,
                        p50_ms,
                        p99_ms,
                    },
                );
            }
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "at once   raw/s   journal/s  of raw   engine steps/s  run p50 ms  run p99 ms   restate steps/s  run p99 ms"
        );
        for count in CONCURRENCY {
            let of = |values: &ByCount<f64>| values.get(&count).copied().unwrap_or_default();
            let engine = self.engine.get(&count).copied().unwrap_or_default();
            let (raw, journal) = (of(&self.raw), of(&self.journal));
            let rival = self.rival.get(&count).map_or_else(
                || format!("{:>17}  {:>10}", "-", "-"),
                |rival| format!("{:>17.0}  {:>10.1}", rival.steps_per_s, rival.p99_ms),
            );
            println!(
                "{count:>7} {raw:>7.0} {journal:>11.0} {:>7.2} {:>16.0} {:>11.1} {:>11.1} {rival}",
                journal / raw,
                engine.steps_per_s,
                engine.p50_ms,
                engine.p99_ms,
            );
        }
        println!(
            "one task that has a thread append: {:.0}/s raw, the journal {:.2} of it",
            self.raw_by_thread,
            self.journal.get(&1).copied().unwrap_or_default() / self.raw_by_thread
        );
        let Restart {
            seconds,
            rss_mib,
            idle_cpu_percent,
        } = self.restart;
        println!(
            "restart with 10,000 streams and 1,000,000 events: {seconds:.2} s until the first step, {rss_mib:.0} MiB"
        );
        println!(
            "the same without an index: {:.2} s, {:.0} MiB; any moment of the past: {:.0} ms",
            self.rebuild.seconds, self.rebuild.rss_mib, self.at_1m_ms
        );
        println!(
            "{:.0} bytes on disk an event; idle: {idle_cpu_percent:.1} % of a core",
            self.bytes_per_event
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "raw_per_s": keyed(&self.raw, |rate| *rate),
            "raw_by_thread_per_s": rounded(self.raw_by_thread),
            "journal_per_s": keyed(&self.journal, |rate| *rate),
            "engine_steps_per_s": keyed(&self.engine, |rate| rate.steps_per_s),
            "engine_run_p50_ms": keyed(&self.engine, |rate| rate.p50_ms),
            "engine_run_p99_ms": keyed(&self.engine, |rate| rate.p99_ms),
            "restate_steps_per_s": keyed(&self.rival, |rate| rate.steps_per_s),
            "restate_run_p99_ms": keyed(&self.rival, |rate| rate.p99_ms),
            "restart_s": rounded(self.restart.seconds),
            "restart_rss_mib": rounded(self.restart.rss_mib),
            "rebuild_s": rounded(self.rebuild.seconds),
            "rebuild_rss_mib": rounded(self.rebuild.rss_mib),
            "at_1m_ms": rounded(self.at_1m_ms),
            "bytes_per_event": rounded(self.bytes_per_event),
            "idle_cpu_percent": rounded(self.restart.idle_cpu_percent),
        })
    }
}
