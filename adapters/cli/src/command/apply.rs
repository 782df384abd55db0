//! `apply`: brings VSIs and other objects to the state that documents describe.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use vsiflow_api::{
    ActEffect, ActedObject, ApplyRequest, AwaitedObject, DocumentNotes, DocumentedChange,
    ForeseenWork, JournalUse, OutcomesRequest, PlanRequest, PlannedDocuments, PrunedObject,
    TableRequest,
};
use vsiflow_workflows::{
    fleet::Change,
    kinds::{NameScope, ObjectKind, ObjectRow, TableQuery},
};

use super::{
    acting::{self, Acted, ActedTarget, Action, ActionReport, FollowUp, Turn},
    delete,
};
use crate::{
    args::{ApplyArgs, Common, OutputFormat, PruneArgs, WaitArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, table},
    service::{self, ServiceSession},
    work,
};

/// How many objects one request names: their names fit into a body of 64 KiB.
const NAMED_AT_ONCE: usize = 250;

pub(super) async fn run(common: &Common, args: ApplyArgs) -> CommandOutcome {
    let mut documents = work::sent(common, &args.sources).await?;
    documents.upload_limit = args.upload.upload_limit;
    let prune = most_pruned(&args.prune);
    if args.dry_run {
        let request = PlanRequest {
            documents,
            dry_run: true,
            prune,
            ..PlanRequest::default()
        };
        return Box::pin(dry_run(common, request, args.output)).await;
    }
    let request = ApplyRequest {
        documents,
        prune,
        reason: common.reason.clone(),
        ..ApplyRequest::default()
    };
    carry_out(common, request, args.wait, args.output).await
}

/// How many objects may be pruned; `None` if nothing is.
fn most_pruned(args: &PruneArgs) -> Option<usize> {
    args.prune.then_some(args.prune_limit)
}

/// Has documents applied, and waits for the results.
pub(super) async fn carry_out(
    common: &Common,
    request: ApplyRequest,
    wait: WaitArgs,
    format: Option<OutputFormat>,
) -> CommandOutcome {
    work::check_before_state(common, &request.documents).await?;
    let action = Action {
        request,
        selection: None,
        follow_up: &AppliedReport { wait, format },
    };
    acting::carry_out(common, &action).await
}

/// Has the desired state of a session applied, and waits for the results.
pub(super) async fn bring(
    session: ServiceSession,
    common: &Common,
    wait: WaitArgs,
    format: Option<OutputFormat>,
) -> CommandOutcome {
    let request = ApplyRequest {
        reason: common.reason.clone(),
        ..ApplyRequest::default()
    };
    let done = async {
        let acted = Acted::of(session.call(request).await?)?;
        let report = AppliedReport { wait, format };
        report.follow(common, &session, &acted, Turn::First).await
    };
    let exit = Box::pin(done).await;
    session.close().await;
    exit
}

/// Says what was applied, waits, and prints the objects if they are asked for.
struct AppliedReport {
    wait: WaitArgs,
    format: Option<OutputFormat>,
}

#[async_trait]
impl FollowUp for AppliedReport {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        let work = Box::pin(self.bring(common, session, acted, turn));
        let exit = match self.format {
            Some(_) => output::aside(work).await?,
            None => work.await?,
        };
        let applied = acted.targets.iter();
        let applied: Vec<_> = applied
            .filter(|one| one.object.documented.is_some())
            .collect();
        report_warnings(session, &applied).await?;
        match self.format {
            None => {}
            Some(OutputFormat::Name) => {
                let shown = applied.iter().map(|one| one.target.shown());
                shown.for_each(|name| output::line(&name));
            }
            Some(format) if session.is_outdated() => {
                let now = Box::pin(ServiceSession::open(common, JournalUse::Read)).await?;
                let printed = print_objects(&now, &applied, format).await;
                now.close().await;
                printed?;
            }
            Some(format) => print_objects(session, &applied, format).await?,
        }
        Ok(exit)
    }
}

impl AppliedReport {
    async fn bring(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        if turn == Turn::First {
            self.report(acted);
        }
        let (applied, pruned): (Vec<_>, Vec<_>) = acted
            .targets
            .iter()
            .partition(|one| is_applied(&one.object));
        let (waiting, going): (Vec<_>, Vec<_>) = applied
            .into_iter()
            .partition(|one| one.object.effect == ActEffect::AwaitsApproval);
        let is_left = acted.is_left_to_others(&self.wait) && session.worked_on().is_none();
        let mut exit = Exit::Done;
        if !is_left {
            exit = self.outcomes(common, session, going, pruned).await?;
        }
        if !waiting.is_empty() {
            exit = exit.max(Exit::Blocked);
        }
        Ok(exit)
    }

    /// Says what was recorded.
    fn report(&self, acted: &Acted) {
        report_notes(&acted.notes);
        let objects = acted.targets.iter().map(|one| &one.object);
        let (applied, gone): (Vec<_>, Vec<_>) = objects
            .chain(&acted.finished)
            .partition(|object| is_applied(object));
        if applied.is_empty() && acted.notes.pruned.is_empty() && !acted.has_problems() {
            output::note("nothing is recorded: the documents describe no object");
        }
        applied.iter().for_each(|object| print_result(object, ""));
        report_unused(&acted.notes);
        let waiting = applied.iter();
        waiting
            .filter(|object| object.effect == ActEffect::AwaitsApproval)
            .for_each(|object| report_waiting(object));
        for object in &acted.notes.pruned {
            output::note(&format!("{object} is pruned: it no longer has a document"));
        }
        for object in gone {
            if object.uid.is_empty() {
                delete::say_finished(object);
            } else {
                delete::say_retained(object);
            }
        }
    }

    /// Waits for what is applied, and then for what is pruned.
    async fn outcomes(
        &self,
        common: &Common,
        session: &ServiceSession,
        going: Vec<&ActedTarget>,
        pruned: Vec<&ActedTarget>,
    ) -> CommandOutcome {
        let begun = Instant::now();
        let of_applied = ActionReport {
            wait: self.wait.clone(),
            ..ActionReport::default()
        };
        let exit = acting::await_outcomes(common, &of_applied, session, going).await?;
        let of_pruned = ActionReport {
            wait: remaining(&self.wait, begun),
            done: work::DELETED,
            ..ActionReport::default()
        };
        let deleted = acting::await_outcomes(common, &of_pruned, session, pruned).await?;
        Ok(exit.max(deleted))
    }
}

/// The rest of a wait that began at `begun`.
fn remaining(wait: &WaitArgs, begun: Instant) -> WaitArgs {
    let left = |timeout: Duration| timeout.saturating_sub(begun.elapsed());
    WaitArgs {
        wait: wait.wait,
        timeout: wait.timeout.map(left),
    }
}

/// Whether it is an object of the documents; others are pruned.
fn is_applied(object: &ActedObject) -> bool {
    object.documented.is_some()
}

fn report_notes(notes: &DocumentNotes) {
    output::diagnostics(&notes.findings);
    for host in &notes.unverified_hosts {
        output::warning(&format!(
            "host {host}: any host key is accepted (INSECURE_SKIP_HOST_KEY); a machine in between can read the contract"
        ));
    }
    for object in &notes.not_packed {
        output::note(&format!(
            "{object} was not packed, since it holds secrets; name the site's own with -f if it is needed"
        ));
    }
}

/// Reports the networks that are not made yet: otherwise their documents would seem to have an effect.
fn report_unused(notes: &DocumentNotes) {
    for network in &notes.unused_networks {
        work::report_not_made(&network.namespace, &network.name);
    }
}

fn report_waiting(object: &ActedObject) {
    let label = label_of(object);
    if let Some(plan) = &object.plan {
        output::plan::changes(plan);
    }
    let kind = object.kind.word();
    let word = match object.kind {
        ObjectKind::Vsi => label.clone(),
        _ => format!("{kind}/{label}"),
    };
    output::note(&format!(
        "{kind}/{label} waits for approval: `vsiflow approve {word}` approves it"
    ));
}

fn label_of(object: &ActedObject) -> String {
    work::label(&object.namespace, &object.name)
}

fn print_result(object: &ActedObject, note: &str) {
    let Some(documented) = &object.documented else {
        return;
    };
    let what = match documented.change {
        Change::Created => "created",
        Change::Configured => "configured",
        Change::Unchanged => "unchanged",
    };
    let fields: Vec<_> = documented
        .fields
        .iter()
        .map(|field| field.path.as_str())
        .collect();
    let fields = if fields.is_empty() {
        String::new()
    } else {
        format!(": {}", fields.join(", "))
    };
    let (kind, label) = (object.kind.word(), label_of(object));
    output::line(&format!("{kind}/{label} {what}{note}{fields}"));
    if documented.contract_put_back {
        output::warning(&format!(
            "vsi/{label}: the contract it was made from is no longer stored; this document's is \
             taken for it"
        ));
    }
    for missing in documented.missing_text() {
        output::warning(&format!("vsi/{label}: {missing}"));
    }
}

/// Prints the warnings about contracts, and those of guests.
async fn report_warnings(
    session: &ServiceSession,
    targets: &[&ActedTarget],
) -> Result<(), ExitProblem> {
    let vsis = targets.iter().filter(|one| one.target.is_vsi());
    let vsis: Vec<_> = vsis.collect();
    for piece in vsis.chunks(NAMED_AT_ONCE) {
        let objects = piece.iter().map(|one| AwaitedObject {
            kind: one.object.kind,
            uid: one.object.uid.clone(),
            journal: one.object.journal,
        });
        let request = OutcomesRequest {
            objects: objects.collect(),
            wait_seconds: 0,
            warnings: true,
        };
        let outcomes = session.call(request).await?.outcomes;
        for (one, outcome) in piece.iter().zip(outcomes) {
            for warning in outcome.warnings {
                output::warning(&format!("{}: {warning}", one.target.shown()));
            }
        }
    }
    Ok(())
}

/// Prints the objects that were applied, without those that hosts are asked for, such as networks: `get` shows them.
async fn print_objects(
    session: &ServiceSession,
    targets: &[&ActedTarget],
    format: OutputFormat,
) -> Result<(), ExitProblem> {
    let (mut values, mut tables) = (Vec::new(), Vec::new());
    for kind in ObjectKind::ALL {
        let of_kind = targets.iter().filter(|one| one.object.kind == *kind);
        let names: Vec<_> = of_kind.map(|one| full_name(&one.object)).collect();
        if kind.asks_hosts() {
            continue;
        }
        for piece in names.chunks(NAMED_AT_ONCE) {
            let query = TableQuery {
                names: piece.to_vec(),
                wide: format == OutputFormat::Wide,
                objects: format != OutputFormat::Wide,
                ..TableQuery::default()
            };
            let listed = session.call(TableRequest::now(*kind, query)).await?.table;
            if format == OutputFormat::Wide {
                let form = table::TableForm::wide(true);
                let shown = table::objects(&listed.columns, &listed.rows, form);
                tables.push((kind, shown));
            } else {
                values.extend(listed.rows);
            }
        }
    }
    match format {
        OutputFormat::Wide if tables.is_empty() => output::note("No objects found."),
        OutputFormat::Wide => {
            let print = |(kind, shown): (&ObjectKind, table::Table)| {
                output::table(&shown, kind.words().plural);
            };
            tables.into_iter().for_each(print);
        }
        format => match in_order(targets, values).as_slice() {
            [value] => output::print(value, format)?,
            several => output::print(&output::list(several), format)?,
        },
    }
    Ok(())
}

/// The objects of rows, in the order of the targets.
fn in_order(targets: &[&ActedTarget], rows: Vec<ObjectRow>) -> Vec<serde_json::Value> {
    let place = |row: &ObjectRow| {
        let uid = row.uid.as_deref();
        targets
            .iter()
            .position(|one| Some(one.object.uid.as_str()) == uid)
    };
    let mut placed: Vec<_> = rows.into_iter().map(|row| (place(&row), row)).collect();
    placed.sort_by_key(|(position, _)| *position);
    let objects = placed.into_iter().map(|(_, row)| row.object);
    objects.flatten().collect()
}

fn full_name(object: &ActedObject) -> String {
    match object.kind.names() {
        NameScope::Namespace => format!("{}/{}", object.namespace, object.name),
        NameScope::Journal | NameScope::Host => object.name.clone(),
    }
}

/// Prints what documents would change.
pub(super) async fn dry_run(
    common: &Common,
    request: PlanRequest,
    format: Option<OutputFormat>,
) -> CommandOutcome {
    let planned = service::call(common, request).await?;
    let show = async {
        report_notes(&planned.notes);
        if format.is_none() {
            for (object, documented) in planned.changes() {
                print_result(object, " (dry run)");
                // What waits for approval is reported with its losses.
                if let (false, Some(plan)) = (documented.awaits_approval, &object.plan) {
                    output::plan::losses(plan);
                }
            }
            report_unused(&planned.notes);
        }
        let exit = foresee(&planned)?;
        Ok(exit.max(report_candidates(&planned.notes.pruned, format.is_some())))
    };
    let Some(format) = format else {
        return show.await;
    };
    output::print(&planned.foretold(), format)?;
    output::aside(show).await
}

/// Reports what would wait for approval, which images in files could not be used, and what hosts would refuse; returns the
/// exit. Journals that did not answer are reported as well.
pub(super) fn foresee(planned: &PlannedDocuments) -> CommandOutcome {
    let mut exit = Exit::Done;
    for (object, documented) in planned.changes() {
        if documented.awaits_approval {
            report_waiting(object);
            exit = exit.max(Exit::Blocked);
        }
        exit = exit.max(report_foreseen(object, documented));
    }
    let problems = planned.problems.iter().cloned();
    Ok(exit.max(output::worst(problems.map(|problem| Err(problem.into())))))
}

/// Reports what was looked at before an object is changed; returns the exit.
pub(super) fn report_foreseen(object: &ActedObject, documented: &DocumentedChange) -> Exit {
    let name = format!("{}/{}", object.kind.word(), label_of(object));
    let exits = documented.foreseen.iter().map(|foreseen| {
        let what = match foreseen.work {
            ForeseenWork::Made => "made (dry run)",
            ForeseenWork::Changed => "changed (dry run)",
            ForeseenWork::Rebuilt => "rebuilt (dry run)",
            ForeseenWork::Configured => "configured (dry run)",
        };
        output::foreseen_problem(&name, what, foreseen.problem.clone().map(ExitProblem::from))
    });
    exits.max().unwrap_or(Exit::Done)
}

/// Prints what would be deleted, and what its host would refuse; returns the exit. With `quiet` only refusals are
/// printed.
fn report_candidates(pruned: &[PrunedObject], quiet: bool) -> Exit {
    let mut exit = Exit::Done;
    for object in pruned {
        let stays = match (object.keeps_volume, object.kind) {
            (false, _) => "",
            (true, ObjectKind::Vsi) => "; everything on its host stays",
            (true, _) => "; its volume stays",
        };
        let refusal = object.problem.clone().map(ExitProblem::from);
        if refusal.is_some() || !quiet {
            let disks = if object.data_disks.is_empty() {
                String::new()
            } else {
                format!(", with the data disks {}", object.data_disks.join(", "))
            };
            let what = format!("deleted{stays}{disks} (dry run)");
            let name = object.to_string();
            exit = exit.max(output::foreseen_problem(&name, &what, refusal));
        }
    }
    exit
}
