//! `wait`: waits until objects are in a state, whichever process brings them there.
//!
//! The objects are found once, at the beginning, and then polled as by `get`. Between two polls other
//! processes may use the state directory.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use vsiflow_workflows::{fleet::VsiOverview, kinds::TableQuery};

use super::{get, graph_pane::LiveGraphs};
use crate::{
    args::{Common, ObjectKind, WaitForArgs, WaitGoal, kind_and_names},
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service, work,
};

const POLL: Duration = Duration::from_millis(500);
/// How long the last poll may exceed the given time.
const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn run(common: &Common, args: WaitForArgs) -> CommandOutcome {
    // Also if the process that has the state directory never answers.
    let longest = args.timeout.saturating_add(GRACE);
    tokio::select! {
        waited = wait(common, &args) => waited,
        () = work::elapsed(Some(longest)) => Ok(Exit::TimedOut),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// An object to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WaitTarget {
    namespace: String,
    name: String,
    /// Empty if unknown: then the name alone identifies it.
    uid: String,
}

async fn wait(common: &Common, args: &WaitForArgs) -> CommandOutcome {
    let until = Instant::now().checked_add(args.timeout);
    let (kind, names) = kind_and_names(&args.words);
    let word = kind.word();
    get::check_labels(&[kind], &args.selection)?;
    let has_other_namespaces = names.iter().any(|name| name.contains('/'));
    let query = TableQuery {
        namespace: (!args.scope.all_namespaces && !has_other_namespaces)
            .then(|| args.scope.namespace.clone()),
        ..TableQuery::default()
    };
    let mut open = begin(args, &list_now(common, kind, &query).await?)?;
    let is_vsi = kind == ObjectKind::Vsi;
    let mut graphs = LiveGraphs::where_drawn(common, is_vsi);
    loop {
        let objects = list_now(common, kind, &query).await?;
        let mut rest = Vec::new();
        for awaited in open {
            let found = objects.iter().find(|object| is_it(object, &awaited));
            match (found, &args.goal) {
                (None, WaitGoal::Delete) => printed(graphs.as_ref(), word, &awaited),
                (Some(object), goal) if goal.is_met(object) => {
                    printed(graphs.as_ref(), word, &awaited);
                }
                (None, _) => return Err(gone(word, &awaited)),
                _ => rest.push(awaited),
            }
        }
        open = rest;
        if open.is_empty() {
            return Ok(Exit::Done);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            open.iter().for_each(|awaited| {
                output::note(&format!("timed out waiting for {word}/{}", shown(awaited)));
            });
            return Ok(Exit::TimedOut);
        }
        if let Some(graphs) = &mut graphs {
            let is_open = |vsi: &VsiOverview| {
                let named =
                    |one: &WaitTarget| one.name == vsi.name && one.namespace == vsi.namespace;
                open.iter().any(named)
            };
            graphs.draw(common, is_open).await;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn printed(graphs: Option<&LiveGraphs>, kind: &str, awaited: &WaitTarget) {
    match graphs {
        Some(graphs) => graphs.print(|| print_met(kind, awaited)),
        None => print_met(kind, awaited),
    }
}

/// The objects to wait for, out of the existing ones.
fn begin(args: &WaitForArgs, objects: &[Value]) -> Result<Vec<WaitTarget>, ExitProblem> {
    let (kind, names) = kind_and_names(&args.words);
    let selects = args.all || !args.selection.is_empty();
    let selected = objects
        .iter()
        .filter(|object| args.selection.includes(object));
    if selects && !names.is_empty() {
        return Err(work::names_and_selector());
    }
    if !selects && names.is_empty() {
        let message = "nothing is named";
        let remedy = "name the objects, or use -l or --all";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    if selects && selected.clone().next().is_none() {
        let message = "nothing matches";
        let remedy = "`vsiflow get` with the same selection shows what would";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    }
    if selects {
        return Ok(selected.map(awaited).collect());
    }
    let mut all = Vec::new();
    for name in names {
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
            None => (args.scope.namespace.clone(), name),
        };
        let named = WaitTarget {
            namespace,
            name,
            uid: String::new(),
        };
        match objects.iter().find(|object| is_it(object, &named)) {
            Some(object) => all.push(awaited(object)),
            None if args.goal == WaitGoal::Delete => print_met(kind.word(), &named),
            None => return Err(gone(kind.word(), &named)),
        }
    }
    Ok(all)
}

fn field<'v>(object: &'v Value, name: &str) -> &'v str {
    let field = object.get("metadata").and_then(|meta| meta.get(name));
    field.and_then(Value::as_str).unwrap_or("")
}

fn awaited(object: &Value) -> WaitTarget {
    WaitTarget {
        namespace: field(object, "namespace").to_owned(),
        name: field(object, "name").to_owned(),
        uid: field(object, "uid").to_owned(),
    }
}

/// Whether it is the same object, and not a later one with that name. Some kinds have no namespace.
fn is_it(object: &Value, awaited: &WaitTarget) -> bool {
    let namespace = field(object, "namespace");
    let named = field(object, "name") == awaited.name
        && (namespace.is_empty() || namespace == awaited.namespace);
    named && (awaited.uid.is_empty() || field(object, "uid") == awaited.uid)
}

/// The current objects. They are listed without names: a missing one is no error while its deletion is awaited.
async fn list_now(
    common: &Common,
    kind: ObjectKind,
    query: &TableQuery,
) -> Result<Vec<Value>, ExitProblem> {
    loop {
        match service::objects(common, kind, query.clone()).await {
            // Unknown is not absent.
            Err(problem) if service::is_silence(&problem) => tokio::time::sleep(POLL).await,
            listed => return listed,
        }
    }
}

fn shown(awaited: &WaitTarget) -> String {
    work::label(&awaited.namespace, &awaited.name)
}

fn print_met(kind: &str, awaited: &WaitTarget) {
    output::line(&format!("{kind}/{} condition met", shown(awaited)));
}

fn gone(kind: &str, awaited: &WaitTarget) -> ExitProblem {
    let message = format!("{kind}/{} is not there", shown(awaited));
    let remedy = "`vsiflow get` lists what is";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}
