//! Routes a command on a set of journals: it reads the journals, or sends requests to their
//! holders.
//!
//! - [`routing`]: which journals each command concerns, and how.
//! - [`objects`]: finds the journals of a command's objects, and reduces the command to one journal's part.
//! - [`hosts`]: commands on one host, which its journal runs.
//!
//! A command on objects of several journals succeeds or fails in each of them separately, and each result is
//! reported. All names are looked up in the whole set first, so that a typing error changes nothing. A
//! confirmation is asked once, here.

mod hosts;
pub(super) mod objects;
pub(super) mod routing;

use vsiflow_postgres::{
    JournalAddress,
    shards::{Named, ShardSet},
};

use super::{
    DECIDES, SetPlace,
    ask::{self, CommandPart, ForwardedCommand, forwarded},
};
use crate::{
    args::{AuditCommand, Cli, CliCommand, Common, TopArgs},
    compose::{App, database, journal_key, state_path},
    exit::{Exit, ExitProblem},
    output,
};
use objects::{ObjectCounts, leave};
use routing::{CommandRoute, Objects};

/// How a command continues after routing.
pub(crate) enum Routed {
    /// Here, without a set.
    Here(Box<Cli>),
    /// Here, on one journal of a set or on all of them.
    Of(Box<Cli>),
    /// Here, on one journal after the other, each with an optional heading.
    Each(Vec<(Option<String>, Cli)>),
    /// The command has run, with this exit.
    Answered(Exit),
}

/// Checks whether a command concerns a set. If so, runs it in the set, unless it can run here.
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

/// Whether a command needs no journal, or checks for a set itself.
fn is_standalone(cli: &Cli) -> bool {
    match &cli.command {
        // Only prints documents.
        CliCommand::Create(args) => args.dry_run && args.from.is_none(),
        // Only reads a file that another program wrote.
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

/// The set at an address, with its state directory.
async fn place(common: &Common, address: &JournalAddress) -> Result<SetPlace, ExitProblem> {
    let set = ShardSet::open(address).await;
    let missing = || ExitProblem::defect("the set was there a moment ago");
    let set = set.map_err(database::problem)?.ok_or_else(missing)?;
    Ok(SetPlace::new(set, state_path(common)?))
}

/// Refuses to serve a set, or one of its journals, as a single journal.
///
/// # Errors
/// VSI0760 and VSI0762.
pub(crate) async fn is_no_set(common: &Common) -> Result<(), ExitProblem> {
    let Some(address) = common.journal()? else {
        return Ok(());
    };
    match ShardSet::named(address).await {
        // A standby waits here: the database refuses to make a journal where a set is.
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
        format!("the address names journal {number} of a set, and shows only a part of it");
    let remedy = "name the set, without the number, and `serve --shards auto` does it";
    ExitProblem::new(Exit::Usage, "VSI0762", message, remedy)
}

/// Routes a command on one journal of a set: it may be read as any other journal.
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
            let command = forwarded(&cli, Vec::new(), CommandPart::Own);
            Box::pin(acts((&cli, command), &place, &objects, repeatable)).await?
        }
        CommandRoute::ActsEverywhere(repeatable) => {
            let sealer = journal_key::needed().await?;
            let command = forwarded(&cli, Vec::new(), CommandPart::Own);
            ask::ask_all(&place.set, &sealer, &command, repeatable).await
        }
        CommandRoute::Decides(repeatable) => {
            let sealer = journal_key::needed().await?;
            let command = forwarded(&cli, Vec::new(), CommandPart::Own);
            ask::ask(&place.set, &sealer, DECIDES, &command, repeatable).await?
        }
        CommandRoute::OfHost(host, repeatable) => {
            Box::pin(hosts::of_host(&cli, host, repeatable, &place)).await?
        }
        CommandRoute::OfHosts(labels) => Box::pin(hosts::of_hosts(&cli, labels, &place)).await?,
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

/// Runs a command on each journal separately, under the journal's name.
fn each(cli: &Cli, place: &SetPlace) -> Vec<(Option<String>, Cli)> {
    let members = place.members(&cli.common).into_iter().enumerate();
    members
        .map(|(number, common)| {
            let command = cli.command.clone();
            (Some(format!("journal {number}:")), Cli { common, command })
        })
        .collect()
}

/// Runs a reading command on the journals of its objects.
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

/// Has each journal run the command's part for its own objects.
async fn acts(
    (cli, command): (&Cli, ForwardedCommand),
    place: &SetPlace,
    objects: &Objects<'_>,
    repeatable: bool,
) -> Result<Exit, ExitProblem> {
    let sealer = journal_key::needed().await?;
    let found = objects::concerned(place, &cli.common, objects, ObjectCounts::There).await?;
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
