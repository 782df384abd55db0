//! Finds the objects of a command that selects them, and confirms destructive commands.

use vsiflow_engine::model::{EntityId, Name};
use vsiflow_workflows::{fleet::Fleets, kinds::ListedObject};

use super::{Target, is_agreed, targets_named};
use crate::{
    args::{DestroyArgs, ObjectKind, Selection, Targets},
    compose::App,
    exit::{Exit, ExitProblem},
    output,
};

/// Objects that a selection found.
#[derive(Default)]
pub(crate) struct SelectedTargets {
    pub(crate) targets: Vec<Target>,
    /// How many machines or disks they are.
    pub(crate) size: usize,
}

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
    let fleets = Fleets::from(app.fleet.clone());
    let selected = select_objects(&fleets, ObjectKind::Vsi, namespace, selection).await?;
    Ok(selected.targets)
}

/// The objects of a kind in a namespace that match a selection. One that cannot be read is left out with a warning
/// and does not affect the others; so is a data disk that VSIs only refer to, because it is not managed.
pub(crate) async fn select_objects(
    fleets: &Fleets,
    kind: ObjectKind,
    namespace: &str,
    selection: &Selection,
) -> Result<SelectedTargets, ExitProblem> {
    let mut selected = SelectedTargets::default();
    for object in kind.list(fleets, false).await? {
        let identity = object.identity();
        if !is_selected(object.as_ref(), namespace, selection)? {
            continue;
        }
        if !object.is_readable() {
            let name = format!("{}/{}", kind.word(), identity.name);
            output::warning(&format!("{name} is left out: it cannot be read (VSI0018)"));
            continue;
        }
        let Some(uid) = identity.uid.filter(|uid| !uid.is_empty()) else {
            continue;
        };
        selected.size = selected.size.saturating_add(object.size());
        selected.targets.push(Target {
            entity: EntityId::new(Name::of(kind.word()), uid).map_err(ExitProblem::defect)?,
            namespace: namespace.to_owned(),
            name: identity.name.to_owned(),
        });
    }
    if selected.targets.is_empty() {
        let plural = kind.words().plural;
        output::note(&format!("No {plural} found in namespace {namespace}."));
    }
    Ok(selected)
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
    object: &dyn ListedObject,
    namespace: &str,
    selection: &Selection,
) -> Result<bool, ExitProblem> {
    let identity = object.identity();
    let has_labels = |labels| {
        let selector = selection.labels.as_ref();
        selector.is_none_or(|selector| selector.matches(labels))
    };
    if identity.namespace != Some(namespace) || !identity.labels.is_none_or(has_labels) {
        return Ok(false);
    }
    let Some(fields) = &selection.field_selector else {
        return Ok(true);
    };
    Ok(fields.matches(&object.to_json().map_err(ExitProblem::defect)?))
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
