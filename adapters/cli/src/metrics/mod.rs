//! Prometheus metrics of a daemon, and whether it is alive and ready.
//!
//! Counters follow the engine's notices from the start of the process; notices missed in a burst are not
//! counted. Hosts are polled only for the usage of guests (`guests`). A scrape never waits for a host, and
//! never delays the engine.

mod count;
mod format;
mod guests;
mod journal;
mod page;
mod tokens;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicBool};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

pub(crate) use count::follow;
pub(crate) use journal::Timed;
pub(crate) use page::{measure, serve};

/// Labels: a workflow, and the result of a run.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RunLabels {
    workflow: String,
    result: String,
}

/// Labels: a step, and the outcome of an attempt.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StepLabels {
    step: String,
    outcome: String,
}

/// Label: a step.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StepLabel {
    step: String,
}

/// Label: a workflow.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct WorkflowLabel {
    workflow: String,
}

/// Label: a phase of VSIs.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct PhaseLabel {
    phase: String,
}

/// Label: a host.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct HostLabel {
    host: String,
}

/// Labels: a VSI.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct VsiLabels {
    namespace: String,
    name: String,
}

/// Buckets from milliseconds to hours.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 4.0, 11))
}

/// Buckets for durable writes, which take from a fraction of a millisecond to seconds.
fn fine_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 16))
}

/// All metrics of a daemon.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) runs: Family<RunLabels, Counter>,
    pub(crate) run_seconds: Family<WorkflowLabel, Histogram, fn() -> Histogram>,
    pub(crate) steps: Family<StepLabels, Counter>,
    pub(crate) step_seconds: Family<StepLabel, Histogram, fn() -> Histogram>,
    pub(crate) retries: Family<StepLabel, Counter>,
    pub(crate) uploaded: Counter,
    pub(crate) append_seconds: Histogram,
    pub(crate) vsis: Family<PhaseLabel, Gauge>,
    pub(crate) reachable: Family<HostLabel, Gauge>,
    pub(crate) contract_days: Family<VsiLabels, Gauge>,
    guests: guests::Guests,
    /// Whether the engine is open.
    pub(crate) ready: AtomicBool,
    /// The health of the cluster connection; `None` if no cluster is served.
    connected: Mutex<Option<Arc<vsiflow_kube::Health>>>,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("vsiflow")),
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            steps: Family::default(),
            step_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            retries: Family::default(),
            uploaded: Counter::default(),
            append_seconds: fine_seconds(),
            vsis: Family::default(),
            reachable: Family::default(),
            contract_days: Family::default(),
            guests: guests::Guests::default(),
            ready: AtomicBool::new(false),
            connected: Mutex::default(),
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let all = &mut *registry;
        all.register("runs", "Runs that ended", self.runs.clone());
        let help = "How long runs took, in seconds";
        all.register("run_seconds", help, self.run_seconds.clone());
        all.register("steps", "Attempts of steps that ended", self.steps.clone());
        let step_help = "How long attempts of steps took that succeeded, in seconds";
        all.register("step_seconds", step_help, self.step_seconds.clone());
        let retry_help = "Attempts of steps that were not the first one";
        all.register("retries", retry_help, self.retries.clone());
        let upload_help = "Bytes of images that were uploaded";
        all.register("upload_bytes", upload_help, self.uploaded.clone());
        let append_help = "How long it took until a batch was durable in the journal, in seconds";
        all.register(
            "journal_append_seconds",
            append_help,
            self.append_seconds.clone(),
        );
        all.register("vsis", "VSIs by phase", self.vsis.clone());
        let reachable_help = "Whether a host answered the last scan";
        all.register("host_reachable", reachable_help, self.reachable.clone());
        let days_help = "Days until the certificate ends that signs a contract";
        all.register("contract_days_left", days_help, self.contract_days.clone());
        all.register_collector(Box::new(self.guests.clone()));
        all.register_collector(Box::new(tokens::RefusedTokens));
    }

    /// Polls the usage of guests on hosts, forever.
    pub(crate) async fn poll_guests(&self, fleet: &vsiflow_workflows::fleet::Fleet) {
        self.guests.keep(fleet).await;
    }

    /// Sets the health of the connection to the served cluster.
    pub(crate) fn connect(&self, health: Arc<vsiflow_kube::Health>) {
        *self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(health);
    }

    fn health(&self) -> Option<Arc<vsiflow_kube::Health>> {
        let connected = self.connected.lock();
        connected.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_connected(&self) -> bool {
        self.health().is_none_or(|health| health.is_connected())
    }

    /// The part that has work to do for a cluster and makes no progress, if any.
    fn stuck(&self) -> Option<String> {
        self.health()?.stuck()
    }
}
