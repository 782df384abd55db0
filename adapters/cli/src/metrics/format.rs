//! The text formats of metrics: OpenMetrics if the scraper accepts it, otherwise that of
//! Prometheus, which every scraper and every person can read.
//!
//! The library writes OpenMetrics. For counters, gauges and histograms the Prometheus format
//! differs in two points: it has no end mark, and a counter is declared by the name of its samples.
//! Source: prometheus.io/docs, "Exposition formats" and "Scrape protocol content negotiation".

use std::fmt;

use prometheus_client::{
    encoding::text::{encode, encode_registry},
    registry::Registry,
};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    OpenMetrics,
    Prometheus,
}

impl MetricsFormat {
    /// The format that an `Accept` header prefers; Prometheus if it names neither.
    pub(super) fn accepted(accept: &str) -> Self {
        let open_metrics = weight(accept, "application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= weight(accept, "text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// # Errors
    /// When a metric cannot be written.
    pub(super) fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut text = String::new();
        match self {
            Self::OpenMetrics => encode(&mut text, registry)?,
            Self::Prometheus => {
                encode_registry(&mut text, registry)?;
                text = declared_as_sampled(&text);
            }
        }
        Ok(text)
    }
}

/// The greatest weight of a media type in an `Accept` header; zero if the header does not name it.
fn weight(accept: &str, media: &str) -> f32 {
    let ranges = accept.split(',').map(|range| range.split(';'));
    let weights = ranges.filter_map(|mut range| {
        let named = range.next()?.trim().eq_ignore_ascii_case(media);
        let mut params = range.filter_map(|param| param.trim().split_once('='));
        let weight = params.find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let weight = weight.map_or(Some(1.0), |(_, weight)| weight.trim().parse().ok());
        weight.filter(|_| named)
    });
    weights.fold(0.0, f32::max)
}

/// The text with each counter declared by the name of its samples, `…_total`.
fn declared_as_sampled(text: &str) -> String {
    let declared = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("# TYPE ")?;
        rest.strip_suffix(" counter")
    });
    let counters: Vec<_> = declared.collect();
    let named = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let (Some("#"), Some(what), Some(name), rest) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return format!("{line}\n");
        };
        if counters.contains(&name) {
            format!("# {what} {name}_total {}\n", rest.unwrap_or_default())
        } else {
            format!("{line}\n")
        }
    };
    text.lines().map(named).collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::with_prefix("vsiflow");
        let runs: Counter = Counter::default();
        runs.inc();
        registry.register("runs", "Runs that ended", runs);
        registry.register("vsis", "VSIs by phase", Gauge::<i64>::default());
        registry
    }

    #[test]
    fn a_counter_is_declared_by_the_name_that_each_format_wants() {
        let plain = "# HELP vsiflow_runs_total Runs that ended.\n\
                     # TYPE vsiflow_runs_total counter\n\
                     vsiflow_runs_total 1\n\
                     # HELP vsiflow_vsis VSIs by phase.\n\
                     # TYPE vsiflow_vsis gauge\n\
                     vsiflow_vsis 0\n";
        assert_eq!(
            MetricsFormat::Prometheus.encode(&registry()).unwrap(),
            plain
        );
        let open = MetricsFormat::OpenMetrics.encode(&registry()).unwrap();
        assert!(open.contains("# TYPE vsiflow_runs counter\n"), "{open}");
        assert!(open.ends_with("# EOF\n"), "{open}");
    }

    #[test]
    fn a_scraper_gets_what_it_prefers() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            application/openmetrics-text;version=0.0.1;q=0.4,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, expected) in [
            (prometheus_3, MetricsFormat::OpenMetrics),
            ("Application/OpenMetrics-Text", MetricsFormat::OpenMetrics),
            (
                "application/openmetrics-text; q=0",
                MetricsFormat::Prometheus,
            ),
            (
                "application/openmetrics-text;q=oops",
                MetricsFormat::Prometheus,
            ),
            (
                "application/openmetrics-text;q=0.1, text/plain",
                MetricsFormat::Prometheus,
            ),
            ("text/plain;version=0.0.4", MetricsFormat::Prometheus),
            ("*/*", MetricsFormat::Prometheus),
            ("", MetricsFormat::Prometheus),
        ] {
            assert_eq!(MetricsFormat::accepted(accept), expected, "{accept}");
        }
    }
}
