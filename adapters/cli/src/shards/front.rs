//! What a command on a set comes to: a look at its journals, or questions to those who hold them.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_api::{CommandFile, CommandRequest};
use vsiflow_postgres::{
    JournalAddress,
    seal::Sealer,
    shards::{Named, ShardSet},
};

use super::{
    DECIDES, SetPlace,
    ask::{self, CommandAsked, CommandPart},
    own, retry,
};
use vsiflow_workflows::{fleet::is_open, spec::Resolved};

use crate::{
    actor,
    args::{
        AuditCommand, Cli, CliCommand, Common, OutputFormat, RetryArgs, Sources, Targets, TopArgs,
        kind_and_names, names_of, without_kind,
    },
    compose::{App, elsewhere, journal_key, state_path},
    daemon,
    exit::{Exit, ExitProblem},
    output::{self, sink},
    work::{self, DISK},
};

/// How a quota is named among other things.
const QUOTA: &str = "quota/";
/// How a pool is.
pub(super) const POOL: &str = "pool/";
/// How a group is.
pub(super) const GROUP: &str = "group/";

/// Where a command goes on.
pub(crate) enum Routed {
    /// As ever: no set is concerned.
    Here(Box<Cli>),
    /// Here, with one journal of a set, or with all of them.
    Of(Box<Cli>),
    /// It is done.
    Answered(Exit),
}

/// How a command meets a set.
enum Meeting<'a> {
    /// It looks at all journals.
    Looks,
    /// It looks at the journal of these objects.
    LooksAt(&'a str, Vec<String>),
    /// It has something recorded for these objects; whether it may be repeated.
    Acts(&'a str, Vec<String>, bool),
    /// It has something recorded in journal 0; whether it may be repeated.
    Decides(bool),
    /// The same for what documents describe.
    Documents(&'a Sources),
    /// It has members of pools and groups tried again, in whichever journals they are.
    Members(&'a RetryArgs),
    /// It looks at the server: any of the journals will do.
    Server,
    /// It knows no set, or would show or change a part of it.
    Refused(&'static str),
}

/// Finds out whether a command concerns a set, and does it, as far as that is not done as ever.
///
/// # Errors
/// VSI0762 to VSI0766, and when the database does not answer.
pub(crate) async fn route(cli: Cli) -> Result<Routed, ExitProblem> {
    if App::held().is_some() || stands_alone(&cli) {
        return Ok(Routed::Here(Box::new(cli)));
    }
    let Some(address) = cli.common.journal()?.cloned() else {
        return Ok(Routed::Here(Box::new(cli)));
    };
    let named = ShardSet::named(&address).await;
    match named.map_err(elsewhere::problem)? {
        Named::Journal => Ok(Routed::Here(Box::new(cli))),
        Named::Member(number) => one(cli, &address, number).await,
        Named::Set(_) => {
            let place = place(&cli.common, &address).await?;
            of_set(cli, place).await
        }
    }
}

/// Whether a command has nothing to do with a journal, or finds out itself.
fn stands_alone(cli: &Cli) -> bool {
    matches!(
        cli.command,
        CliCommand::Serve(_)
            | CliCommand::Completions { .. }
            | CliCommand::Explain(_)
            | CliCommand::Openapi
            | CliCommand::Man { .. }
            | CliCommand::Contract(_)
            | CliCommand::Crd(_)
            | CliCommand::Migrate(_)
    )
}

/// The set of an address, and the folder beside it.
async fn place(common: &Common, address: &JournalAddress) -> Result<SetPlace, ExitProblem> {
    let set = ShardSet::open(address).await;
    let missing = || ExitProblem::defect("the set was there a moment ago");
    let set = set.map_err(elsewhere::problem)?.ok_or_else(missing)?;
    Ok(SetPlace::new(set, state_path(common)?))
}

/// Refuses to serve a set, or one of its journals, as a journal by itself.
///
/// # Errors
/// VSI0760 and VSI0762.
pub(crate) async fn is_no_set(common: &Common) -> Result<(), ExitProblem> {
    let Some(address) = common.journal()? else {
        return Ok(());
    };
    match ShardSet::named(address).await {
        // What a standby waits for: the database refuses to make a journal in the place of a set.
        Err(_) | Ok(Named::Journal) => Ok(()),
        Ok(Named::Member(number)) => Err(of_member(number)),
        Ok(Named::Set(journals)) => {
            let message = format!("{address} is a set of {journals} journals");
            let remedy = "serve it with --shards auto";
            Err(ExitProblem::new(Exit::Usage, "VSI0760", message, remedy))
        }
    }
}

fn of_member(number: u16) -> ExitProblem {
    let message =
        format!("the address names journal {number} of a set, of which a part is looked at only");
    let remedy = "name the set, without the number, and `serve --shards auto` does it";
    ExitProblem::new(Exit::Usage, "VSI0762", message, remedy)
}

/// One journal of a set is looked at as any other.
async fn one(cli: Cli, address: &JournalAddress, number: u16) -> Result<Routed, ExitProblem> {
    let looks = match &cli.command {
        CliCommand::Get(args) => !args.refresh && !args.watch,
        CliCommand::Top(TopArgs { once, .. }) => *once,
        CliCommand::Describe(_) | CliCommand::History(_) | CliCommand::Events(_) => true,
        CliCommand::Logs(_) | CliCommand::Replay(_) | CliCommand::Doctor(_) => true,
        CliCommand::Audit(command) => !matches!(command, AuditCommand::Rebuild(_)),
        _ => false,
    };
    if !looks {
        return Err(of_member(number));
    }
    let (name, _) = address.journal().rsplit_once('.').unwrap_or_default();
    let place = place(&cli.common, &address.with_journal(name)).await?;
    Ok(Routed::Of(with(cli, |common| {
        place.member(common, number, None)
    })))
}

fn with(cli: Cli, change: impl FnOnce(&Common) -> Common) -> Box<Cli> {
    Box::new(Cli {
        common: change(&cli.common),
        command: cli.command,
    })
}

async fn of_set(cli: Cli, place: SetPlace) -> Result<Routed, ExitProblem> {
    match meeting(&cli.command) {
        Meeting::Looks => Ok(Routed::Of(with(cli, |common| Common {
            set: Some(place),
            ..common.clone()
        }))),
        Meeting::Server => Ok(Routed::Of(with(cli, |common| {
            place.member(common, 0, None)
        }))),
        Meeting::LooksAt(namespace, names) => {
            let journal = of_names(&place, namespace, &names).await?;
            Ok(Routed::Of(with(cli, |common| {
                place.member(common, journal, None)
            })))
        }
        Meeting::Acts(namespace, names, repeatable) => {
            let sealer = needed_key().await?;
            let journal = of_names(&place, namespace, &names).await?;
            let asked = asked(&cli, Vec::new(), CommandPart::Own);
            let exit = ask::ask(&place.set, &sealer, journal, &asked, repeatable).await?;
            Ok(Routed::Answered(exit))
        }
        Meeting::Decides(repeatable) => {
            let sealer = needed_key().await?;
            let asked = asked(&cli, Vec::new(), CommandPart::Own);
            let exit = ask::ask(&place.set, &sealer, DECIDES, &asked, repeatable).await?;
            Ok(Routed::Answered(exit))
        }
        Meeting::Members(args) => {
            let exit = Box::pin(retry::retry(&cli, args, &place)).await?;
            Ok(Routed::Answered(exit))
        }
        Meeting::Documents(sources) => {
            let exit = Box::pin(documents(&cli, &place, sources)).await?;
            Ok(Routed::Answered(exit))
        }
        Meeting::Refused(why) => {
            let (name, last) = (place.set.name(), place.set.journals().saturating_sub(1));
            let message = format!("the command is not for a set of journals: {why}");
            let remedy = format!(
                "`get`, `events`, `describe`, `history`, `logs`, `apply`, `plan`, `delete` and power commands with \
                 names are; one journal is looked at with ?journal={name}.0 to {name}.{last}"
            );
            Err(ExitProblem::new(Exit::Usage, "VSI0764", message, &remedy))
        }
    }
}

fn meeting(command: &CliCommand) -> Meeting<'_> {
    match command {
        CliCommand::Get(args) if args.refresh => {
            Meeting::Refused("--refresh records in one journal")
        }
        CliCommand::Get(args) if args.at.is_some() => {
            Meeting::Refused("a moment is one of a journal")
        }
        CliCommand::Get(_) => Meeting::Looks,
        CliCommand::Events(args) if args.watch => Meeting::Refused("it follows one journal"),
        CliCommand::Events(args) if args.filter.from_offset > 0 => {
            Meeting::Refused("an offset is one of a journal")
        }
        CliCommand::Events(_) => Meeting::Looks,
        CliCommand::Describe(args) if is_quota(&args.names()) => Meeting::Refused(
            "one journal knows a part of what is used; `get quotas` shows all of it",
        ),
        CliCommand::Describe(args) if make_members(&args.names()) && args.at.is_some() => {
            Meeting::Refused("a moment is one of a journal")
        }
        CliCommand::Describe(args) if make_members(&args.names()) => Meeting::Looks,
        CliCommand::Describe(args) => Meeting::LooksAt(&args.namespace, args.names()),
        CliCommand::History(args) => Meeting::LooksAt(&args.namespace, args.names()),
        CliCommand::Logs(args) if args.words.is_empty() => Meeting::Refused(NAMES),
        CliCommand::Logs(args) => {
            let (_, names) = kind_and_names(&args.words);
            Meeting::LooksAt(&args.namespace, names)
        }
        CliCommand::Doctor(_) => Meeting::Server,
        CliCommand::Apply(args) if args.prune.prune => {
            Meeting::Refused("--prune would have to see all journals at one moment")
        }
        CliCommand::Apply(args) if is_data(args.output) => Meeting::Refused(ONE_DOCUMENT),
        CliCommand::Apply(args) => Meeting::Documents(&args.sources),
        CliCommand::Plan(args) if is_data(args.output) => Meeting::Refused(ONE_DOCUMENT),
        CliCommand::Plan(args) => Meeting::Documents(&args.sources),
        CliCommand::Delete(args) => {
            if args.names.is_empty() || args.all || !args.selection.is_empty() {
                return Meeting::Refused(NAMES);
            }
            Meeting::Acts(&args.namespace, names_of(&args.names), true)
        }
        CliCommand::Start(args) if has_names(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, args.targets.names.clone(), true)
        }
        CliCommand::Stop(args) if has_names(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, args.targets.names.clone(), true)
        }
        CliCommand::Restart(args) if has_names(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, args.targets.names.clone(), false)
        }
        CliCommand::Approve(args) if has_names(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, args.targets.names.clone(), false)
        }
        CliCommand::Cancel(args) if has_names(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, args.targets.names.clone(), false)
        }
        CliCommand::Rebuild(args) if has_names(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, args.targets.names.clone(), false)
        }
        CliCommand::Pause(args) | CliCommand::Unpause(args) if !args.names.is_empty() => {
            Meeting::Acts(&args.namespace, args.names.clone(), true)
        }
        CliCommand::Retry(args) if names_of(&args.names).iter().any(|name| makes_members(name)) => {
            Meeting::Members(args)
        }
        CliCommand::Retry(args) if !args.names.is_empty() => {
            Meeting::Acts(&args.namespace, names_of(&args.names), true)
        }
        CliCommand::Start(_) | CliCommand::Stop(_) | CliCommand::Restart(_) => {
            Meeting::Refused(NAMES)
        }
        CliCommand::Approve(_) | CliCommand::Cancel(_) | CliCommand::Rebuild(_) => {
            Meeting::Refused(NAMES)
        }
        CliCommand::Pause(_) | CliCommand::Unpause(_) | CliCommand::Retry(_) => {
            Meeting::Refused(NAMES)
        }
        CliCommand::Audit(_) | CliCommand::Replay(_) | CliCommand::Backup(_) => {
            Meeting::Refused("each journal has a chain of its own")
        }
        CliCommand::Scale(_) | CliCommand::Cordon(_) | CliCommand::Uncordon(_) => {
            Meeting::Decides(true)
        }
        CliCommand::Rollback(args) if args.is_of_pool() && !args.dry_run => Meeting::Decides(false),
        CliCommand::Wait(_) => Meeting::Looks,
        CliCommand::Output(args) => {
            let group = format!("{GROUP}{}", args.name());
            Meeting::LooksAt(&args.namespace, vec![group])
        }
        _ => Meeting::Refused("it works on one journal"),
    }
}

const NAMES: &str = "here it needs names of VSIs and data disks, without a selection";
const ONE_DOCUMENT: &str = "what several journals print is not one document";

fn has_names(targets: &Targets) -> bool {
    !targets.names.is_empty() && !targets.all
}

fn is_data(format: Option<OutputFormat>) -> bool {
    matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml))
}

/// Whether the holder of a journal does the command if it is asked.
pub(super) fn is_asked(command: &CliCommand) -> bool {
    matches!(
        meeting(command),
        Meeting::Acts(..) | Meeting::Decides(_) | Meeting::Documents(_)
    )
}

/// Whether it is a pool or a group: they are in journal 0, and what they make is anywhere.
fn makes_members(name: &str) -> bool {
    name.starts_with(POOL) || name.starts_with(GROUP)
}

fn make_members(names: &[String]) -> bool {
    !names.is_empty() && names.iter().all(|name| makes_members(name))
}

fn is_quota(names: &[String]) -> bool {
    names.iter().any(|name| name.starts_with(QUOTA))
}

/// The journal of these objects, which must be one.
async fn of_names(place: &SetPlace, namespace: &str, names: &[String]) -> Result<u16, ExitProblem> {
    let found = by_journal(place, namespace, names).await?;
    let mut journals = found.keys();
    match (journals.next(), journals.next()) {
        (Some(journal), None) => Ok(*journal),
        _ => {
            let parts = found.iter();
            let parts =
                parts.map(|(journal, here)| format!("{} (journal {journal})", here.join(" ")));
            let parts = parts.collect::<Vec<_>>().join(", ");
            let message = format!("the objects are in several journals: {parts}");
            let remedy = "name those of one journal at a time";
            Err(ExitProblem::new(Exit::Usage, "VSI0764", message, remedy))
        }
    }
}

/// These objects, by their journals.
pub(super) async fn by_journal<'n>(
    place: &SetPlace,
    namespace: &str,
    names: impl IntoIterator<Item = &'n String>,
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
        let journal = journal.map_err(elsewhere::problem)?;
        let journal = journal.ok_or_else(|| unknown(name))?;
        found.entry(journal).or_default().push(name.clone());
    }
    Ok(found)
}

/// Nothing of that name is there.
pub(super) fn unknown(name: &str) -> ExitProblem {
    let message = format!("{name} is not known here");
    let remedy = "`vsiflow get -A` lists the VSIs of the set; here VSIs and data disks (disk/NAME) have names";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}

pub(super) fn asked(cli: &Cli, files: Vec<CommandFile>, part: CommandPart) -> CommandAsked {
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

/// Has every journal that documents concern do its part.
async fn documents(cli: &Cli, place: &SetPlace, sources: &Sources) -> Result<Exit, ExitProblem> {
    let sealer = needed_key().await?;
    let given = work::gather(&sources.files, sources.recursive).await?;
    let resolved = work::with_files(given.clone(), read(&cli.common, sources));
    let resolved = Box::pin(resolved).await?;
    own::refuse_shared(&resolved)?;
    let limited = place.set.limited_among(&own::namespaces(&resolved)).await;
    let is_limited = !limited.map_err(elsewhere::problem)?.is_empty();
    let is_open = resolved.vsis.iter().any(is_open);
    let of_journal_0 = !resolved.quotas.is_empty() || own::makes_members(&resolved);
    let is_decided = is_open || is_limited || of_journal_0;
    let mut journals = BTreeSet::new();
    for host in own::hosts(&resolved) {
        let journal = place.set.assign(&host).await;
        journals.insert(journal.map_err(elsewhere::problem)?);
    }
    if journals.is_empty() && !is_decided {
        output::note("nothing is recorded: the documents describe no VSI and no data disk");
    }
    let files = given.files.into_iter().map(|file| CommandFile {
        name: file.name,
        content: file.bytes,
    });
    let part = if is_decided {
        CommandPart::Decide
    } else {
        CommandPart::Own
    };
    let asked = asked(cli, files.collect(), part);
    if is_decided {
        return ask::ask(&place.set, &sealer, DECIDES, &asked, true).await;
    }
    let asking = journals
        .iter()
        .map(|journal| ask::ask(&place.set, &sealer, *journal, &asked, true));
    Ok(worst(futures::future::join_all(asking).await))
}

/// The worst of what several journals said; what is wrong with one is said.
pub(super) fn worst(answers: Vec<Result<Exit, ExitProblem>>) -> Exit {
    let exits = answers.into_iter().map(|answered| {
        answered.unwrap_or_else(|problem| {
            output::problem(&problem);
            problem.exit
        })
    });
    exits.max().unwrap_or(Exit::Done)
}

/// What documents describe. Their warnings are said where they are applied.
pub(super) async fn read(common: &Common, sources: &Sources) -> Result<Resolved, ExitProblem> {
    let silently = sink::with(std::sync::Arc::default(), work::documents(common, sources));
    match Box::pin(silently).await {
        Ok(resolved) => Ok(resolved),
        // Now they are for the user.
        Err(_) => work::documents(common, sources).await,
    }
}

/// The key that requests are sealed with.
pub(super) async fn needed_key() -> Result<Sealer, ExitProblem> {
    journal_key::sealer().await?.ok_or_else(|| {
        let message = "what processes of a set ask of one another is sealed, and no key is named";
        let remedy = "make one with `age-keygen -o FILE` and name it with --journal-key FILE, everywhere the same, or name a program that \
                      prints it with --journal-key-command";
        ExitProblem::new(Exit::Usage, "VSI0835", message, remedy)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn met(line: &str) -> String {
        let words = std::iter::once("vsiflow").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        match meeting(&cli.command) {
            Meeting::Looks => "looks".to_owned(),
            Meeting::LooksAt(namespace, names) => {
                format!("looks at {namespace} {}", names.join(" "))
            }
            Meeting::Acts(namespace, names, repeatable) => {
                let how = if repeatable { "again" } else { "once" };
                format!("{how} {namespace} {}", names.join(" "))
            }
            Meeting::Decides(true) => "again in journal 0".to_owned(),
            Meeting::Decides(false) => "once in journal 0".to_owned(),
            Meeting::Members(args) => format!("members of {}", args.names.join(" ")),
            Meeting::Documents(_) => "documents".to_owned(),
            Meeting::Server => "server".to_owned(),
            Meeting::Refused(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn each_command_meets_a_set_as_the_docs_say() {
        for (line, expected) in [
            ("get", "looks"),
            ("get vsi,disk -o json", "looks"),
            ("get --watch", "looks"),
            ("get --refresh", "refused"),
            ("get --at 4", "refused"),
            ("events", "looks"),
            ("events --from-offset 3", "refused"),
            ("describe disk data -n a", "looks at a disk/data"),
            ("history web db", "looks at default web db"),
            ("logs web", "looks at default web"),
            ("logs --all", "refused"),
            ("apply -f a.yaml", "documents"),
            ("apply -f a.yaml -o json", "refused"),
            ("apply -f a --prune", "refused"),
            ("plan -f a.yaml", "documents"),
            ("delete disk data", "again default disk/data"),
            ("delete web", "again default web"),
            ("delete -l app=web", "refused"),
            ("delete -f a.yaml", "refused"),
            ("stop web", "again default web"),
            ("restart web", "once default web"),
            ("rebuild web -n a", "once a web"),
            ("approve web", "once default web"),
            ("cancel web", "once default web"),
            ("retry web", "again default web"),
            ("retry --all", "refused"),
            ("pause --all", "refused"),
            ("unpause web", "again default web"),
            ("doctor", "server"),
            ("console web", "refused"),
            ("create a --image http://x/i.qcow2", "refused"),
            ("host drain a --stop", "refused"),
            ("audit verify", "refused"),
            ("resume", "refused"),
            ("describe pool web -n a", "looks"),
            ("describe pool web --at 4", "refused"),
            ("describe pool/web vsi/web", "looks at default pool/web web"),
            ("history pool/web", "looks at default pool/web"),
            ("scale pool/web --replicas 4", "again in journal 0"),
            (
                "scale group/web --pool a --replicas 4",
                "again in journal 0",
            ),
            ("describe group web", "looks"),
            ("delete group web", "again default group/web"),
            ("output group/web token -n a", "looks at a group/web"),
            ("retry group/web", "members of group/web"),
            ("cordon web-1", "again in journal 0"),
            ("rollback pool/web", "once in journal 0"),
            ("rollback pool/web --dry-run", "refused"),
            ("rollback web", "refused"),
            ("approve pool/web", "once default pool/web"),
            ("delete pool web", "again default pool/web"),
            ("retry pool/web", "members of pool/web"),
            ("wait pool/web --for delete", "looks"),
        ] {
            assert_eq!(met(line), expected, "{line}");
        }
    }
}
