//! `/healthz`, `/readyz` and `/metrics` over HTTP.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::ACCEPT, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use vsiflow_api::{METRICS, Security};
use vsiflow_workflows::fleet::Fleet;

use super::{HostLabel, Metrics, PhaseLabel, VsiLabels, format::MetricsFormat};

/// How often values that are not counted are measured.
const INTERVAL: Duration = Duration::from_secs(15);
/// Contracts expire in days, and reading all of them takes long. So they are measured once in this
/// many rounds, and whenever the number of VSIs in a phase changes.
const CONTRACTS_EVERY: u64 = 20;
/// A day.
const DAY: u64 = 86_400;

/// Listens at an address, and answers as long as it is polled.
///
/// # Errors
/// When the address is in use, or does not belong to this machine.
pub(crate) async fn serve(metrics: Arc<Metrics>, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let pages = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .with_state(metrics);
    let pages = TowerToHyperService::new(pages);
    match vsiflow_api::serve(listener, Security::Plain, pages, METRICS).await {}
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    let open = metrics.ready.load(Ordering::Relaxed);
    match (open, metrics.is_connected(), metrics.stuck()) {
        (true, true, None) => (StatusCode::OK, "ok\n"),
        (false, _, _) => (StatusCode::SERVICE_UNAVAILABLE, "the engine is not open\n"),
        (true, false, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server does not answer\n",
        ),
        (true, true, Some(_)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "resources are not worked on: a part of the process is stuck\n",
        ),
    }
}

async fn measured(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get_all(ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = MetricsFormat::accepted(&accept.join(","));
    let registry = metrics
        .registry
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match format.encode(&registry) {
        Ok(text) => Ok(([(CONTENT_TYPE, format.content_type())], text)),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Repeatedly measures what is not counted: VSIs, hosts, contracts.
pub(crate) async fn measure(metrics: Arc<Metrics>, fleet: Fleet) {
    let mut before = None;
    for round in 0_u64.. {
        let phases = Some(fleet.phases());
        let contracts = round.is_multiple_of(CONTRACTS_EVERY) || phases != before;
        before = phases;
        if let Err(error) = once(&metrics, &fleet, contracts).await {
            tracing::warn!("the metrics are out of date: {error}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn once(
    metrics: &Metrics,
    fleet: &Fleet,
    contracts: bool,
) -> Result<(), vsiflow_workflows::fleet::FleetError> {
    let phases = fleet.phases();
    let hosts = fleet.hosts().list().await?;
    let ends = if contracts {
        Some(fleet.vsis().contract_ends().await?)
    } else {
        None
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_s = now.unwrap_or_default().as_secs();
    // Whoever reads the page takes this lock, and so never sees a family that is filled in part.
    let _unread = metrics
        .registry
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    metrics.vsis.clear();
    for (phase, count) in phases {
        let labels = PhaseLabel {
            phase: phase.to_string(),
        };
        metrics.vsis.get_or_create(&labels).set(count);
    }
    metrics.reachable.clear();
    for host in hosts {
        let reachable = host.message.is_none();
        let labels = HostLabel { host: host.name };
        metrics
            .reachable
            .get_or_create(&labels)
            .set(i64::from(reachable));
    }
    let Some(ends) = ends else {
        return Ok(());
    };
    metrics.contract_days.clear();
    for (namespace, name, end_s) in ends {
        let days = end_s.saturating_sub(now_s) / DAY;
        let labels = VsiLabels { namespace, name };
        let days = i64::try_from(days).unwrap_or(i64::MAX);
        metrics.contract_days.get_or_create(&labels).set(days);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_is_of_an_engine_that_is_open() {
        let metrics = Metrics::new();
        assert_eq!(
            ready(State(metrics.clone())).await.0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        metrics.ready.store(true, Ordering::Relaxed);
        assert_eq!(ready(State(metrics)).await.0, StatusCode::OK);
    }
}
