//! `apply`: brings VSIs and other objects to the state that documents describe.

use std::{collections::BTreeSet, time::Instant};

use vsiflow_workflows::{
    fleet::{Applied, Change, LeftOut},
    record::kind,
    spec::{HostSettings, Resolved},
};

use super::prune;
use crate::{
    actor,
    args::{ApplyArgs, Common, OutputFormat, WaitArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    shards::local_documents,
    work::{self, Target},
};

pub(super) async fn run(common: &Common, args: ApplyArgs) -> CommandOutcome {
    let read = work::documents(common, &args.sources);
    let mut resolved = read.await?;
    resolved.directory = work::directory();
    for host in resolved.hosts.values_mut() {
        work::limit_uploads(&args.upload, host);
    }
    warn_of_insecure(resolved.hosts.values());
    let app = App::open_to_work(common).await?;
    if let Some(shard) = app.shard() {
        local_documents::keep(shard, &mut resolved).await?;
    }
    let left_out = prune::left_out(&app, &args.prune, &resolved).await?;
    if args.dry_run {
        return dry_run(&app, &resolved, &left_out, args.output).await;
    }
    bring_and_print(app, common, &args.wait, args.output, (resolved, left_out)).await
}

/// Applies documents, and waits for the results.
pub(super) async fn bring_documents(
    app: App,
    common: &Common,
    wait: &WaitArgs,
    format: Option<OutputFormat>,
    resolved: Resolved,
) -> CommandOutcome {
    warn_of_insecure(resolved.hosts.values());
    bring_and_print(app, common, wait, format, (resolved, Vec::new())).await
}

async fn bring_and_print(
    app: App,
    common: &Common,
    wait: &WaitArgs,
    format: Option<OutputFormat>,
    (resolved, left_out): (Resolved, Vec<LeftOut>),
) -> CommandOutcome {
    let work = Box::pin(bring(&app, common, wait, resolved, left_out));
    let (exit, applied) = match format {
        Some(_) => output::aside(work).await?,
        None => work.await?,
    };
    let targets: Vec<_> = applied.iter().filter_map(target).collect();
    report_warnings(&app, &targets).await?;
    if let Some(format) = format {
        work::print_objects(&app, &targets, format).await?;
    }
    app.close().await;
    Ok(exit)
}

/// Applies and prunes everything, and waits for the results.
async fn bring(
    app: &App,
    common: &Common,
    wait: &WaitArgs,
    resolved: Resolved,
    left_out: Vec<LeftOut>,
) -> Result<(Exit, Vec<Applied>), ExitProblem> {
    let begun = Instant::now();
    let unused = unused_networks(app, &resolved);
    let by = actor::by(&common.reason);
    let applied = Box::pin(local_documents::apply(app, common, resolved, by)).await?;
    applied.iter().for_each(|one| print_result(one, ""));
    report_unused(&unused, &applied);
    let (waiting, going): (Vec<_>, Vec<_>) = applied.iter().partition(|one| one.awaits_approval);
    waiting.iter().for_each(|one| report_waiting(one));
    let pruned = prune::prune(app, common, left_out).await?;
    let targets: Vec<_> = going.into_iter().filter_map(target).collect();
    let until = work::Until::Decided;
    let mut exit = work::until_decided(app, common, wait, &targets, until, "").await?;
    let rest = prune::remaining_wait(wait, begun);
    exit = exit.max(work::until_decided(app, common, &rest, &pruned, until, work::DELETED).await?);
    if !waiting.is_empty() {
        exit = exit.max(Exit::Blocked);
    }
    Ok((exit, applied))
}

/// Namespaces and names of the networks that nothing in the documents uses. A journal of a set has only a
/// part of the documents, so it reports none.
fn unused_networks(app: &App, resolved: &Resolved) -> Vec<(String, String)> {
    if app.shard().is_some() {
        return Vec::new();
    }
    let unused = resolved.unused_networks();
    unused
        .map(|network| (network.namespace.clone(), network.name.clone()))
        .collect()
}

/// Reports the networks that are not made yet: otherwise their documents would seem to have an effect.
fn report_unused(unused: &[(String, String)], applied: &[Applied]) {
    let is_there = |(namespace, name): &(String, String)| {
        let mut networks = applied.iter().filter(|one| one.kind == kind::NETWORK);
        networks.any(|one| one.namespace == *namespace && one.name == *name)
    };
    let all = unused.iter().filter(|one| !is_there(one));
    all.for_each(|(namespace, name)| work::report_not_made(namespace, name));
}

fn report_waiting(one: &Applied) {
    let label = work::label(&one.namespace, &one.name);
    output::plan::changes(&one.plan);
    let kind = one.kind;
    let word = match kind {
        kind::POOL | kind::GROUP => format!("{kind}/{label}"),
        _ => label.clone(),
    };
    output::note(&format!(
        "{kind}/{label} waits for approval: `vsiflow approve {word}` approves it"
    ));
}

/// Prints the warnings about contracts, and the warnings of guests.
async fn report_warnings(app: &App, targets: &[Target]) -> Result<(), ExitProblem> {
    for target in targets.iter().filter(|target| target.is_vsi()) {
        for warning in app.fleet.history().warnings(&target.entity).await? {
            output::warning(&format!("vsi/{}: {warning}", target.label()));
        }
    }
    Ok(())
}

/// Prints what documents would change.
pub(super) async fn dry_run(
    app: &App,
    resolved: &Resolved,
    left_out: &[LeftOut],
    format: Option<OutputFormat>,
) -> CommandOutcome {
    let applied = app.fleet.apply_dry(resolved).await?;
    match format {
        Some(format) => output::print(&applied_json(&applied, left_out), format)?,
        None => {
            for one in &applied {
                print_result(one, " (dry run)");
                // What waits for approval is reported with its losses.
                if !one.awaits_approval {
                    output::plan::losses(&one.plan);
                }
            }
            report_unused(&unused_networks(app, resolved), &applied);
        }
    }
    let quiet = format.is_some();
    let obstacles = Box::pin(async {
        let exit = report_obstacles(app, resolved, &applied).await?;
        let pruned = prune::report_candidates(app, left_out, quiet).await?;
        Ok::<_, ExitProblem>(exit.max(pruned))
    });
    let exit = if quiet {
        output::aside(obstacles).await?
    } else {
        obstacles.await?
    };
    app.close().await;
    Ok(exit)
}

/// What the documents would meet; see [`report_obstacles`].
pub(super) async fn foresee(app: &App, resolved: &Resolved) -> CommandOutcome {
    let applied = app.fleet.apply_dry(resolved).await?;
    report_obstacles(app, resolved, &applied).await
}

/// Reports what would wait for approval, which images in files could not be used, and which rebuilds a host would
/// refuse; returns the exit.
async fn report_obstacles(
    app: &App,
    resolved: &Resolved,
    applied: &[Applied],
) -> Result<Exit, ExitProblem> {
    let mut exit = report_unfit_images(app, resolved, applied).await;
    for one in applied {
        if one.awaits_approval {
            report_waiting(one);
            exit = exit.max(Exit::Blocked);
        }
        let destroyed = one.plan.destroys.iter();
        let doomed_objects: BTreeSet<_> =
            destroyed.filter_map(|lost| lost.doomed.as_ref()).collect();
        for doomed in doomed_objects {
            let refusal = app.fleet.doomed_refusal(doomed).await?;
            if refusal.is_some() {
                let object = format!("{}/{}", one.kind, work::label(&one.namespace, &one.name));
                let what = match one.kind {
                    kind::VSI => "rebuilt (dry run)",
                    _ => "configured (dry run)",
                };
                exit = exit.max(output::foreseen(&object, what, refusal));
            }
        }
    }
    Ok(exit)
}

/// Reports which images in files could not be used; returns the exit.
pub(super) async fn report_unfit_images(
    app: &App,
    resolved: &Resolved,
    applied: &[Applied],
) -> Exit {
    let mut exit = Exit::Done;
    for unfit in app.fleet.unfit_images(resolved, applied).await {
        let label = work::label(&unfit.namespace, &unfit.name);
        let what = if unfit.is_new {
            "made (dry run)"
        } else {
            "changed (dry run)"
        };
        let object = format!("{}/{label}", unfit.kind);
        exit = exit.max(output::foreseen(&object, what, Some(unfit.failure)));
    }
    exit
}

fn applied_json(applied: &[Applied], left_out: &[LeftOut]) -> serde_json::Value {
    let items = applied.iter().map(|one| {
        serde_json::json!({
            "kind": one.kind,
            "metadata": {"name": one.name, "namespace": one.namespace},
            "change": one.change,
            "fields": one.fields,
            "awaitsApproval": one.awaits_approval,
        })
    });
    let pruned = left_out.iter().map(|one| {
        serde_json::json!({
            "kind": one.kind,
            "metadata": {"name": one.name, "namespace": one.namespace},
            "change": "pruned",
            "dataDisks": one.data_disks,
        })
    });
    let items: Vec<_> = items.chain(pruned).collect();
    serde_json::json!({"kind": "List", "apiVersion": "v1", "items": items})
}

fn print_result(applied: &Applied, note: &str) {
    let what = match applied.change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged => "unchanged",
    };
    let fields: Vec<_> = applied
        .fields
        .iter()
        .map(|field| field.path.as_str())
        .collect();
    let fields = if fields.is_empty() {
        String::new()
    } else {
        format!(": {}", fields.join(", "))
    };
    let label = work::label(&applied.namespace, &applied.name);
    output::line(&format!("{}/{label} {what}{note}{fields}", applied.kind));
    if applied.contract_put_back {
        output::warning(&format!(
            "vsi/{label}: the contract it was made from is no longer stored; this document's is \
             taken for it"
        ));
    }
    for missing in applied.missing_text() {
        output::warning(&format!("vsi/{label}: {missing}"));
    }
}

fn target(applied: &Applied) -> Option<Target> {
    let entity = applied.entity.clone()?;
    Some(Target {
        entity,
        namespace: applied.namespace.clone(),
        name: applied.name.clone(),
    })
}

fn warn_of_insecure<'a>(hosts: impl Iterator<Item = &'a HostSettings>) {
    for host in hosts.filter(|host| host.record.is_insecure()) {
        output::warning(&format!(
            "host {}: any host key is accepted (INSECURE_SKIP_HOST_KEY); a machine in between can read the contract",
            host.id()
        ));
    }
}
