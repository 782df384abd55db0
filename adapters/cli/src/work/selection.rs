//! Finds the objects of a command that selects them, and confirms destructive commands.

use vsiflow_api::TableRequest;
use vsiflow_workflows::kinds::TableQuery;

use super::{is_agreed, label};
use crate::{
    args::{DestroyArgs, ObjectKind, Selection, Targets},
    exit::{Exit, ExitProblem},
    output,
    service::ServiceSession,
};

/// The objects of one kind in a namespace that match a selection.
pub(crate) struct SelectedObjects<'a> {
    pub(crate) kind: ObjectKind,
    pub(crate) namespace: &'a str,
    pub(crate) selection: &'a Selection,
    /// How their destruction is confirmed, if the command destroys them.
    pub(crate) destroys: Option<Destruction<'a>>,
}

/// What a command does to selected objects, and how that is confirmed.
pub(crate) struct Destruction<'a> {
    /// Such as `delete`.
    pub(crate) verb: &'static str,
    pub(crate) args: &'a DestroyArgs,
}

impl<'a> SelectedObjects<'a> {
    /// The VSIs that are selected; `None` if they are named.
    pub(crate) fn of(targets: &'a Targets) -> Option<Self> {
        targets.names.is_empty().then_some(Self {
            kind: ObjectKind::Vsi,
            namespace: &targets.namespace,
            selection: &targets.selection,
            destroys: None,
        })
    }
}

/// An object that a selection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectedObject {
    pub(crate) kind: ObjectKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl SelectedObject {
    /// The name as requests name objects.
    pub(crate) fn qualified(&self) -> String {
        let Self {
            kind,
            namespace,
            name,
            ..
        } = self;
        format!("{}/{namespace}/{name}", kind.word())
    }

    fn shown(&self) -> String {
        format!(
            "{}/{}",
            self.kind.word(),
            label(&self.namespace, &self.name)
        )
    }
}

/// Finds the selected objects, and has their destruction confirmed. One that cannot be read is left out with a warning and
/// does not affect the others; so is a data disk that VSIs only refer to, because it is not managed.
///
/// # Errors
/// `VSI0811` if there are more than the limit or the user did not agree.
pub(crate) async fn select(
    session: &ServiceSession,
    wanted: &SelectedObjects<'_>,
) -> Result<Vec<SelectedObject>, ExitProblem> {
    let (kind, namespace) = (wanted.kind, wanted.namespace);
    let query = TableQuery {
        namespace: Some(namespace.to_owned()),
        objects: true,
        ..TableQuery::default()
    };
    let listed = session.call(TableRequest::now(kind, query)).await?;
    let (mut objects, mut size) = (Vec::new(), 0_usize);
    for row in listed.table.rows {
        let object = row.object.as_ref();
        if !object.is_some_and(|object| wanted.selection.includes(object)) {
            continue;
        }
        if row.is_unreadable {
            let name = format!("{}/{}", kind.word(), row.name);
            output::warning(&format!("{name} is left out: it cannot be read (VSI0018)"));
            continue;
        }
        let Some(uid) = row.uid.filter(|uid| !uid.is_empty()) else {
            continue;
        };
        size = size.saturating_add(row.size);
        objects.push(SelectedObject {
            kind,
            namespace: namespace.to_owned(),
            name: row.name,
            uid,
        });
    }
    if objects.is_empty() {
        let plural = kind.words().plural;
        output::note(&format!("No {plural} found in namespace {namespace}."));
    } else if let Some(destruction) = &wanted.destroys {
        confirm_destruction(destruction, &objects, size)?;
    }
    Ok(objects)
}

/// The message for names together with a selection.
pub(crate) const NAMES_AND_SELECTOR: &str =
    "names cannot be given together with a selector or --all";

/// The error for names together with a selection.
pub(crate) fn names_and_selector() -> ExitProblem {
    let remedy = "name the objects, or select them";
    ExitProblem::new(Exit::Usage, "VSI0810", NAMES_AND_SELECTOR, remedy)
}

/// Asks the user before selected objects are destroyed, which are `size` machines or disks.
fn confirm_destruction(
    destruction: &Destruction<'_>,
    objects: &[SelectedObject],
    size: usize,
) -> Result<(), ExitProblem> {
    let Destruction { verb, args } = destruction;
    if size > args.limit {
        let message = format!("this would {verb} {size}, more than {}", args.limit);
        let remedy = format!("narrow the selection, or say --limit {size}");
        return Err(ExitProblem::new(Exit::Blocked, "VSI0811", message, &remedy));
    }
    if args.yes {
        return Ok(());
    }
    let names: Vec<_> = objects.iter().map(SelectedObject::shown).collect();
    confirm(&format!("{verb} {}", names.join(", ")))
}

/// Asks the user for confirmation.
///
/// # Errors
/// `VSI0811` if the user did not agree. Nothing was done then.
pub(crate) fn confirm(question: &str) -> Result<(), ExitProblem> {
    if is_agreed(&format!("{question}?"))? {
        Ok(())
    } else {
        Err(nobody_agreed(question))
    }
}

/// The error when the user did not agree.
fn nobody_agreed(question: &str) -> ExitProblem {
    let message = format!("nothing was done; this would {question}");
    ExitProblem::new(Exit::Blocked, "VSI0811", message, "say --yes")
}
