//! `delete`: deletes VSIs with everything made for them, pools and groups with their members, data disks,
//! networks and snapshots.

use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::{DeletionMode, DiskObject, ErrorKind, Fleets, RetainedByDocument},
    kinds::NameScope,
    record::kind,
    spec::{
        DeletionPolicy, DesiredDataDisk, Resolved, ResolvedGroup, ResolvedPool, ResolvedVsi,
        quota::DesiredQuota,
        server_type::{DesiredServerType, ServerType},
    },
};

use crate::{
    actor,
    args::{Common, DeleteArgs, ObjectKind, Sources},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::{self, Target},
};

/// The kind that a word means, of those that can be deleted.
fn kind_named(word: &str) -> Option<ObjectKind> {
    ObjectKind::named(word).filter(|kind| kind.is_deletable())
}

/// An object to delete.
pub(super) struct DeletionTarget {
    pub(super) kind: ObjectKind,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The `deletionPolicy` of the document that names it, if one does.
    pub(super) policy: Option<DeletionPolicy>,
}

impl DeletionTarget {
    /// An object without a document.
    pub(super) fn named(
        kind: ObjectKind,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            policy: None,
        }
    }

    /// The name with its kind.
    fn shown(&self) -> String {
        let name = match self.kind.names() {
            NameScope::Journal => self.name.clone(),
            NameScope::Namespace | NameScope::Host => work::label(&self.namespace, &self.name),
        };
        format!("{}/{name}", self.kind.word())
    }
}

pub(super) async fn run(common: &Common, args: DeleteArgs) -> CommandOutcome {
    if args.release {
        return release(common, &args).await;
    }
    let documents = if args.files.is_empty() {
        None
    } else {
        Some(Box::pin(work::documents(common, &Sources::of(&args.files))).await?)
    };
    let mut named = match &documents {
        Some(documents) => described(documents),
        None => of_words(&args),
    };
    // A disk is deleted with its VSI or after it; so is a network.
    named.sort_by_key(|doomed| match doomed.kind {
        ObjectKind::Network => 2,
        ObjectKind::Disk => 1,
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
    if let Some(documents) = documents.filter(|_| !args.orphan) {
        // VSIs and data disks are deleted by the policies of their documents.
        let retained = app.fleet.retained_with_members(&documents).await?;
        refuse_retained(&retained)?;
    }
    let mut targets = Vec::new();
    for doomed in named {
        if check_exists(&app, &doomed).await.is_err() {
            continue;
        }
        targets.extend(delete(&app, common, doomed, args.orphan).await?);
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
    if let Some(other) = named.iter().find(|one| one.kind != ObjectKind::Vsi) {
        let (word, name) = (other.kind.word(), &other.name);
        let message = format!("--release concerns VSIs, and not {word}/{name}");
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
    let kind_of_word = match args.names.as_slice() {
        [word] => kind_named(word),
        _ => None,
    };
    if !named.is_empty() && kind_of_word.is_none() {
        return Err(work::names_and_selector());
    }
    let (namespace, selection) = (&args.namespace, &args.selection);
    let kind = kind_of_word.unwrap_or(ObjectKind::Vsi);
    let is_selectable = matches!(
        kind,
        ObjectKind::Vsi | ObjectKind::Pool | ObjectKind::Group | ObjectKind::Disk
    );
    if !is_selectable {
        let word = kind.word();
        let message = format!("{word}s are deleted by their names");
        let remedy = format!("name them: `vsiflow delete {word} NAME`");
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, &remedy));
    }
    let fleets = Fleets::from(app.fleet.clone());
    let selected = work::select_objects(&fleets, kind, namespace, selection).await?;
    work::confirm_several(&args.destroy, "delete", &selected.targets, selected.size)?;
    let targets = selected.targets.into_iter();
    let doomed = |target: Target| DeletionTarget::named(kind, target.namespace, target.name);
    Ok(targets.map(doomed).collect())
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
        let word = one.kind.word();
        let orphaned = if kind::WITH_OBJECTS.contains(&word) {
            fleet.orphan_unreadable(word, &one.name, by).await?
        } else {
            None
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

/// Refuses to delete what its document retains and its record does not.
pub(crate) fn refuse_retained(retained: &[RetainedByDocument]) -> Result<(), ExitProblem> {
    let Some(first) = retained.first() else {
        return Ok(());
    };
    let message = "its document retains data that is recorded to go with it; nothing was changed";
    let remedy = "apply the document first, or delete it by its name";
    Err(ExitProblem {
        object: format!(
            "{}/{}",
            first.kind,
            work::label(&first.namespace, &first.name)
        ),
        ..ExitProblem::new(Exit::Blocked, "VSI0756", message, remedy)
    })
}

async fn check_exists(app: &App, doomed: &DeletionTarget) -> Result<(), ExitProblem> {
    let (namespace, name) = (&doomed.namespace, &doomed.name);
    if doomed.kind == ObjectKind::Network {
        app.fleet.networks().find(namespace, name).await?;
        return Ok(());
    }
    if doomed.kind == ObjectKind::Type && ServerType::named(name).is_some() {
        let message = format!("the type {name} is built in");
        let remedy = "leave it out; types of documents can be deleted";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    let fleets = Fleets::from(app.fleet.clone());
    Ok(doomed.kind.check_exists(&fleets, namespace, name).await?)
}

/// Orders a deletion, and prints what stays; returns what to wait for.
pub(super) async fn delete(
    app: &App,
    common: &Common,
    doomed: DeletionTarget,
    orphan: bool,
) -> Result<Vec<Target>, ExitProblem> {
    let (by, shown) = (actor::by(&common.reason), doomed.shown());
    let DeletionTarget {
        kind,
        namespace,
        name,
        policy,
        ..
    } = doomed;
    let mode = match (orphan, policy) {
        (true, _) => DeletionMode::Orphan,
        (false, Some(policy)) => DeletionMode::of_document(policy),
        (false, None) => DeletionMode::ByPolicy,
    };
    // Its record is gone once it is forgotten.
    let disk = match kind {
        ObjectKind::Disk => Some(app.fleet.disks().get(&namespace, &name).await?),
        _ => None,
    };
    let entities = kind.delete(&app.fleet, &namespace, &name, mode, by).await?;
    if entities.is_empty() {
        output::line(&format!("{shown} deleted"));
    }
    for entity in entities.iter().filter(|_| !orphan) {
        if !app.fleet.is_forgotten(entity) {
            continue;
        }
        match &disk {
            Some(disk) => report_retained_disk(disk, &shown),
            None => report_retained(app, entity, &shown).await?,
        }
    }
    let targets = entities.into_iter().map(|entity| Target {
        entity,
        namespace: namespace.clone(),
        name: name.clone(),
    });
    Ok(targets.collect())
}

/// Prints which volume of a data disk stays.
fn report_retained_disk(disk: &DiskObject, shown: &str) {
    let (volume, host) = (&disk.status.volume, &disk.status.host);
    output::note(&format!(
        "{shown}: volume {volume} stays on host {host}, as its deletionPolicy says"
    ));
}

/// Prints what stays on the host of a VSI that is forgotten.
async fn report_retained(app: &App, entity: &EntityId, shown: &str) -> Result<(), ExitProblem> {
    if entity.kind().as_str() != kind::VSI {
        return Ok(());
    }
    let vsi = app.fleet.vsis().of(entity).await?;
    let host = vsi.map(|vsi| vsi.status.host).unwrap_or_default();
    output::note(&format!(
        "{shown}: its domain, its boot disk and everything else stay on host {host}, as its \
         deletionPolicy says, and its guest is not stopped; `vsiflow adopt` manages it again"
    ));
    Ok(())
}

fn described(documents: &Resolved) -> Vec<DeletionTarget> {
    let nothing =
        documents.vsis.is_empty() && documents.pools.is_empty() && documents.groups.is_empty();
    let nothing = nothing && documents.types.is_empty() && documents.quotas.is_empty();
    if nothing && documents.data_disks.is_empty() {
        output::warning(
            "the documents describe no VSI, pool, group or data disk; nothing is deleted",
        );
    }
    let of_vsi = |vsi: &ResolvedVsi| DeletionTarget {
        policy: Some(vsi.desired.deletion_policy),
        ..DeletionTarget::named(ObjectKind::Vsi, &vsi.desired.namespace, &vsi.desired.name)
    };
    let of_disk = |disk: &DesiredDataDisk| DeletionTarget {
        policy: Some(disk.deletion_policy),
        ..DeletionTarget::named(ObjectKind::Disk, &disk.namespace, &disk.name)
    };
    let of_pool = |pool: &ResolvedPool| {
        DeletionTarget::named(
            ObjectKind::Pool,
            &pool.desired.namespace,
            &pool.desired.name,
        )
    };
    let of_group = |group: &ResolvedGroup| {
        DeletionTarget::named(ObjectKind::Group, &group.namespace, &group.name)
    };
    let of_type =
        |one: &DesiredServerType| DeletionTarget::named(ObjectKind::Type, "default", &one.name);
    let of_quota =
        |one: &DesiredQuota| DeletionTarget::named(ObjectKind::Quota, &one.namespace, &one.name);
    let types = documents.types.iter().map(of_type);
    let quotas = documents.quotas.iter().map(of_quota);
    let groups = documents.groups.iter().map(of_group);
    let vsis = documents.vsis.iter().map(of_vsi);
    let pools = documents.pools.iter().map(of_pool);
    let disks = documents.data_disks.iter().map(of_disk);
    let all = vsis.chain(pools).chain(groups);
    all.chain(disks).chain(types).chain(quotas).collect()
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
        let (kind, name) = prefix.unwrap_or((kind.unwrap_or(ObjectKind::Vsi), name));
        DeletionTarget::named(kind, &args.namespace, name)
    };
    names.map(of).collect()
}
