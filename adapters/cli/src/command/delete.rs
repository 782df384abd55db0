//! `delete`: deletes VSIs with everything made for them, pools and groups with their members, data disks,
//! networks and snapshots.

use vsiflow_engine::{executor::By, model::EntityId};
use vsiflow_workflows::{
    fleet::{DeletionMode, ErrorKind},
    record::kind,
    spec::{
        DeletionPolicy, DesiredDataDisk, ResolvedGroup, ResolvedPool, ResolvedVsi,
        quota::DesiredQuota,
        server_type::{DesiredServerType, ServerType},
    },
};

use crate::{
    actor,
    args::{Common, DeleteArgs, Sources},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::{self, Target},
};

/// Words for VSIs before a name.
const VSI_WORDS: &[&str] = &["vsi", "vsis", "vs", "virtualserver", "virtualservers"];
/// Words for data disks.
const DISK_WORDS: &[&str] = &["disk", "disks"];
/// Words for pools.
const POOL_WORDS: &[&str] = &[
    "pool",
    "pools",
    "vsp",
    "virtualserverpool",
    "virtualserverpools",
];

/// Words for groups.
const GROUP_WORDS: &[&str] = &[
    "group",
    "groups",
    "vsg",
    "virtualservergroup",
    "virtualservergroups",
];

/// Words for networks that vsiflow makes.
const NETWORK_WORDS: &[&str] = &[
    "network",
    "networks",
    "vsn",
    "virtualservernetwork",
    "virtualservernetworks",
];

/// Words for snapshots.
const SNAPSHOT_WORDS: &[&str] = &[
    "snapshot",
    "snapshots",
    "vssnap",
    "virtualserversnapshot",
    "virtualserversnapshots",
];

/// Words for types.
const TYPE_WORDS: &[&str] = &["type", "types", "virtualservertype", "virtualservertypes"];

/// Words for quotas.
const QUOTA_WORDS: &[&str] = &[
    "quota",
    "quotas",
    "vsq",
    "virtualserverquota",
    "virtualserverquotas",
];

/// The kind that a word means.
fn kind_named(word: &str) -> Option<&'static str> {
    let kinds = [
        (VSI_WORDS, kind::VSI),
        (DISK_WORDS, kind::DISK),
        (POOL_WORDS, kind::POOL),
        (GROUP_WORDS, kind::GROUP),
        (TYPE_WORDS, kind::TYPE),
        (QUOTA_WORDS, kind::QUOTA),
        (NETWORK_WORDS, kind::NETWORK),
        (SNAPSHOT_WORDS, kind::SNAPSHOT),
    ];
    let found = kinds.into_iter().find(|(words, _)| words.contains(&word));
    found.map(|(_, kind)| kind)
}

/// An object to delete.
pub(super) struct DeletionTarget {
    /// `vsi`, `disk`, `network`, `snapshot`, `pool`, `group`, `quota` or `type`.
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The `deletionPolicy` of the document that names it, if one does.
    pub(super) policy: Option<DeletionPolicy>,
}

impl DeletionTarget {
    /// An object without a document.
    pub(super) fn named(kind: &'static str, namespace: String, name: String) -> Self {
        Self {
            kind,
            namespace,
            name,
            policy: None,
        }
    }
}

pub(super) async fn run(common: &Common, args: DeleteArgs) -> CommandOutcome {
    if args.release {
        return release(common, &args).await;
    }
    let mut named = named(common, &args).await?;
    // A disk is deleted with its VSI or after it; so is a network.
    named.sort_by_key(|doomed| match doomed.kind {
        kind::NETWORK => 2,
        kind::DISK => 1,
        _ => 0,
    });
    let app = App::open_to_work(common).await?;
    if args.all || !args.selection.is_empty() {
        named = selected(&app, &args, named).await?;
    }
    if args.orphan {
        named = without_unreadable(&app, common, named).await?;
    }
    // All names are looked up first, so that a typing error deletes nothing.
    for doomed in &named {
        if let Err(problem) = check_exists(&app, doomed).await {
            let ignored = args.ignore_not_found && problem.exit == Exit::NotFound;
            if !ignored {
                return Err(problem);
            }
        }
    }
    let mut targets = Vec::new();
    for doomed in named {
        if check_exists(&app, &doomed).await.is_err() {
            continue;
        }
        if doomed.kind == kind::TYPE {
            let by = actor::by(&common.reason);
            app.fleet.server_types().delete(&doomed.name, by).await?;
            output::line(&format!("type/{} deleted", doomed.name));
        } else if doomed.kind == kind::QUOTA {
            let by = actor::by(&common.reason);
            let (namespace, name) = (&doomed.namespace, &doomed.name);
            app.fleet.quotas().delete(namespace, name, by).await?;
            output::line(&format!("quota/{} deleted", work::label(namespace, name)));
        } else if doomed.kind == kind::NETWORK {
            targets.extend(delete_network(&app, common, doomed, args.orphan).await?);
        } else {
            targets.push(delete(&app, common, doomed, args.orphan).await?);
        }
    }
    let until = work::Until::Decided;
    let done = if args.orphan {
        work::FORGOTTEN
    } else {
        work::DELETED
    };
    work::report_deletions(&app, &args.wait, &targets, args.orphan);
    let mut exit = work::until_decided(&app, common, &args.wait, &targets, until, done).await?;
    if !args.orphan {
        exit = exit.max(Box::pin(work::await_pools_of(&app, common, &args.wait, &targets)).await?);
    }
    app.close().await;
    Ok(exit)
}

/// Releases the addresses of forgotten VSIs.
async fn release(common: &Common, args: &DeleteArgs) -> CommandOutcome {
    let named = of_words(args);
    if let Some(other) = named.iter().find(|one| one.kind != kind::VSI) {
        let message = format!(
            "--release concerns VSIs, and not {}/{}",
            other.kind, other.name
        );
        let remedy = "name VSIs that were forgotten, or their UIDs";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    let app = App::open_to_work(common).await?;
    let may_be_absent = args.ignore_not_found || app.shard().is_some();
    let mut targets = Vec::new();
    for DeletionTarget {
        namespace, name, ..
    } in named
    {
        let by = actor::by(&common.reason);
        let vsis = app.fleet.vsis();
        let released = vsis.release_addresses(&namespace, &name, args.orphan, by);
        let entities = match released.await {
            // Another journal of the set may have it.
            Err(error) if may_be_absent && error.kind == ErrorKind::NotFound => continue,
            released => released?,
        };
        targets.extend(entities.into_iter().map(|entity| Target {
            entity,
            namespace: namespace.clone(),
            name: name.clone(),
        }));
    }
    work::report_recorded(&app, &args.wait, &targets, "will release its addresses");
    let until = work::Until::Decided;
    let done = "has no address any more";
    let exit = work::until_decided(&app, common, &args.wait, &targets, until, done).await?;
    app.close().await;
    Ok(exit)
}

/// The selected objects, after the user confirmed. `delete disk -l …` selects data disks.
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
    if [kind::TYPE, kind::QUOTA, kind::NETWORK, kind::SNAPSHOT].contains(&kind) {
        let message = format!("{kind}s are deleted by their names");
        let remedy = format!("name them: `vsiflow delete {kind} NAME`");
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, &remedy));
    }
    if kind == kind::POOL {
        let pools = app.fleet.pools().list(false).await?;
        let targets = work::pools_among(&pools, namespace, selection)?;
        work::confirm_pools(app, &args.destroy, &targets).await?;
        return Ok(targets
            .into_iter()
            .map(|target| doomed(kind, target))
            .collect());
    }
    if kind == kind::GROUP {
        let groups = app.fleet.groups().list(false).await?;
        let targets = work::groups_among(&groups, namespace, selection)?;
        work::confirm_groups(app, &args.destroy, &targets).await?;
        return Ok(targets
            .into_iter()
            .map(|target| doomed(kind, target))
            .collect());
    }
    let targets = match kind {
        kind::DISK => {
            let disks = app.fleet.disks().list(false).await?;
            work::disks_among(&disks, namespace, selection)?
        }
        _ => work::selected(app, namespace, selection).await?,
    };
    work::confirm_destruction(&args.destroy, "delete", &targets)?;
    Ok(targets
        .into_iter()
        .map(|target| doomed(kind, target))
        .collect())
}

fn doomed(kind: &'static str, target: Target) -> DeletionTarget {
    DeletionTarget::named(kind, target.namespace, target.name)
}

/// Orphans the objects whose records cannot be read; returns the others.
async fn without_unreadable(
    app: &App,
    common: &Common,
    named: Vec<DeletionTarget>,
) -> Result<Vec<DeletionTarget>, ExitProblem> {
    let mut readable = Vec::new();
    for one in named {
        let by = actor::by(&common.reason);
        let fleet = &app.fleet;
        let orphaned = match one.kind {
            kind if kind::WITH_OBJECTS.contains(&kind) => {
                fleet.orphan_unreadable(kind, &one.name, by).await?
            }
            _ => None,
        };
        match orphaned {
            Some(entity) => output::line(&format!(
                "{entity} is forgotten: it could not be read; what it has on its host stays there"
            )),
            None => readable.push(one),
        }
    }
    Ok(readable)
}

async fn check_exists(app: &App, doomed: &DeletionTarget) -> Result<(), ExitProblem> {
    let (namespace, name) = (&doomed.namespace, &doomed.name);
    match doomed.kind {
        kind::DISK => app.fleet.disks().find(namespace, name).await?,
        kind::POOL => app.fleet.pools().find(namespace, name).await?,
        kind::GROUP => app.fleet.groups().find(namespace, name).await?,
        kind::SNAPSHOT => app.fleet.snapshots().find(namespace, name).await?,
        kind::NETWORK => {
            app.fleet.networks().find(namespace, name).await?;
            return Ok(());
        }
        kind::QUOTA => {
            return if app.fleet.quotas().has(namespace, name).await? {
                Ok(())
            } else {
                Err(work::no_quota(name))
            };
        }
        kind::TYPE => {
            return if app.fleet.server_types().has(name).await? {
                Ok(())
            } else {
                Err(no_type(name))
            };
        }
        _ => app.fleet.vsis().find(namespace, name).await?,
    };
    Ok(())
}

/// The error for a type that cannot be deleted; built-in types never can.
fn no_type(name: &str) -> ExitProblem {
    match ServerType::named(name) {
        Some(_) => {
            let message = format!("the type {name} is built in");
            let remedy = "leave it out; types of documents can be deleted";
            ExitProblem::new(Exit::Usage, "VSI0810", message, remedy)
        }
        None => {
            let message = format!("type/{name} is not known here");
            let remedy = "`vsiflow get types` lists the types";
            ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
        }
    }
}

/// Deletes a network on each of its hosts.
async fn delete_network(
    app: &App,
    common: &Common,
    doomed: DeletionTarget,
    orphan: bool,
) -> Result<Vec<Target>, ExitProblem> {
    let by = actor::by(&common.reason);
    let DeletionTarget {
        namespace, name, ..
    } = doomed;
    let deleted = app.fleet.networks().delete(&namespace, &name, orphan, by);
    let targets = deleted.await?.into_iter().map(|entity| Target {
        entity,
        namespace: namespace.clone(),
        name: name.clone(),
    });
    Ok(targets.collect())
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
        policy,
    } = doomed;
    let mode = match (orphan, policy) {
        (true, _) => DeletionMode::Orphan,
        (false, Some(policy)) => DeletionMode::of_document(policy),
        (false, None) => DeletionMode::ByPolicy,
    };
    let entity = match kind {
        kind::POOL => {
            app.fleet
                .pools()
                .delete(&namespace, &name, orphan, by)
                .await?
        }
        kind::GROUP => {
            app.fleet
                .groups()
                .delete(&namespace, &name, orphan, by)
                .await?
        }
        kind::SNAPSHOT => {
            app.fleet
                .snapshots()
                .delete(&namespace, &name, orphan, by)
                .await?
        }
        kind::VSI => {
            let vsis = app.fleet.vsis();
            let entity = vsis.delete(&namespace, &name, mode, by).await?;
            if !orphan && app.fleet.is_forgotten(&entity) {
                report_retained(app, &entity, &work::label(&namespace, &name)).await?;
            }
            entity
        }
        _ => delete_disk(app, (&namespace, &name), mode, by).await?,
    };
    Ok(Target {
        entity,
        namespace,
        name,
    })
}

/// Deletes a data disk, and prints whether its volume stays.
async fn delete_disk(
    app: &App,
    (namespace, name): (&str, &str),
    mode: DeletionMode,
    by: By,
) -> Result<EntityId, ExitProblem> {
    let disk = app.fleet.disks().get(namespace, name).await?;
    let entity = app.fleet.disks().delete(namespace, name, mode, by).await?;
    if mode != DeletionMode::Orphan && app.fleet.is_forgotten(&entity) {
        output::note(&format!(
            "disk/{}: volume {} stays on host {}, as its deletionPolicy says",
            work::label(namespace, name),
            disk.status.volume,
            disk.status.host
        ));
    }
    Ok(entity)
}

/// Prints what stays on the host of a VSI that is forgotten.
async fn report_retained(app: &App, entity: &EntityId, label: &str) -> Result<(), ExitProblem> {
    let vsi = app.fleet.vsis().of(entity).await?;
    let host = vsi.map(|vsi| vsi.status.host).unwrap_or_default();
    output::note(&format!(
        "vsi/{label}: its domain, its boot disk and everything else stay on host {host}, as its \
         deletionPolicy says, and its guest is not stopped; `vsiflow adopt` manages it again"
    ));
    Ok(())
}

async fn named(common: &Common, args: &DeleteArgs) -> Result<Vec<DeletionTarget>, ExitProblem> {
    if args.files.is_empty() {
        return Ok(of_words(args));
    }
    let documents = work::documents(common, &Sources::of(&args.files)).await?;
    let nothing =
        documents.vsis.is_empty() && documents.pools.is_empty() && documents.groups.is_empty();
    let nothing = nothing && documents.types.is_empty() && documents.quotas.is_empty();
    if nothing && documents.data_disks.is_empty() {
        output::warning(
            "the documents describe no VSI, pool, group or data disk; nothing is deleted",
        );
    }
    let of_vsi = |vsi: ResolvedVsi| DeletionTarget {
        kind: kind::VSI,
        policy: Some(vsi.desired.deletion_policy),
        namespace: vsi.desired.namespace,
        name: vsi.desired.name,
    };
    let of_disk = |disk: DesiredDataDisk| DeletionTarget {
        kind: kind::DISK,
        policy: Some(disk.deletion_policy),
        namespace: disk.namespace,
        name: disk.name,
    };
    let of_pool = |pool: ResolvedPool| {
        DeletionTarget::named(kind::POOL, pool.desired.namespace, pool.desired.name)
    };
    let of_group =
        |group: ResolvedGroup| DeletionTarget::named(kind::GROUP, group.namespace, group.name);
    let of_type =
        |one: DesiredServerType| DeletionTarget::named(kind::TYPE, "default".to_owned(), one.name);
    let of_quota = |one: DesiredQuota| DeletionTarget::named(kind::QUOTA, one.namespace, one.name);
    let types = documents.types.into_iter().map(of_type);
    let quotas = documents.quotas.into_iter().map(of_quota);
    let groups = documents.groups.into_iter().map(of_group);
    let vsis = documents.vsis.into_iter().map(of_vsi);
    let pools = documents.pools.into_iter().map(of_pool);
    let disks = documents.data_disks.into_iter().map(of_disk);
    let all = vsis.chain(pools).chain(groups);
    Ok(all.chain(disks).chain(types).chain(quotas).collect())
}

fn of_words(args: &DeleteArgs) -> Vec<DeletionTarget> {
    let mut names = args.names.iter().map(String::as_str).peekable();
    // Accepts `delete vsi NAME`, as kubectl does.
    let word = names.peek().copied().filter(|_| args.names.len() > 1);
    let kind = word.and_then(kind_named);
    if kind.is_some() {
        names.next();
    }
    let of = |name: &str| {
        let before = name.split_once('/');
        let prefix = before.and_then(|(kind_word, rest)| Some((kind_named(kind_word)?, rest)));
        let (kind, name) = prefix.unwrap_or((kind.unwrap_or(kind::VSI), name));
        DeletionTarget::named(kind, args.namespace.clone(), name.to_owned())
    };
    names.map(of).collect()
}
