//! Prints the figures as a table and as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Answer;

/// The figures measured for one number of VSIs.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) ready: u32,
    pub(crate) events: u64,
    /// Processor time, the simulation included.
    pub(crate) us_per_event: f64,
    /// Processor time of the database's processes.
    pub(crate) server_us_per_event: Option<f64>,
    pub(crate) bytes_per_event: f64,
    /// Size of tables and indexes.
    pub(crate) disk_bytes_per_event: f64,
    pub(crate) provision_s: f64,
    pub(crate) most_mib: f64,
}

/// All sizes, the smallest first.
#[derive(Default)]
pub(crate) struct Report(BTreeMap<u32, Figures>);

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl Report {
    pub(crate) fn add(&mut self, vsis: u32, figures: Figures) {
        self.0.insert(vsis, figures);
    }

    /// A figure with the most VSIs, divided by the same figure with the fewest.
    fn ratio(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let (_, few) = self.0.first_key_value()?;
        let (_, many) = self.0.last_key_value()?;
        Some(rounded(figure(many)? / figure(few)?))
    }

    pub(crate) fn print(&self) {
        println!(
            "   VSIs   ready    events  µs/event  server µs/event  bytes/event  on disk  seconds    MiB"
        );
        for (vsis, figures) in &self.0 {
            let server = figures.server_us_per_event;
            let server = server.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"));
            println!(
                "{vsis:>7} {:>7} {:>9} {:>9.1} {server:>16} {:>12.0} {:>8.0} {:>8.1} {:>6.0}",
                figures.ready,
                figures.events,
                figures.us_per_event,
                figures.bytes_per_event,
                figures.disk_bytes_per_event,
                figures.provision_s,
                figures.most_mib
            );
        }
        let figure = |ratio: Option<f64>| {
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        println!(
            "an event with the most VSIs costs {} times what it does with the fewest (aim: 1), the server {} times",
            figure(self.ratio(|figures| Some(figures.us_per_event))),
            figure(self.ratio(|figures| figures.server_us_per_event)),
        );
    }

    pub(crate) fn json(&self) -> Value {
        let sizes = self.0.iter().map(|(vsis, figures)| {
            let value = json!({
                "all_ready": figures.ready == *vsis,
                "events": figures.events,
                "us_per_event": rounded(figures.us_per_event),
                "server_us_per_event": figures.server_us_per_event.map(rounded),
                "bytes_per_event": rounded(figures.bytes_per_event),
                "disk_bytes_per_event": rounded(figures.disk_bytes_per_event),
                "provision_s": rounded(figures.provision_s),
                "rss_mib": rounded(figures.most_mib),
            });
            (vsis.to_string(), value)
        });
        json!({
            "sizes": Value::Object(sizes.collect()),
            "ratio": self.ratio(|figures| Some(figures.us_per_event)),
            "server_ratio": self.ratio(|figures| figures.server_us_per_event),
            "bytes_ratio": self.ratio(|figures| Some(figures.bytes_per_event)),
        })
    }

    /// Checks that all VSIs are ready.
    ///
    /// # Errors
    /// When a VSI is not ready.
    pub(crate) fn all_ready(&self) -> Answer<()> {
        for (vsis, figures) in &self.0 {
            if figures.ready != *vsis {
                return Err(format!("{} of {vsis} VSIs are ready", figures.ready).into());
            }
        }
        Ok(())
    }
}
