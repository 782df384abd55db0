//! What a command on a set comes to: a look at its journals, or questions to those who hold them.
//!
//! - [`routing`]: how each command meets a set.
//! - [`objects`]: the objects that it concerns, by the journals that have them, and what is left of it for one of them.
//! - [`documents`]: what documents describe.
//! - [`creating`]: VSIs that a command line describes.
//! - [`hosts`]: what is done on one host, by its journal.
//! - [`restoring`]: VSIs that are put back to snapshots.
//!
//! What names or selects objects of several journals is done in each of them, or not, and said for each. Names are looked up
//! in the whole set first, so that a slip of the pen touches nothing; who has to agree to something is asked once, here.

mod creating;
mod documents;
mod hosts;
mod objects;
mod restoring;
mod routing;

use vsiflow_postgres::{
    JournalAddress,
    seal::Sealer,
    shards::{Named, ShardSet},
};

use super::{
    DECIDES, SetPlace,
    ask::{self, CommandPart, ForwardedCommand},
    networks, retry,
};
use crate::{
    args::{AuditCommand, Cli, CliCommand, Common, Sources, TopArgs},
    compose::{App, database, journal_key, state_path},
    exit::{Exit, ExitProblem},
    output,
};
pub(super) use documents::read;
pub(super) use objects::{ObjectCounts, by_journal, forwarded, leave};
pub(super) use routing::is_asked;
use routing::{CommandRoute, Objects};

/// How a quota is named among other things.
const QUOTA: &str = "quota/";
/// How a host is.
const HOST: &str = "host/";
/// How a type is.
const TYPE: &str = "type/";
/// How a pool is.
pub(super) const POOL: &str = "pool/";
/// How a group is.
pub(super) const GROUP: &str = "group/";

/// Where a command continues.
pub(crate) enum Routed {
    /// As ever: no set is concerned.
    Here(Box<Cli>),
    /// Here, with one journal of a set, or with all of them.
    Of(Box<Cli>),
    /// Here, with one journal after the other; what is printed above each, if anything is.
    Each(Vec<(Option<String>, Cli)>),
    /// It is done.
    Answered(Exit),
}

/// Finds out whether a command concerns a set, and does it, as far as that is not done as ever.
///
/// # Errors
/// VSI0762 to VSI0766, and when the database does not answer.
pub(crate) async fn route(cli: Cli) -> Result<Routed, ExitProblem> {
    if App::held().is_some() || is_standalone(&cli) {
        return Ok(Routed::Here(Box::new(cli)));
    }
    let Some(address) = cli.common.journal()?.cloned() else {
        return Ok(Routed::Here(Box::new(cli)));
    };
    let named = ShardSet::named(&address).await;
    match named.map_err(database::problem)? {
        Named::Journal => Ok(Routed::Here(Box::new(cli))),
        Named::Member(number) => one(cli, &address, number).await,
        Named::Set(_) => {
            let place = place(&cli.common, &address).await?;
            of_set(cli, place).await
        }
    }
}

/// Whether a command has nothing to do with a journal, or finds out itself.
fn is_standalone(cli: &Cli) -> bool {
    match &cli.command {
        // Documents are printed.
        CliCommand::Create(args) => args.dry_run && args.from.is_none(),
        // What somebody else wrote is read.
        CliCommand::SshConfig(args) => args.command.is_some(),
        command => matches!(
            command,
            CliCommand::Serve(_)
                | CliCommand::Ui(_)
                | CliCommand::Completions { .. }
                | CliCommand::Explain(_)
                | CliCommand::Openapi
                | CliCommand::Man { .. }
                | CliCommand::Contract(_)
                | CliCommand::Crd(_)
                | CliCommand::Migrate(_)
        ),
    }
}

/// The set of an address, and the folder beside it.
async fn place(common: &Common, address: &JournalAddress) -> Result<SetPlace, ExitProblem> {
    let set = ShardSet::open(address).await;
    let missing = || ExitProblem::defect("the set was there a moment ago");
    let set = set.map_err(database::problem)?.ok_or_else(missing)?;
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
    let exit = match routing::route_of(&cli.command) {
        CommandRoute::Looks => {
            return Ok(Routed::Of(with(cli, |common| Common {
                set: Some(place),
                ..common.clone()
            })));
        }
        CommandRoute::Server => {
            return Ok(Routed::Of(with(cli, |common| {
                place.member(common, DECIDES, None)
            })));
        }
        CommandRoute::LooksAtEach => return Ok(Routed::Each(each(&cli, &place))),
        CommandRoute::LooksAt(objects) => return with_viewed(&cli, &place, &objects).await,
        CommandRoute::Acts(objects, repeatable) => {
            let command = forwarded(&cli, &[], CommandPart::Own);
            Box::pin(acts((&cli, command), &place, &objects, repeatable)).await?
        }
        CommandRoute::ActsEverywhere(repeatable) => {
            let sealer = needed_key().await?;
            let command = forwarded(&cli, &[], CommandPart::Own);
            ask::ask_all(&place.set, &sealer, &command, repeatable).await
        }
        CommandRoute::Decides(repeatable) => {
            let sealer = needed_key().await?;
            let command = forwarded(&cli, &[], CommandPart::Own);
            ask::ask(&place.set, &sealer, DECIDES, &command, repeatable).await?
        }
        CommandRoute::Creates(args) => Box::pin(creating::create(&cli, args, &place)).await?,
        CommandRoute::OfHost(host, repeatable) => {
            Box::pin(hosts::of_host(&cli, host, repeatable, &place)).await?
        }
        CommandRoute::OfHosts(labels) => Box::pin(hosts::of_hosts(&cli, labels, &place)).await?,
        CommandRoute::Restores(args) => Box::pin(restoring::restore(&cli, args, &place)).await?,
        CommandRoute::Members(args) => Box::pin(retry::retry(&cli, args, &place)).await?,
        CommandRoute::Documents(sources) => {
            Box::pin(documents::documents(&cli, &place, &sources)).await?
        }
        CommandRoute::Removes(args) => {
            let sources = Sources::of(&args.files);
            let names = Box::pin(documents::named(&cli.common, &sources)).await?;
            let objects = Objects::Named(&args.namespace, names);
            let command = forwarded(&cli, &[], CommandPart::Own);
            Box::pin(acts((&cli, command), &place, &objects, true)).await?
        }
        CommandRoute::Refused(why) => return Err(refused(&place, why)),
    };
    Ok(Routed::Answered(exit))
}

fn refused(place: &SetPlace, why: &str) -> ExitProblem {
    let (name, last) = (place.set.name(), place.set.journals().saturating_sub(1));
    let message = format!("the command is not for a set of journals: {why}");
    let remedy = format!(
        "`get`, `events`, `describe`, `history`, `logs`, `apply`, `plan` and commands on objects and hosts are; \
         one journal is looked at with ?journal={name}.0 to {name}.{last}"
    );
    ExitProblem::new(Exit::Usage, "VSI0764", message, &remedy)
}

/// With each journal by itself, under its name.
fn each(cli: &Cli, place: &SetPlace) -> Vec<(Option<String>, Cli)> {
    let members = place.members(&cli.common).into_iter().enumerate();
    members
        .map(|(number, common)| {
            let command = cli.command.clone();
            (Some(format!("journal {number}:")), Cli { common, command })
        })
        .collect()
}

/// With the journals of what is looked at.
async fn with_viewed(
    cli: &Cli,
    place: &SetPlace,
    objects: &Objects<'_>,
) -> Result<Routed, ExitProblem> {
    let found = objects::concerned(place, &cli.common, objects, ObjectCounts::GoneToo).await?;
    if let (true, Some(why)) = (found.len() > 1, routing::in_turn(&cli.command)) {
        return Err(refused(place, why));
    }
    let each = found.into_iter().map(|(journal, names)| {
        let common = place.member(&cli.common, journal, None);
        let mut command = cli.command.clone();
        leave(&mut command, names);
        (None, Cli { common, command })
    });
    Ok(Routed::Each(each.collect()))
}

/// Has each journal do what concerns its objects, of what is asked.
async fn acts(
    (cli, command): (&Cli, ForwardedCommand),
    place: &SetPlace,
    objects: &Objects<'_>,
    repeatable: bool,
) -> Result<Exit, ExitProblem> {
    let sealer = needed_key().await?;
    let counts = match &cli.command {
        CliCommand::Delete(args) if args.ignore_not_found => ObjectCounts::IfThere,
        _ => ObjectCounts::There,
    };
    if let (CliCommand::Delete(args), Objects::Named(namespace, names)) = (&cli.command, objects)
        && !args.orphan
    {
        let ending = names.iter().filter(|name| objects::is_network(name));
        let ending = ending.map(|name| objects::network_named(namespace, name));
        let ending: Vec<_> = ending.collect();
        networks::refuse_in_use(place, &cli.common, &ending).await?;
    }
    let found = objects::concerned(place, &cli.common, objects, counts).await?;
    let asking = found.into_iter().map(|(journal, names)| {
        let part = CommandPart::Named(names);
        let command = ForwardedCommand {
            part,
            ..command.clone()
        };
        let sealer = &sealer;
        async move { ask::ask(&place.set, sealer, journal, &command, repeatable).await }
    });
    Ok(output::worst(futures::future::join_all(asking).await))
}

/// Nothing of that name is there.
pub(super) fn unknown(name: &str) -> ExitProblem {
    let message = format!("{name} is not known here");
    let remedy = "`vsiflow get -A` lists the VSIs of the set; here VSIs and data disks (disk/NAME) have names";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
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
