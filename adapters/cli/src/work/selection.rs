//! Finds the objects of a command that selects them, and confirms destructive commands.

use serde::Serialize;
use vsiflow_engine::model::{EntityId, Name};
use vsiflow_workflows::{
    fleet::{DiskObject, GroupObject, Metadata, PoolObject, VsiObject},
    phase::Phase,
    record::kind,
};

use super::{Target, is_agreed, targets_named};
use crate::{
    args::{DestroyArgs, Selection, Targets},
    compose::App,
    exit::{Exit, ExitProblem},
    output,
};

/// The VSIs that were named or selected.
pub(crate) async fn chosen(app: &App, targets: &Targets) -> Result<Vec<Target>, ExitProblem> {
    if targets.names.is_empty() {
        selected(app, &targets.namespace, &targets.selection).await
    } else {
        targets_named(app, &targets.namespace, &targets.names).await
    }
}

/// The VSIs in a namespace that match a selection.
pub(crate) async fn selected(
    app: &App,
    namespace: &str,
    selection: &Selection,
) -> Result<Vec<Target>, ExitProblem> {
    vsis_among(&app.fleet.vsis().list(false).await?, namespace, selection)
}

/// The VSIs that match, out of these. One that cannot be read is skipped with a warning and does not affect
/// the others.
pub(crate) fn vsis_among(
    objects: &[VsiObject],
    namespace: &str,
    selection: &Selection,
) -> Result<Vec<Target>, ExitProblem> {
    let mut targets = Vec::new();
    for object in objects {
        if !is_selected(object, &object.metadata, namespace, selection)? {
            continue;
        }
        if object.status.phase == Phase::Unreadable {
            let name = &object.metadata.name;
            output::warning(&format!(
                "vsi/{name} is left out: it cannot be read (VSI0018)"
            ));
            continue;
        }
        targets.push(target(kind::VSI, &object.metadata)?);
    }
    Ok(noting_none(targets, "VSIs", namespace))
}

/// The data disks that match a selection. Disks that VSIs only refer to are not managed, and are left out.
pub(crate) fn disks_among(
    objects: &[DiskObject],
    namespace: &str,
    selection: &Selection,
) -> Result<Vec<Target>, ExitProblem> {
    let mut targets = Vec::new();
    for object in objects {
        let is_made = !object.metadata.uid.is_empty();
        if is_made && is_selected(object, &object.metadata, namespace, selection)? {
            targets.push(target(kind::DISK, &object.metadata)?);
        }
    }
    Ok(noting_none(targets, "data disks", namespace))
}

/// The pools that match a selection.
pub(crate) fn pools_among(
    objects: &[PoolObject],
    namespace: &str,
    selection: &Selection,
) -> Result<Vec<Target>, ExitProblem> {
    let mut targets = Vec::new();
    for object in objects {
        if is_selected(object, &object.metadata, namespace, selection)? {
            targets.push(target(kind::POOL, &object.metadata)?);
        }
    }
    Ok(noting_none(targets, "pools", namespace))
}

/// The groups that match a selection.
pub(crate) fn groups_among(
    objects: &[GroupObject],
    namespace: &str,
    selection: &Selection,
) -> Result<Vec<Target>, ExitProblem> {
    let mut targets = Vec::new();
    for object in objects {
        if is_selected(object, &object.metadata, namespace, selection)? {
            targets.push(target(kind::GROUP, &object.metadata)?);
        }
    }
    Ok(noting_none(targets, "groups", namespace))
}

/// Asks for confirmation before selected pools are destroyed; the limit counts their members.
pub(crate) async fn confirm_pools(
    app: &App,
    args: &DestroyArgs,
    targets: &[Target],
) -> Result<(), ExitProblem> {
    let entities: Vec<_> = targets.iter().map(|target| target.entity.clone()).collect();
    let count = app.fleet.pools().count_members(&entities).await?;
    confirm_several(args, "delete", targets, count)
}

/// Asks for confirmation before selected groups are destroyed; the limit counts their members.
pub(crate) async fn confirm_groups(
    app: &App,
    args: &DestroyArgs,
    targets: &[Target],
) -> Result<(), ExitProblem> {
    let entities: Vec<_> = targets.iter().map(|target| target.entity.clone()).collect();
    let count = app.fleet.groups().count_members(&entities).await?;
    confirm_several(args, "delete", targets, count)
}

/// Asks for confirmation before these are destroyed; `count` is the number of machines or disks.
///
/// # Errors
/// As for [`confirm_destruction`].
pub(crate) fn confirm_several(
    args: &DestroyArgs,
    verb: &str,
    targets: &[Target],
    count: usize,
) -> Result<(), ExitProblem> {
    refuse_more(args, verb, count)?;
    let any = DestroyArgs {
        limit: usize::MAX,
        ..args.clone()
    };
    confirm_destruction(&any, verb, targets)
}

fn refuse_more(args: &DestroyArgs, verb: &str, count: usize) -> Result<(), ExitProblem> {
    let limit = args.limit;
    if count <= limit {
        return Ok(());
    }
    let message = format!("this would {verb} {count}, more than {limit}");
    let remedy = format!("narrow the selection, or say --limit {count}");
    Err(ExitProblem::new(Exit::Blocked, "VSI0811", message, &remedy))
}

fn is_selected(
    object: &impl Serialize,
    meta: &Metadata,
    namespace: &str,
    selection: &Selection,
) -> Result<bool, ExitProblem> {
    let labels = selection.labels.as_ref();
    if meta.namespace != namespace || !labels.is_none_or(|labels| labels.matches(&meta.labels)) {
        return Ok(false);
    }
    let Some(fields) = &selection.field_selector else {
        return Ok(true);
    };
    let object = serde_json::to_value(object).map_err(ExitProblem::defect)?;
    Ok(fields.matches(&object))
}

fn target(kind: &str, meta: &Metadata) -> Result<Target, ExitProblem> {
    Ok(Target {
        entity: EntityId::new(Name::of(kind), &meta.uid).map_err(ExitProblem::defect)?,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    })
}

fn noting_none(targets: Vec<Target>, what: &str, namespace: &str) -> Vec<Target> {
    if targets.is_empty() {
        output::note(&format!("No {what} found in namespace {namespace}."));
    }
    targets
}

/// The message for names together with a selection.
pub(crate) const NAMES_AND_SELECTOR: &str =
    "names cannot be given together with a selector or --all";

/// The error for names together with a selection.
pub(crate) fn names_and_selector() -> ExitProblem {
    let remedy = "name the objects, or select them";
    ExitProblem::new(Exit::Usage, "VSI0810", NAMES_AND_SELECTOR, remedy)
}

/// The first byte of a question to a caller's user on standard output; no result begins with it.
pub(crate) const QUESTION: u8 = 5;

/// Asks for confirmation before selected objects are destroyed: the user, or the caller's user if
/// the caller can ask.
///
/// # Errors
/// `VSI0811` if there are more than the limit or the user did not agree; without a message if the caller asks
/// first. Nothing was done then.
pub(crate) fn confirm_destruction(
    args: &DestroyArgs,
    verb: &str,
    targets: &[Target],
) -> Result<(), ExitProblem> {
    refuse_more(args, verb, targets.len())?;
    if targets.is_empty() || args.yes {
        return Ok(());
    }
    let names: Vec<_> = targets.iter().map(Target::shown).collect();
    let question = format!("{verb} {}", names.join(", "));
    confirm(&question, args.agreed.as_deref())
}

/// Asks for confirmation: the user, or the caller's user if the caller can ask. `agreed` is what that user
/// agreed to.
///
/// # Errors
/// As for [`confirm_destruction`].
pub(crate) fn confirm(question: &str, agreed: Option<&str>) -> Result<(), ExitProblem> {
    match agreed {
        Some(agreed) if agreed == question => return Ok(()),
        Some(_) => {
            let line = [&[QUESTION], question.as_bytes()].concat();
            output::raw(&line)?;
            return Err(ExitProblem::new(Exit::Blocked, "VSI0811", "", ""));
        }
        None => {}
    }
    if is_agreed(&format!("{question}?"))? {
        Ok(())
    } else {
        Err(nobody_agreed(question))
    }
}

/// The error when the user did not agree.
pub(crate) fn nobody_agreed(question: &str) -> ExitProblem {
    let message = format!("nothing was done; this would {question}");
    ExitProblem::new(Exit::Blocked, "VSI0811", message, "say --yes")
}
