//! Decides which journals of a set run each command, and how.

use std::path::PathBuf;

use vsiflow_workflows::{fleet::Moment, spec::LabelSelector};

use crate::{
    args::{
        AuditCommand, CheckArgs, CliCommand, EventOffset, HostCommand, ImageCommand, InventoryArgs,
        ObjectKind, OutputFormat, SnapshotCommand, TokenCommand, TracesCommand, kind_and_names,
        without_kind,
    },
    work::{GROUP, POOL, QUOTA, SelectedObjects},
};

/// Which journals of a set run a command, and how. A flag says whether the request may be repeated.
pub(super) enum CommandRoute<'a> {
    /// Reads all journals, and sends requests of the service.
    Looks,
    /// Reads the journals of these objects, one after the other.
    LooksAt(Objects<'a>),
    /// Reads each journal separately, one after the other.
    LooksAtEach,
    /// Changes these objects in their journals; whether it may be repeated.
    Acts(Objects<'a>, bool),
    /// Runs in every journal, for all its objects; whether it may be repeated.
    ActsEverywhere(bool),
    /// Runs in journal 0; whether it may be repeated.
    Decides(bool),
    /// Runs in the journal of the host; whether it may be repeated.
    OfHost(NamedHost<'a>, bool),
    /// Runs in the journals of the hosts with these labels; may be repeated.
    OfHosts(&'a LabelSelector),
    /// Reads the database server: any of the journals will do.
    Server,
    /// Not supported in a set: it would show or change only a part of it.
    Refused(&'static str),
}

/// The objects that a command names, or selects in all journals.
pub(super) enum Objects<'a> {
    /// A namespace and names; names of kinds other than VSIs have their prefix.
    Named(&'a str, Vec<String>),
    /// The objects of a kind in a namespace that match a selection.
    Selected(SelectedObjects<'a>),
}

/// How a command names a host.
#[derive(Clone, Copy)]
pub(super) struct NamedHost<'a> {
    /// Its name in the set; `None` means the only host of the set.
    pub(super) name: Option<&'a str>,
    /// The files with the host's documents.
    pub(super) files: &'a [PathBuf],
}

pub(super) fn route_of(command: &CliCommand) -> CommandRoute<'_> {
    match command {
        CliCommand::Get(args) if args.refresh => {
            CommandRoute::Refused("--refresh records in one journal")
        }
        CliCommand::Get(args) if is_offset(args.at) => CommandRoute::Refused(OFFSET),
        CliCommand::Get(_) | CliCommand::Wait(_) => CommandRoute::Looks,
        CliCommand::Events(args) if is_of_no_journal(args.from_offset) => {
            CommandRoute::Refused(OFFSET)
        }
        CliCommand::Events(_) => CommandRoute::Looks,
        CliCommand::Describe(args) if concern_all(&args.names()) && is_offset(args.at) => {
            CommandRoute::Refused(OFFSET)
        }
        CliCommand::Describe(args) if concern_all(&args.names()) => CommandRoute::Looks,
        CliCommand::Describe(args) if args.names().iter().any(|name| is_quota(name)) => {
            CommandRoute::Refused("quotas, pools and groups are described apart from all else")
        }
        CliCommand::Describe(args) => named(&args.namespace, args.names()),
        CliCommand::History(args) => named(&args.namespace, args.names()),
        CliCommand::Diff(args) if !args.files.is_empty() => CommandRoute::Looks,
        CliCommand::Diff(args) => named(&args.namespace, vec![args.name()]),
        CliCommand::Logs(args) if args.words.is_empty() => {
            CommandRoute::LooksAt(Objects::Selected(SelectedObjects {
                kind: ObjectKind::Vsi,
                namespace: &args.namespace,
                selection: &args.selection,
                destroys: None,
            }))
        }
        CliCommand::Logs(args) => named(&args.namespace, kind_and_names(&args.words).1),
        CliCommand::Output(args) => named(&args.namespace, vec![format!("{GROUP}{}", args.name())]),
        CliCommand::Ssh(args) => named(&args.namespace, vec![without_kind(&args.name).to_owned()]),
        CliCommand::SshConfig(_) => CommandRoute::Looks,
        CliCommand::Console(_) | CliCommand::Vnc(_) => CommandRoute::Looks,
        CliCommand::Doctor(_) | CliCommand::Token(TokenCommand::List(_)) => CommandRoute::Server,
        CliCommand::Audit(AuditCommand::Verify(args)) if args.head.is_none() => {
            CommandRoute::LooksAtEach
        }
        CliCommand::Audit(AuditCommand::Head(_)) | CliCommand::Replay(_) => {
            CommandRoute::LooksAtEach
        }
        CliCommand::Traces(TracesCommand::Export(args)) if args.from_offset.is_none() => {
            CommandRoute::LooksAtEach
        }
        CliCommand::Traces(_) => CommandRoute::Refused(OFFSET),
        CliCommand::Audit(_) | CliCommand::Backup(_) => {
            CommandRoute::Refused("each journal has a chain of its own")
        }
        command => change(command),
    }
}

/// The route of a command that changes something.
fn change(command: &CliCommand) -> CommandRoute<'_> {
    match command {
        CliCommand::Apply(_) | CliCommand::Plan(_) => CommandRoute::Looks,
        CliCommand::Delete(_) => CommandRoute::Looks,
        CliCommand::Start(_) | CliCommand::Stop(_) | CliCommand::Restart(_) => CommandRoute::Looks,
        CliCommand::Pause(_) | CliCommand::Unpause(_) => CommandRoute::Looks,
        CliCommand::Retry(_) | CliCommand::Cancel(_) | CliCommand::Approve(_) => {
            CommandRoute::Looks
        }
        CliCommand::Rebuild(_) => CommandRoute::Looks,
        CliCommand::Scale(_) | CliCommand::Cordon(_) | CliCommand::Uncordon(_) => {
            CommandRoute::Looks
        }
        CliCommand::Token(TokenCommand::Create(args)) if args.tls_cert.is_none() => {
            CommandRoute::Refused("a token is for one certificate, which --tls-cert names")
        }
        CliCommand::Token(TokenCommand::Create(_)) => CommandRoute::Decides(false),
        CliCommand::Token(TokenCommand::Revoke { .. }) => CommandRoute::Decides(true),
        CliCommand::Rollback(_) | CliCommand::Create(_) => CommandRoute::Looks,
        CliCommand::Snapshot(command) => snapshot(command),
        CliCommand::Clone(args) => CommandRoute::Acts(
            Objects::Named(&args.namespace, vec![args.vsi.clone()]),
            false,
        ),
        CliCommand::Adopt(args) => of_host(args.on.as_deref(), &args.files, true),
        CliCommand::Host(command) => host(command),
        CliCommand::Image(command) => image(command),
        _ => CommandRoute::Refused("it works on one journal"),
    }
}

fn of_host<'a>(name: Option<&'a str>, files: &'a [PathBuf], repeatable: bool) -> CommandRoute<'a> {
    CommandRoute::OfHost(NamedHost { name, files }, repeatable)
}

fn host(command: &HostCommand) -> CommandRoute<'_> {
    match command {
        HostCommand::Check(CheckArgs { at, .. })
        | HostCommand::Inventory(InventoryArgs { at, .. }) => {
            of_host(at.name.as_deref(), &at.files, true)
        }
        HostCommand::Drain(args) if args.moves => CommandRoute::Refused(
            "members of pools are moved by journal 0; drain with --stop, or delete the members after `host cordon`",
        ),
        HostCommand::Cordon(_)
        | HostCommand::Uncordon(_)
        | HostCommand::Accept(_)
        | HostCommand::Drain(_) => CommandRoute::Looks,
    }
}

fn image(command: &ImageCommand) -> CommandRoute<'_> {
    match command {
        ImageCommand::List(_) => CommandRoute::Looks,
        ImageCommand::Prune(_) => CommandRoute::ActsEverywhere(true),
        ImageCommand::Unlock(args) => of_host(None, &args.at.files, false),
        ImageCommand::Upload(args) if args.images.iter().any(|image| !image.contains("://")) => {
            CommandRoute::Refused(
                "a file is read where it is; name an address that the process of the host's journal reaches",
            )
        }
        ImageCommand::Upload(args) => match &args.hosts {
            Some(labels) => CommandRoute::OfHosts(labels),
            None => of_host(None, &args.at.files, true),
        },
    }
}

/// Runs in the journal of the VSI, or of the snapshot.
fn snapshot(command: &SnapshotCommand) -> CommandRoute<'_> {
    match command {
        SnapshotCommand::Create(args) => CommandRoute::Acts(
            Objects::Named(&args.namespace, vec![args.vsi.clone()]),
            false,
        ),
        SnapshotCommand::Restore(_) | SnapshotCommand::Delete(_) => CommandRoute::Looks,
    }
}

fn named(namespace: &str, names: Vec<String>) -> CommandRoute<'_> {
    CommandRoute::LooksAt(Objects::Named(namespace, names))
}

const ONE_DOCUMENT: &str = "what several journals print is not one document";
const OFFSET: &str = "an offset is one of a journal; a time is one of the whole set";

/// Whether the moment is an offset, which is valid in a single journal only.
fn is_offset(at: Option<Moment>) -> bool {
    matches!(at, Some(Moment::Offset(_)))
}

/// Whether an offset lacks the number of its journal.
fn is_of_no_journal(from: EventOffset) -> bool {
    from.journal.is_none() && from.offset > 0
}

fn is_data(format: Option<OutputFormat>) -> bool {
    matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml))
}

/// Whether the command is sent to the holder of a journal.
pub(in crate::shards) fn is_asked(command: &CliCommand) -> bool {
    matches!(
        route_of(command),
        CommandRoute::Acts(..)
            | CommandRoute::ActsEverywhere(_)
            | CommandRoute::Decides(_)
            | CommandRoute::OfHost(..)
            | CommandRoute::OfHosts(_)
    )
}

/// Why journals cannot print a command's output one after the other; `None` if they can.
pub(super) fn in_turn(command: &CliCommand) -> Option<&'static str> {
    const FOLLOWS: &str = "it follows one journal";
    match command {
        CliCommand::Describe(args) if is_data(args.output) => Some(ONE_DOCUMENT),
        CliCommand::History(args) if args.follow => Some(FOLLOWS),
        CliCommand::Logs(args) if args.follow => Some(FOLLOWS),
        _ => None,
    }
}

/// Whether the name is that of a pool or a group: these are in journal 0, and their members in any
/// journal.
pub(super) fn makes_members(name: &str) -> bool {
    name.starts_with(POOL) || name.starts_with(GROUP)
}

/// Whether the name has the prefix of a network.
pub(super) fn is_network(name: &str) -> bool {
    let kind = name.split_once('/').map(|(kind, _)| kind);
    kind.and_then(ObjectKind::named) == Some(ObjectKind::Network)
}

fn is_quota(name: &str) -> bool {
    name.starts_with(QUOTA)
}

/// Whether all names are of objects in journal 0 or on hosts of any journal.
fn concern_all(names: &[String]) -> bool {
    let concerns_all = |name: &String| makes_members(name) || is_quota(name) || is_network(name);
    !names.is_empty() && names.iter().all(concerns_all)
}

#[cfg(test)]
mod tests;
