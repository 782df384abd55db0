//! `delete`: removes VSIs and what was made for them, pools with their members, and data disks.

use vsiflow_workflows::{
    record::kind,
    spec::{DesiredDataDisk, ResolvedPool, ResolvedVsi},
};

use super::CommandOutcome;
use crate::{
    actor,
    args::{Common, DeleteArgs, Sources},
    compose::App,
    exit::{Exit, ExitProblem},
    output,
    work::{self, Target},
};

/// What VSIs are called before a name.
const VSI_WORDS: &[&str] = &["vsi", "vsis", "vs", "virtualserver", "virtualservers"];
/// What data disks are.
const DISK_WORDS: &[&str] = &["disk", "disks"];
/// What pools are.
const POOL_WORDS: &[&str] = &[
    "pool",
    "pools",
    "vsp",
    "virtualserverpool",
    "virtualserverpools",
];

/// The kind that a word means.
fn kind_named(word: &str) -> Option<&'static str> {
    let kinds = [
        (VSI_WORDS, kind::VSI),
        (DISK_WORDS, kind::DISK),
        (POOL_WORDS, kind::POOL),
    ];
    let found = kinds.into_iter().find(|(words, _)| words.contains(&word));
    found.map(|(_, kind)| kind)
}

/// Something that is to go.
pub(super) struct DeletionTarget {
    /// `vsi`, `disk` or `pool`.
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

pub(super) async fn run(common: &Common, args: DeleteArgs) -> CommandOutcome {
    let mut named = named(common, &args).await?;
    // A disk goes with the VSI that has it, or after it.
    named.sort_by_key(|doomed| doomed.kind == kind::DISK);
    let app = App::open_to_work(common).await?;
    if args.all || !args.selection.is_empty() {
        named = selected(&app, &args, named).await?;
    }
    // Names are looked up first, so that a slip of the pen deletes nothing.
    for doomed in &named {
        if let Err(problem) = look_up(&app, doomed).await {
            let ignored = args.ignore_not_found && problem.exit == Exit::NotFound;
            if !ignored {
                return Err(problem);
            }
        }
    }
    let mut targets = Vec::new();
    for doomed in named {
        if look_up(&app, &doomed).await.is_ok() {
            targets.push(delete(&app, common, doomed, args.orphan).await?);
        }
    }
    let until = work::Until::Decided;
    let done = match args.orphan {
        true => "is forgotten; its host was not touched",
        false => "deleted",
    };
    let recorded = match args.orphan {
        true => "will be forgotten",
        false => "will be deleted",
    };
    work::tell_recorded(&app, &args.wait, &targets, recorded);
    let mut exit = work::until_decided(&app, common, &args.wait, &targets, until, done).await?;
    if !args.orphan {
        exit = exit.max(Box::pin(work::await_pools_of(&app, common, &args.wait, &targets)).await?);
    }
    app.close().await;
    Ok(exit)
}

/// What is selected, once somebody agreed that it goes. `delete disk -l …` selects data disks.
async fn selected(
    app: &App,
    args: &DeleteArgs,
    named: Vec<DeletionTarget>,
) -> Result<Vec<DeletionTarget>, ExitProblem> {
    let word = match args.names.as_slice() {
        [word] => kind_named(word),
        _ => None,
    };
    if !named.is_empty() && word.is_none() {
        return Err(work::names_and_selector());
    }
    let (namespace, selection) = (&args.namespace, &args.selection);
    let kind = word.unwrap_or(kind::VSI);
    if kind == kind::POOL {
        let targets = work::selected_pools(app, namespace, selection).await?;
        work::confirm_pools(app, &args.destroy, &targets).await?;
        return Ok(targets
            .into_iter()
            .map(|target| doomed(kind, target))
            .collect());
    }
    let targets = match kind {
        kind::DISK => work::selected_disks(app, namespace, selection).await?,
        _ => work::selected(app, namespace, selection).await?,
    };
    work::confirm_destruction(&args.destroy, "delete", &targets)?;
    Ok(targets
        .into_iter()
        .map(|target| doomed(kind, target))
        .collect())
}

fn doomed(kind: &'static str, target: Target) -> DeletionTarget {
    DeletionTarget {
        kind,
        namespace: target.namespace,
        name: target.name,
    }
}

async fn look_up(app: &App, doomed: &DeletionTarget) -> Result<(), ExitProblem> {
    let (namespace, name) = (&doomed.namespace, &doomed.name);
    match doomed.kind {
        kind::DISK => app.fleet.disk(namespace, name).await?,
        kind::POOL => app.fleet.pool(namespace, name).await?,
        _ => app.fleet.vsi(namespace, name).await?,
    };
    Ok(())
}

pub(super) async fn delete(
    app: &App,
    common: &Common,
    doomed: DeletionTarget,
    orphan: bool,
) -> Result<Target, ExitProblem> {
    let by = actor::by(&common.reason);
    let DeletionTarget {
        kind,
        namespace,
        name,
    } = doomed;
    let entity = match kind {
        kind::POOL => app.fleet.delete_pool(&namespace, &name, orphan, by).await?,
        kind::VSI => app.fleet.delete(&namespace, &name, orphan, by).await?,
        _ => {
            let disk = app.fleet.get_disk(&namespace, &name).await?;
            let entity = app.fleet.delete_disk(&namespace, &name, orphan, by).await?;
            if disk.spec.get("deletionPolicy").and_then(|p| p.as_str()) == Some("Retain") {
                output::note(&format!(
                    "disk/{}: volume {} stays on host {}, as its deletionPolicy says",
                    work::label(&namespace, &name),
                    disk.status.volume,
                    disk.status.host
                ));
            }
            entity
        }
    };
    Ok(Target {
        entity,
        namespace,
        name,
    })
}

async fn named(common: &Common, args: &DeleteArgs) -> Result<Vec<DeletionTarget>, ExitProblem> {
    if args.files.is_empty() {
        return Ok(of_words(args));
    }
    let documents = work::documents(common, &Sources::of(&args.files)).await?;
    let nothing = documents.vsis.is_empty() && documents.pools.is_empty();
    if nothing && documents.data_disks.is_empty() {
        output::warning("the documents describe no VSI, pool or data disk; nothing is deleted");
    }
    let of_vsi = |vsi: ResolvedVsi| DeletionTarget {
        kind: kind::VSI,
        namespace: vsi.desired.namespace,
        name: vsi.desired.name,
    };
    let of_disk = |disk: DesiredDataDisk| DeletionTarget {
        kind: kind::DISK,
        namespace: disk.namespace,
        name: disk.name,
    };
    let of_pool = |pool: ResolvedPool| DeletionTarget {
        kind: kind::POOL,
        namespace: pool.desired.namespace,
        name: pool.desired.name,
    };
    let vsis = documents.vsis.into_iter().map(of_vsi);
    let pools = documents.pools.into_iter().map(of_pool);
    let disks = documents.data_disks.into_iter().map(of_disk);
    Ok(vsis.chain(pools).chain(disks).collect())
}

fn of_words(args: &DeleteArgs) -> Vec<DeletionTarget> {
    let mut names = args.names.iter().map(String::as_str).peekable();
    // `delete vsi NAME` as kubectl has it.
    let word = names.peek().copied().filter(|_| args.names.len() > 1);
    let kind = word.and_then(kind_named);
    if kind.is_some() {
        names.next();
    }
    let of = |name: &str| {
        let before = name.split_once('/');
        let prefix = before.and_then(|(word, rest)| Some((kind_named(word)?, rest)));
        let (kind, name) = prefix.unwrap_or((kind.unwrap_or(kind::VSI), name));
        DeletionTarget {
            kind,
            namespace: args.namespace.clone(),
            name: name.to_owned(),
        }
    };
    names.map(of).collect()
}
