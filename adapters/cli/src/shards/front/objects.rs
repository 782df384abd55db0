//! The objects that a command concerns, by the journals that have them; and the part of a command that is one journal's.

use std::collections::BTreeMap;

use vsiflow_api::CommandFile;
use vsiflow_api::CommandRequest;
use vsiflow_workflows::fleet::Fleets;

use super::{
    QUOTA,
    meeting::{Objects, SelectedObjects, makes_members},
    unknown,
};
use crate::{
    actor,
    args::{Cli, CliCommand, Common, ObjectKind, Selection, without_kind},
    compose::{App, elsewhere},
    daemon,
    exit::ExitProblem,
    shards::{
        DECIDES, SetPlace,
        ask::{CommandAsked, CommandPart},
        own,
    },
    work::{self, DISK, Target},
};

/// What a command concerns, by the journals.
pub(super) async fn concerned(
    place: &SetPlace,
    common: &Common,
    objects: &Objects<'_>,
    ignore_unknown: bool,
) -> Result<BTreeMap<u16, Vec<String>>, ExitProblem> {
    match objects {
        Objects::Named(namespace, names) => {
            let found = by_journal(place, namespace, names, ignore_unknown);
            found.await
        }
        Objects::Selected(wanted) => {
            let targets = Box::pin(selected(place, common, wanted)).await?;
            let names: Vec<_> = targets.iter().map(in_namespace).collect();
            by_journal(place, wanted.namespace, &names, ignore_unknown).await
        }
    }
}

/// As commands take it, with its namespace.
fn in_namespace(target: &Target) -> String {
    let name = format!("{}/{}", target.namespace, target.name);
    if target.is_vsi() {
        name
    } else {
        format!("{}/{name}", target.entity.kind())
    }
}

/// These objects, by their journals.
pub(in crate::shards) async fn by_journal<'n>(
    place: &SetPlace,
    namespace: &str,
    names: impl IntoIterator<Item = &'n String>,
    ignore_unknown: bool,
) -> Result<BTreeMap<u16, Vec<String>>, ExitProblem> {
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for name in names {
        if name.starts_with(QUOTA) || makes_members(name) {
            found.entry(DECIDES).or_default().push(name.clone());
            continue;
        }
        let (kind, rest) = match name.strip_prefix(DISK) {
            Some(rest) => ("disk", rest),
            None => ("vsi", without_kind(name)),
        };
        let (namespace, rest) = rest.split_once('/').unwrap_or((namespace, rest));
        let object = own::object(kind, namespace, rest);
        let journal = place.set.journal_of_name(&object).await;
        match journal.map_err(elsewhere::problem)? {
            Some(journal) => found.entry(journal).or_default().push(name.clone()),
            None if ignore_unknown => {}
            None => return Err(unknown(name)),
        }
    }
    Ok(found)
}

/// What a selection finds over all journals, once somebody agreed that it is destroyed.
async fn selected(
    place: &SetPlace,
    common: &Common,
    wanted: &SelectedObjects<'_>,
) -> Result<Vec<Target>, ExitProblem> {
    let apps = place.look_at_all(common).await?;
    let fleets = App::all_fleets(&apps)?;
    let found = Box::pin(among(&fleets, wanted)).await;
    App::end(apps, fleets).await;
    let (targets, count) = found?;
    if let Some((destroy, verb)) = wanted.destroys {
        work::confirm_several(destroy, verb, &targets, count)?;
    }
    Ok(targets)
}

/// What a selection finds there, and how many machines or disks that is.
async fn among(
    fleets: &Fleets,
    wanted: &SelectedObjects<'_>,
) -> Result<(Vec<Target>, usize), ExitProblem> {
    let SelectedObjects {
        namespace,
        selection,
        ..
    } = wanted;
    let targets = match wanted.kind {
        ObjectKind::Pool => {
            let pools = fleets.pools(false).await?;
            let targets = work::pools_among(&pools, namespace, selection)?;
            let is_one = |uid: &str| targets.iter().any(|target| target.entity.id() == uid);
            let chosen = pools.iter().filter(|pool| is_one(&pool.metadata.uid));
            let count = chosen.map(|pool| pool.status.members.len()).sum();
            return Ok((targets, count));
        }
        ObjectKind::Group => {
            let groups = fleets.groups(false).await?;
            let targets = work::groups_among(&groups, namespace, selection)?;
            let is_one = |uid: &str| targets.iter().any(|target| target.entity.id() == uid);
            let chosen = groups.iter().filter(|group| is_one(&group.metadata.uid));
            let waves = chosen.flat_map(|group| &group.status.waves);
            let items = waves.flat_map(|wave| &wave.items);
            let count = items.map(|item| item.members.len()).sum();
            return Ok((targets, count));
        }
        ObjectKind::Disk => work::disks_among(&fleets.disks(false).await?, namespace, selection)?,
        _ => work::vsis_among(&fleets.vsis(false).await?, namespace, selection)?,
    };
    let count = targets.len();
    Ok((targets, count))
}

/// A command as it is asked of a journal.
pub(in crate::shards) fn asked(
    cli: &Cli,
    files: Vec<CommandFile>,
    part: CommandPart,
) -> CommandAsked {
    CommandAsked {
        request: CommandRequest {
            args: daemon::words(cli),
            files,
            directory: None,
        },
        actor: actor::by("").actor,
        part,
    }
}

/// Leaves of a command what concerns these objects: none of its selections, documents and other names.
pub(in crate::shards) fn leave(command: &mut CliCommand, names: Vec<String>) {
    let names: Vec<_> = names.into_iter().map(|name| word(&name)).collect();
    match command {
        CliCommand::Delete(args) => {
            (args.names, args.selection, args.all) = (names, Selection::default(), false);
            args.files.clear();
        }
        CliCommand::Start(args) => args.targets.leave(names),
        CliCommand::Stop(args) | CliCommand::Restart(args) => args.targets.leave(names),
        CliCommand::Approve(args) => args.targets.leave(names),
        CliCommand::Cancel(args) => args.targets.leave(names),
        CliCommand::Rebuild(args) => args.targets.leave(names),
        CliCommand::Pause(args) | CliCommand::Unpause(args) => {
            (args.names, args.selection, args.all) = (names, Selection::default(), false);
        }
        CliCommand::Retry(args) => {
            (args.names, args.selection, args.all) = (names, Selection::default(), false);
        }
        CliCommand::Logs(args) => {
            (args.words, args.selection, args.all) = (names, Selection::default(), false);
        }
        CliCommand::Describe(args) => args.leave(names),
        CliCommand::History(args) => args.leave(names),
        // The others name one object.
        _ => {}
    }
}

/// A name that is no kind, whatever stands behind it.
fn word(name: &str) -> String {
    match ObjectKind::named(name) {
        Some(_) => format!("vsi/{name}"),
        None => name.to_owned(),
    }
}
