//! What a command on a set comes to: a look at its journals, or questions to those who hold them.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_api::{CommandFile, CommandRequest};
use vsiflow_postgres::{
    JournalAddress,
    seal::Sealer,
    shards::{Named, ShardSet},
};

use super::{
    SetPlace,
    ask::{self, CommandAsked},
    own,
};
use crate::{
    actor,
    args::{
        AuditCommand, Cli, CliCommand, Common, OutputFormat, Selection, Sources, TopArgs,
        without_kind,
    },
    command,
    compose::{App, elsewhere, state_path},
    exit::{Exit, ExitProblem},
    output::sink,
    work::{self, DISK},
};

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
    Acts(&'a str, &'a [String], bool),
    /// The same for what documents describe.
    Documents(&'a Sources),
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
    let needs_none = App::held().is_some() || cli.common.server.is_some() || stands_alone(&cli);
    let Some(address) = cli.common.journal()?.filter(|_| !needs_none).cloned() else {
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
        place.member(common, number, false)
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
            place.member(common, 0, false)
        }))),
        Meeting::LooksAt(namespace, names) => {
            let journal = of_names(&place, namespace, &names).await?;
            Ok(Routed::Of(with(cli, |common| {
                place.member(common, journal, false)
            })))
        }
        Meeting::Acts(namespace, names, repeatable) => {
            let sealer = needed_key(&cli.common).await?;
            let journal = of_names(&place, namespace, names).await?;
            let asked = asked(&cli, Vec::new());
            let exit = ask::ask(&place.set, &sealer, journal, &asked, repeatable).await?;
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
    let acts = |args: &'_ crate::args::Targets| args.names.is_empty() || args.all;
    match command {
        CliCommand::Get(args) if args.watch => Meeting::Refused("it follows one journal"),
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
        CliCommand::Describe(args) => Meeting::LooksAt(&args.namespace, args.names()),
        CliCommand::History(args) => Meeting::LooksAt(&args.namespace, args.names()),
        CliCommand::Logs(args) if args.words.is_empty() => Meeting::Refused(NAMES),
        CliCommand::Logs(args) => {
            let (_, names) = crate::args::kind_and_names(&args.words);
            Meeting::LooksAt(&args.namespace, names.to_vec())
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
            if args.names.is_empty() || args.all || !is_none(&args.selection) {
                return Meeting::Refused(NAMES);
            }
            Meeting::Acts(&args.namespace, &args.names, true)
        }
        CliCommand::Start(args) if !acts(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, &args.targets.names, true)
        }
        CliCommand::Stop(args) if !acts(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, &args.targets.names, true)
        }
        CliCommand::Restart(args) if !acts(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, &args.targets.names, false)
        }
        CliCommand::Approve(args) if !acts(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, &args.targets.names, false)
        }
        CliCommand::Cancel(args) if !acts(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, &args.targets.names, false)
        }
        CliCommand::Rebuild(args) if !acts(&args.targets) => {
            Meeting::Acts(&args.targets.namespace, &args.targets.names, false)
        }
        CliCommand::Pause(args) | CliCommand::Unpause(args) if !args.names.is_empty() => {
            Meeting::Acts(&args.namespace, &args.names, true)
        }
        CliCommand::Retry(args) if !args.names.is_empty() => {
            Meeting::Acts(&args.namespace, &args.names, true)
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
            Meeting::Refused("a set has no pools")
        }
        _ => Meeting::Refused("it works on one journal"),
    }
}

const NAMES: &str = "here it needs names of VSIs and data disks, without a selection";
const ONE_DOCUMENT: &str = "what several journals print is not one document";

fn is_none(selection: &Selection) -> bool {
    selection.is_empty()
}

fn is_data(format: Option<OutputFormat>) -> bool {
    matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml))
}

/// Whether the holder of a journal does the command if it is asked.
pub(super) fn is_asked(command: &CliCommand) -> bool {
    matches!(meeting(command), Meeting::Acts(..) | Meeting::Documents(_))
}

/// The journal of these objects, which must be one.
async fn of_names(place: &SetPlace, namespace: &str, names: &[String]) -> Result<u16, ExitProblem> {
    let mut found: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (kind, rest) = match name.strip_prefix(DISK) {
            Some(rest) => ("disk", rest),
            None => ("vsi", without_kind(name)),
        };
        let (namespace, rest) = rest.split_once('/').unwrap_or((namespace, rest));
        let object = own::object(kind, namespace, rest);
        let journal = place.set.journal_of_name(&object).await;
        let Some(journal) = journal.map_err(elsewhere::problem)? else {
            let message = format!("{name} is not known here");
            let remedy = "`vsiflow get -A` lists the VSIs of the set; here VSIs and data disks (disk/NAME) have names";
            return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
        };
        found.entry(journal).or_default().push(name);
    }
    let mut journals = found.keys();
    match (journals.next(), journals.next()) {
        (Some(journal), None) => Ok(*journal),
        _ => {
            let parts = found.iter();
            let parts =
                parts.map(|(journal, names)| format!("{} (journal {journal})", names.join(" ")));
            let parts = parts.collect::<Vec<_>>().join(", ");
            let message = format!("the objects are in several journals: {parts}");
            let remedy = "name those of one journal at a time";
            Err(ExitProblem::new(Exit::Usage, "VSI0764", message, remedy))
        }
    }
}

fn asked(cli: &Cli, files: Vec<CommandFile>) -> CommandAsked {
    CommandAsked {
        request: CommandRequest {
            args: command::words(cli),
            files,
            directory: None,
        },
        actor: actor::by("").actor,
    }
}

/// Has every journal that documents concern do its part.
async fn documents(cli: &Cli, place: &SetPlace, sources: &Sources) -> Result<Exit, ExitProblem> {
    let sealer = needed_key(&cli.common).await?;
    let given = work::gather(&sources.files, sources.recursive).await?;
    // Their warnings are said where they are applied.
    let read = work::with_files(given.clone(), work::documents(&cli.common, sources));
    let read = Box::pin(sink::with(std::sync::Arc::default(), read)).await;
    let resolved = match read {
        Ok(resolved) => resolved,
        // Now they are for the user.
        Err(_) => work::with_files(given.clone(), work::documents(&cli.common, sources)).await?,
    };
    own::refuse_shared(&resolved)?;
    let mut journals = BTreeSet::new();
    for host in own::hosts(&resolved) {
        let journal = place.set.assign(&host).await;
        journals.insert(journal.map_err(elsewhere::problem)?);
    }
    let files = given.files.into_iter().map(|file| CommandFile {
        name: file.name,
        content: file.bytes,
    });
    let asked = asked(cli, files.collect());
    let asking = journals
        .iter()
        .map(|journal| ask::ask(&place.set, &sealer, *journal, &asked, true));
    let mut worst = Exit::Done;
    for answered in futures::future::join_all(asking).await {
        worst = worst.max(match answered {
            Ok(exit) => exit,
            Err(problem) => {
                crate::output::problem(&problem);
                problem.exit
            }
        });
    }
    Ok(worst)
}

/// The key that requests are sealed with.
pub(super) async fn needed_key(common: &Common) -> Result<Sealer, ExitProblem> {
    elsewhere::sealer(common).await?.ok_or_else(|| {
        let message = "what processes of a set ask of one another is sealed, and no key is named";
        let remedy = "make one with `age-keygen -o FILE` and name it with --journal-key FILE, everywhere the same";
        ExitProblem::new(Exit::Usage, "VSI0835", message, remedy)
    })
}
