//! Prints the figures as a table and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{CONCURRENCY, engine::Rate};

type ByCount = BTreeMap<usize, Rate>;

/// All figures of one run of this program.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) engine: ByCount,
    pub(crate) takeover_s: f64,
    rival: ByCount,
}

fn keyed(values: &ByCount, figure: impl Fn(&Rate) -> f64) -> Value {
    if values.is_empty() {
        return Value::Null;
    }
    let figures = values
        .iter()
        .map(|(count, rate)| (count.to_string(), rounded(figure(rate))));
    Value::Object(figures.collect())
}

fn rounded(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}

/// The value of `NAME=VALUE` after `from` in a line, without its unit.
fn field(line: &str, from: &str, name: &str) -> Option<f64> {
    let (_, rest) = line.split_once(from)?;
    let mut words = rest.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(name))?;
    value.trim_end_matches("ms").parse().ok()
}

impl Report {
    /// Reads the lines `dbos concurrency=N steps/s=N step p50=Nms p99=Nms run p99=Nms`.
    pub(crate) fn read_rival(&mut self, text: &str) {
        for line in text.lines() {
            let rate = || {
                Some(Rate {
                    steps_per_s: field(line, "dbos ", "steps/s=")?,
                    step_p50_ms: field(line, " step ", "p50=")?,
                    step_p99_ms: field(line, " step ", "p99=")?,
                    run_p99_ms: field(line, " run ", "p99=")?,
                })
            };
            let count = line.strip_prefix("dbos concurrency=");
            let count = count.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            if let (Some(count), Some(rate)) = (count, rate()) {
                self.rival.insert(count, rate);
            }
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "at once   engine steps/s  step p50 ms  step p99 ms   dbos steps/s  step p50 ms  step p99 ms   ratio"
        );
        for count in CONCURRENCY {
            let engine = self.engine.get(&count).copied().unwrap_or_default();
            let rival = self.rival.get(&count).map_or_else(
                || format!("{:>14} {:>12} {:>12} {:>7}", "-", "-", "-", "-"),
                |rival| {
                    format!(
                        "{:>14.0} {:>12.2} {:>12.2} {:>7.1}",
                        rival.steps_per_s,
                        rival.step_p50_ms,
                        rival.step_p99_ms,
                        engine.steps_per_s / rival.steps_per_s
                    )
                },
            );
            println!(
                "{count:>7} {:>16.0} {:>12.2} {:>12.2} {rival}",
                engine.steps_per_s, engine.step_p50_ms, engine.step_p99_ms
            );
        }
        println!(
            "take-over with 10,000 open runs: {:.2} s from the death to the first append",
            self.takeover_s
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "engine_steps_per_s": keyed(&self.engine, |rate| rate.steps_per_s),
            "engine_step_p50_ms": keyed(&self.engine, |rate| rate.step_p50_ms),
            "engine_step_p99_ms": keyed(&self.engine, |rate| rate.step_p99_ms),
            "engine_run_p99_ms": keyed(&self.engine, |rate| rate.run_p99_ms),
            "dbos_steps_per_s": keyed(&self.rival, |rate| rate.steps_per_s),
            "dbos_step_p50_ms": keyed(&self.rival, |rate| rate.step_p50_ms),
            "dbos_step_p99_ms": keyed(&self.rival, |rate| rate.step_p99_ms),
            "dbos_run_p99_ms": keyed(&self.rival, |rate| rate.run_p99_ms),
            "takeover_s": rounded(self.takeover_s),
        })
    }
}
