//! `delete`: removes VSIs and what was made for them.

use super::Outcome;
use crate::{
    actor,
    args::{Common, DeleteArgs, without_kind},
    compose::App,
    exit::{Exit, Problem},
    output,
    work::{self, Target},
};

pub(super) async fn run(common: &Common, args: DeleteArgs) -> Outcome {
    let named = named(common, &args).await?;
    let app = App::open_to_work(common).await?;
    let mut targets = Vec::new();
    let mut exit = Exit::Done;
    // Names are looked up first, so that a slip of the pen deletes nothing.
    for (namespace, name) in &named {
        match app.fleet.vsi(namespace, name).await {
            Ok(_) => {}
            Err(error)
                if args.ignore_not_found && Problem::from(error.clone()).exit == Exit::NotFound => {
            }
            Err(error) => return Err(error.into()),
        }
    }
    for (namespace, name) in named {
        let Ok(_) = app.fleet.vsi(&namespace, &name).await else {
            continue;
        };
        let by = actor::by(&common.reason);
        let entity = app.fleet.delete(&namespace, &name, args.orphan, by).await?;
        targets.push(Target {
            entity,
            namespace,
            name,
        });
    }
    let done = if args.orphan {
        "is forgotten; its host was not touched"
    } else {
        "deleted"
    };
    exit = exit.max(
        work::until_decided(
            &app,
            common,
            &args.wait,
            &targets,
            work::Until::Decided,
            done,
        )
        .await?,
    );
    app.close().await;
    Ok(exit)
}

async fn named(common: &Common, args: &DeleteArgs) -> Result<Vec<(String, String)>, Problem> {
    if args.files.is_empty() {
        let mut names = args.names.iter().map(String::as_str).peekable();
        // `delete vsi NAME` as kubectl has it.
        if args.names.len() > 1
            && names
                .peek()
                .is_some_and(|word| ["vsi", "vsis"].contains(word))
        {
            names.next();
        }
        let of = |name: &str| (args.namespace.clone(), without_kind(name).to_owned());
        return Ok(names.map(of).collect());
    }
    let documents = work::documents(common, &args.files, false).await?;
    if documents.vsis.is_empty() {
        output::warning("the documents describe no VSI; nothing is deleted");
    }
    let of = |vsi: vsiflow_workflows::spec::ResolvedVsi| (vsi.desired.namespace, vsi.desired.name);
    Ok(documents.vsis.into_iter().map(of).collect())
}
