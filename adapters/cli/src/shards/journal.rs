//! Works on one journal of a set while this process has its lease: runs the engine and all services beside
//! it.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vsiflow_postgres::{Held, seal::Sealer};

use super::{
    DECIDES, Membership, answering::answer, cluster::SharedCluster, journal_holder::JournalHolder,
    members, view::HeldJournals,
};
use crate::{
    args::{Common, ServeArgs},
    compose::{App, Right, database},
    ending::{exit_at_once, not_panicking},
    exit::{CommandOutcome, Exit, ExitProblem},
    metrics::{self, Metrics},
    output::{self, serving::report_images},
    serving::traces,
    work::{keep_current, tell},
};

/// What the service of each journal needs.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) args: Arc<ServeArgs>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sealer: Sealer,
    pub(super) own: HeldJournals,
    /// The cluster whose resources are served, if any.
    pub(super) cluster: Option<SharedCluster>,
}

/// Works on a journal until it is stopped, then releases the lease so that another process can take
/// it immediately. A lost lease ends the process.
pub(super) async fn keep(
    service: Service,
    common: Common,
    shard: Membership,
    held: Arc<Held>,
    stop: CancellationToken,
) -> CommandOutcome {
    let lease = held.lease();
    let right = Right {
        lease: None,
        held: Some(held.clone()),
    };
    let work = Box::pin(open_and_serve(&service, &common, &shard, right, &stop));
    let exit = tokio::select! {
        biased;
        () = lease.ended() => return Ok(exit_at_once()),
        _ = held.keep() => return Ok(exit_at_once()),
        exit = not_panicking(work) => exit,
    };
    if lease.check().is_err() {
        return Ok(exit_at_once());
    }
    held.release().await;
    exit
}

async fn open_and_serve(
    service: &Service,
    common: &Common,
    shard: &Membership,
    right: Right,
    stop: &CancellationToken,
) -> CommandOutcome {
    let held = right.held.clone();
    let quiet = held.as_ref().map(|held| held.quiet());
    let bounds = service.cluster.as_ref().map(SharedCluster::bounds);
    let bounds = bounds.unwrap_or_default();
    let app = App::open_to_serve(common, right, service.metrics.clone(), bounds).await?;
    let Some(held) = held else {
        return Err(ExitProblem::defect("a journal is served without its right"));
    };
    let holder = Arc::new(JournalHolder {
        sealer: service.sealer.clone(),
        app: app.clone(),
        shard: shard.clone(),
        held,
        common: common.clone(),
        decided: service.cluster.as_ref().map(SharedCluster::decided),
        // The same moment as in the ports of hosts, or a little later.
        acts_from: Instant::now() + quiet.unwrap_or_default(),
    });
    let settled = shard.set().settle_all_names(shard.number).await;
    settled.map_err(database::problem)?;
    if shard.number == DECIDES {
        let limited = app.fleet.quotas().namespaces().await?;
        let retained = shard.set().retain_limits(&holder.held, &limited).await;
        retained.map_err(database::problem)?;
        let (set, set_held) = (shard.set().clone(), holder.held.clone());
        let journals = members::Journals::new(set, service.sealer.clone(), set_held);
        app.fleet.pools().reach_over(Arc::new(journals));
    }
    let own = service.own.works_on(shard.number, &app);
    output::note(&format!("serving journal {}", shard.number));
    let counted = metrics::follow(service.metrics.clone(), app.fleet.notices());
    let every = service.args.prune_images_every;
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(Exit::Done),
        ended = tell(&app, common) => ended,
        ended = drive(&app, &service.args) => ended,
        never = app.fleet.images().run_policies(every, report_images) => match never {},
        never = app.fleet.images().record_upload_progress() => match never {},
        ended = answer(holder.clone()) => ended,
        ended = resources(service.cluster.as_ref(), &holder) => Err(ended),
        ended = Box::pin(traces::keep(&app, service.args.otlp_endpoint.as_ref())) => Err(ended),
        () = async { counted.await; std::future::pending::<()>().await } => Ok(Exit::Done),
    };
    drop(own);
    app.close().await;
    outcome
}

/// Serves the journal's share of a cluster, if any is served.
async fn resources(cluster: Option<&SharedCluster>, holder: &Arc<JournalHolder>) -> ExitProblem {
    match cluster {
        Some(cluster) => cluster.serve(holder).await,
        None => std::future::pending().await,
    }
}

async fn drive(app: &App, args: &ServeArgs) -> CommandOutcome {
    app.fleet.drive_all().await?;
    keep_current(app, args.look_every).await
}
