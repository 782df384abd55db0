//! Metrics of the resource usage of guests, from the counters of their hosts.
//!
//! Hosts are polled with one call each, independently of scrapes; a scrape returns the last values and never
//! waits for a host. A VSI whose host does not report has no samples. Labels are namespaces, names and hosts
//! from this journal, never text from a host.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use vsiflow_steps::ports::GuestStats;
use vsiflow_workflows::fleet::{Fleet, GuestUsage};

/// How often hosts are polled.
const INTERVAL: Duration = Duration::from_secs(15);
/// The most VSIs with metrics.
const MAX: usize = 20_000;

/// The last values.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests(Arc<Mutex<Vec<GuestUsage>>>);

impl Guests {
    pub(super) fn set(&self, mut all: Vec<GuestUsage>) {
        all.truncate(MAX);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Polls hosts forever.
    pub(super) async fn keep(&self, fleet: &Fleet) {
        loop {
            match fleet.hosts().guest_usage().await {
                Ok(all) => self.set(all),
                Err(error) => tracing::warn!("what guests use is out of date: {error}"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// The labels of a guest: its VSI and its host.
struct GuestLabels<'a>(&'a GuestUsage);

impl EncodeLabelSet for GuestLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(usage) = self;
        let labels = [
            ("namespace", usage.namespace.as_str()),
            ("name", usage.name.as_str()),
            ("host", usage.host.as_str()),
        ];
        labels.encode(encoder)
    }
}

/// A counter: its name, its help and its value.
type GuestCounter = (&'static str, &'static str, fn(&GuestStats) -> Option<u64>);

const COUNTERS: &[GuestCounter] = &[
    (
        "guest_disk_read_bytes",
        "Bytes that a guest read from its disks since it was started",
        |stats| stats.disk_read,
    ),
    (
        "guest_disk_written_bytes",
        "Bytes that a guest wrote to its disks since it was started",
        |stats| stats.disk_written,
    ),
    (
        "guest_disk_reads",
        "Requests by which a guest read from its disks since it was started",
        |stats| stats.disk_reads,
    ),
    (
        "guest_disk_writes",
        "Requests by which a guest wrote to its disks since it was started",
        |stats| stats.disk_writes,
    ),
    (
        "guest_network_received_bytes",
        "Bytes that a guest received since it was started",
        |stats| stats.net_received,
    ),
    (
        "guest_network_sent_bytes",
        "Bytes that a guest sent since it was started",
        |stats| stats.net_sent,
    ),
];

const GAUGES: &[GuestCounter] = &[
    ("guest_memory_bytes", "Memory that a guest has", |stats| {
        stats.memory
    }),
    (
        "guest_memory_resident_bytes",
        "Memory of its host that a guest takes",
        |stats| stats.memory_resident,
    ),
];

impl Collector for Guests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if all.is_empty() {
            return Ok(());
        }
        let help = "Processor time that a guest used since it was started";
        let mut family = encoder.encode_descriptor(
            "guest_cpu",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for usage in &all {
            if let Some(nanos) = usage.stats.cpu_ns {
                let seconds = Duration::from_nanos(nanos).as_secs_f64();
                let labels = GuestLabels(usage);
                ConstCounter::new(seconds).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, counter_help, of) in COUNTERS {
            let mut counter =
                encoder.encode_descriptor(name, counter_help, None, MetricType::Counter)?;
            for usage in &all {
                if let Some(value) = of(&usage.stats) {
                    let labels = GuestLabels(usage);
                    ConstCounter::new(value).encode(counter.encode_family(&labels)?)?;
                }
            }
        }
        for (name, gauge_help, of) in GAUGES {
            let mut gauge = encoder.encode_descriptor(name, gauge_help, None, MetricType::Gauge)?;
            for usage in &all {
                if let Some(value) = of(&usage.stats) {
                    let labels = GuestLabels(usage);
                    let value = i64::try_from(value).unwrap_or(i64::MAX);
                    ConstGauge::new(value).encode(gauge.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};
    use vsiflow_steps::ports::GuestStats;

    use super::*;

    #[test]
    fn guests_are_told_with_their_hosts_and_what_is_not_known_is_left_out() {
        let guests = Guests::default();
        let usage = |name: &str, stats| GuestUsage {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            host: "a\"b\\c\n".to_owned(),
            stats,
        };
        guests.set(vec![
            usage(
                "web",
                GuestStats {
                    cpu_ns: Some(1_500_000_000),
                    memory: Some(u64::MAX),
                    disk_read: Some(7),
                    ..GuestStats::default()
                },
            ),
            usage("db", GuestStats::default()),
        ]);
        let mut registry = Registry::with_prefix("vsiflow");
        registry.register_collector(Box::new(guests.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        insta::assert_snapshot!(text);
        guests.set(Vec::new());
        let mut empty = String::new();
        encode(&mut empty, &registry).unwrap();
        assert_eq!(empty, "# EOF\n");
    }
}
