//! `delete`: removes VSIs and what was made for them, and data disks.

use vsiflow_workflows::spec::{DesiredDataDisk, ResolvedVsi};

use super::CommandOutcome;
use crate::{
    actor,
    args::{Common, DeleteArgs, Sources, without_kind},
    compose::App,
    exit::{Exit, ExitProblem},
    output,
    work::{self, Target},
};

/// What VSIs are called before a name.
const VSI_WORDS: &[&str] = &["vsi", "vsis", "vs", "virtualserver", "virtualservers"];
/// What data disks are.
const DISK_WORDS: &[&str] = &["disk", "disks"];

/// Something that is to go.
pub(super) struct DeletionTarget {
    pub(super) is_disk: bool,
    pub(super) namespace: String,
    pub(super) name: String,
}

pub(super) async fn run(common: &Common, args: DeleteArgs) -> CommandOutcome {
    let mut named = named(common, &args).await?;
    // A disk goes with the VSI that has it, or after it.
    named.sort_by_key(|doomed| doomed.is_disk);
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
    let exit = work::until_decided(&app, common, &args.wait, &targets, until, done).await?;
    app.close().await;
    Ok(exit)
}

/// What is selected, once somebody agreed that it goes. `delete disk -l …` selects data disks.
async fn selected(
    app: &App,
    args: &DeleteArgs,
    named: Vec<DeletionTarget>,
) -> Result<Vec<DeletionTarget>, ExitProblem> {
    let is_kind =
        |words: &[&str]| matches!(args.names.as_slice(), [word] if words.contains(&word.as_str()));
    let is_disk = is_kind(DISK_WORDS);
    if !named.is_empty() && !is_disk && !is_kind(VSI_WORDS) {
        return Err(work::names_and_selector());
    }
    let (namespace, selection) = (&args.namespace, &args.selection);
    let targets = match is_disk {
        true => work::selected_disks(app, namespace, selection).await?,
        false => work::selected(app, namespace, selection).await?,
    };
    work::confirm_destruction(&args.destroy, "delete", &targets)?;
    let doomed = |target: Target| DeletionTarget {
        is_disk,
        namespace: target.namespace,
        name: target.name,
    };
    Ok(targets.into_iter().map(doomed).collect())
}

async fn look_up(app: &App, doomed: &DeletionTarget) -> Result<(), ExitProblem> {
    let (namespace, name) = (&doomed.namespace, &doomed.name);
    match doomed.is_disk {
        true => app.fleet.disk(namespace, name).await?,
        false => app.fleet.vsi(namespace, name).await?,
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
        is_disk,
        namespace,
        name,
    } = doomed;
    let entity = match is_disk {
        false => app.fleet.delete(&namespace, &name, orphan, by).await?,
        true => {
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
    if documents.vsis.is_empty() && documents.data_disks.is_empty() {
        output::warning("the documents describe no VSI and no data disk; nothing is deleted");
    }
    let of_vsi = |vsi: ResolvedVsi| DeletionTarget {
        is_disk: false,
        namespace: vsi.desired.namespace,
        name: vsi.desired.name,
    };
    let of_disk = |disk: DesiredDataDisk| DeletionTarget {
        is_disk: true,
        namespace: disk.namespace,
        name: disk.name,
    };
    let vsis = documents.vsis.into_iter().map(of_vsi);
    let disks = documents.data_disks.into_iter().map(of_disk);
    Ok(vsis.chain(disks).collect())
}

fn of_words(args: &DeleteArgs) -> Vec<DeletionTarget> {
    let mut names = args.names.iter().map(String::as_str).peekable();
    // `delete vsi NAME` as kubectl has it.
    let kind = names.peek().copied().filter(|_| args.names.len() > 1);
    let kind = kind.filter(|word| VSI_WORDS.contains(word) || DISK_WORDS.contains(word));
    if kind.is_some() {
        names.next();
    }
    let disks = kind.is_some_and(|kind| kind.starts_with("disk"));
    let of = |name: &str| {
        let disk = name.strip_prefix(work::DISK);
        DeletionTarget {
            is_disk: disks || disk.is_some(),
            namespace: args.namespace.clone(),
            name: disk.unwrap_or(without_kind(name)).to_owned(),
        }
    };
    names.map(of).collect()
}
