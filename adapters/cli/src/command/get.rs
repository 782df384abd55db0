//! `get`: lists objects and shows them.

mod print;
mod rows;

use std::{borrow::Cow, collections::HashSet};

use vsiflow_workflows::{
    fleet::Fleets,
    kinds::{ListedObject, NameScope, ObjectIdentity},
};

use self::{
    print::{Listed, Query, Several, print},
    rows::TableRow,
};
use crate::{
    args::{Common, GetArgs, ListFormat, ObjectKind, OutputFormat},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    let (kinds, names) = args.kinds_and_names();
    if kinds.len() > 1 && !names.is_empty() {
        let message = "names are those of one kind";
        let remedy = "list several kinds without names, or ask for one kind after another";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    if !names.is_empty() && (args.all || !args.selection.is_empty()) {
        return Err(work::names_and_selector());
    }
    let apps = opened(common, &args).await?;
    let fleets = App::fleets_at(&apps, args.at).await?;
    let fleet = fleets.with_unheld(unheld(common).await?);
    if let Some(paused) = fleet.global_pause() {
        output::warning(&format!(
            "{}; `vsiflow unpause --all` ends it",
            paused.message
        ));
    }
    let mut query = Query {
        args: &args,
        names: &names,
        several: (kinds.len() > 1).then(Several::default),
        whole: None,
    };
    let printed = Box::pin(all_of(&fleet, &mut query, kinds)).await;
    App::end(apps, fleet).await;
    printed
}

/// The journals of a set that no process works on.
pub(super) async fn unheld(common: &Common) -> Result<Vec<usize>, ExitProblem> {
    let Some(place) = &common.set else {
        return Ok(Vec::new());
    };
    let free = place.set.free().await;
    let free = free.map_err(crate::compose::database::problem)?;
    Ok(free.into_iter().map(usize::from).collect())
}

/// Opens the journal to read; in a set, all of them.
async fn opened(common: &Common, args: &GetArgs) -> Result<Vec<App>, ExitProblem> {
    if let Some(place) = &common.set {
        return place.open_all_to_read(common).await;
    }
    if args.refresh {
        let app = App::open_to_record(common).await?;
        super::scan::refresh(&app).await?;
        return Ok(vec![app]);
    }
    Ok(vec![App::open(common).await?])
}

async fn all_of(fleet: &Fleets, query: &mut Query<'_>, kinds: Vec<ObjectKind>) -> CommandOutcome {
    for kind in kinds {
        of_kind(fleet, query, kind).await?;
    }
    if let Some(whole) = query.whole.take() {
        whole.print(query.args).await?;
    }
    match query.several.take() {
        Some(several) => several.finish(query.args).await,
        None => Ok(Exit::Done),
    }
}

async fn of_kind(fleets: &Fleets, query: &mut Query<'_>, kind: ObjectKind) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let has_labels = kind.names() == NameScope::Namespace;
    if args.selection.labels.is_some() && !has_labels {
        let message = "only VSIs, pools, groups and data disks have labels";
        let remedy = "use --field-selector, or leave the selector out";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    let mut objects = if is_summary(query) {
        kind.list_summaries(fleets, args.deleted).await?
    } else {
        kind.list(fleets, args.deleted).await?
    };
    let mut named = NamedObjects::of(names);
    objects.retain(|object| {
        let identity = object.identity();
        if names.is_empty() {
            is_selected(args, &identity)
        } else {
            named.has(args, &identity)
        }
    });
    for name in names.iter().filter(|name| named.is_missing(name)) {
        kind.check_exists(fleets, &args.scope.namespace, name)
            .await?;
    }
    print(query, &Listed::of(kind, names), rows(objects)).await
}

fn rows(objects: Vec<Box<dyn ListedObject>>) -> Vec<TableRow> {
    objects.into_iter().map(TableRow::of).collect()
}

/// Whether the output needs only a few fields of each object.
fn is_summary(query: &Query<'_>) -> bool {
    let args = query.args;
    let printed = match &args.output {
        None => true,
        Some(format) => *format == ListFormat::Plain(OutputFormat::Name),
    };
    let arranged = args.sort_by.is_some() || args.selection.field_selector.is_some();
    printed && !arranged
}

/// Whether an object is in the namespace. If its namespace cannot be read, it is shown in every one.
fn is_here(args: &GetArgs, identity: &ObjectIdentity<'_>) -> bool {
    let is_own = |namespace: &str| namespace == args.scope.namespace;
    args.scope.all_namespaces || identity.namespace.is_none_or(is_own)
}

/// Whether an object is in the namespace and has the labels.
fn is_selected(args: &GetArgs, identity: &ObjectIdentity<'_>) -> bool {
    let selector = args.selection.labels.as_ref();
    let has_labels = |labels| selector.is_none_or(|selector| selector.matches(labels));
    is_here(args, identity) && identity.labels.is_none_or(has_labels)
}

/// The names on the command line, as `NAME` or `NAMESPACE/NAME`. Each object is looked up in them, so that many names
/// of many objects take no longer.
struct NamedObjects<'a> {
    names: HashSet<&'a str>,
    /// Those that no object had so far.
    missing: HashSet<&'a str>,
}

impl<'a> NamedObjects<'a> {
    fn of(names: &'a [String]) -> Self {
        let names: HashSet<_> = names.iter().map(String::as_str).collect();
        let missing = names.clone();
        Self { names, missing }
    }

    /// Whether the object is named.
    fn has(&mut self, args: &GetArgs, identity: &ObjectIdentity<'_>) -> bool {
        let bare = is_here(args, identity).then_some(Cow::Borrowed(identity.name));
        let namespace = identity.namespace;
        let qualified = namespace.map(|own| Cow::Owned(format!("{own}/{}", identity.name)));
        let mut is_named = false;
        for name in bare.into_iter().chain(qualified) {
            self.missing.remove(name.as_ref());
            is_named |= self.names.contains(name.as_ref());
        }
        is_named
    }

    fn is_missing(&self, name: &str) -> bool {
        self.missing.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, CliCommand};

    #[test]
    fn names_are_looked_up_and_those_of_no_object_are_missing() {
        let cli = Cli::parse_from("vsiflow get vsi a b/a b/c d".split(' '));
        let CliCommand::Get(args) = cli.command else {
            panic!("another command");
        };
        let (_, names) = args.kinds_and_names();
        let mut named = NamedObjects::of(&names);
        for (namespace, name, is_named) in [
            (Some("default"), "a", true),
            (Some("b"), "a", true),
            (Some("b"), "d", false),
            (Some("default"), "c", false),
            (None, "d", true),
        ] {
            let identity = ObjectIdentity {
                namespace,
                name,
                uid: None,
                labels: None,
            };
            assert_eq!(named.has(&args, &identity), is_named, "{name}");
        }
        let missing = names.iter().filter(|name| named.is_missing(name));
        assert_eq!(missing.collect::<Vec<_>>(), ["b/c"]);
    }
}
