//! Shell completion for `vsiflow`: commands, options, and the names of objects.
//!
//! The script of `vsiflow completions` makes the shell run `vsiflow` with the words so far, and with
//! [`VARIABLE`] set to the shell's name. Names come from the state directory that these words select, or from
//! the process that has it; a missing directory is not made. Errors propose nothing, because a message would
//! disturb the line being typed.

use std::{collections::BTreeSet, ffi::OsString, time::Duration};

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCandidates, CompletionCandidate},
    env::Shells,
};
use vsiflow_api::TableRequest;
use vsiflow_workflows::kinds::{NameScope, ObjectRow, TableQuery};

use crate::{
    args::{Cli, Common, ObjectKind},
    compose, service,
    work::ask,
};

/// The environment variable with the name of the shell.
const VARIABLE: &str = "VSIFLOW_COMPLETE";
/// The name of the completed command.
const NAME: &str = "vsiflow";
/// How long completion may wait for the state directory.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Prints proposals if a shell asks for them; otherwise returns.
pub(crate) fn answer() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let words: Vec<_> = std::env::args_os().collect();
    let from = words.iter().position(|word| word == "--");
    let typed = words
        .iter()
        .skip(from.map_or(words.len(), |from| from.saturating_add(1)));
    let place = CompletionPlace::of(typed.cloned().collect());
    CompleteEnv::with_factory(move || with_names(Cli::command(), &place))
        .var(VARIABLE)
        .complete();
}

/// The completion script for a shell; `None` for an unknown shell.
pub(crate) fn script(shell: &str) -> Option<Vec<u8>> {
    let shells = Shells::builtins();
    let mut script = Vec::new();
    let written =
        shells
            .completer(shell)?
            .write_registration(VARIABLE, NAME, NAME, NAME, &mut script);
    written.ok().map(|()| script)
}

/// The state directory and the namespace that the words so far select.
#[derive(Clone, Debug, Default)]
struct CompletionPlace {
    common: Option<Common>,
    namespace: Option<String>,
}

impl CompletionPlace {
    fn of(words: Vec<OsString>) -> Self {
        let command = lenient(Cli::command());
        let Ok(found) = command.try_get_matches_from(words) else {
            return Self::default();
        };
        Self {
            common: Common::from_arg_matches(&found).ok(),
            namespace: namespace(&found),
        }
    }
}

/// The same command line, without required arguments.
fn lenient(command: Command) -> Command {
    command.ignore_errors(true).mut_subcommands(lenient)
}

fn namespace(found: &ArgMatches) -> Option<String> {
    let (_, below) = found.subcommand()?;
    let own = below.try_get_one::<String>("namespace").ok().flatten();
    own.cloned().or_else(|| namespace(below))
}

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CompletionValues {
    Vsis,
    /// VSIs, and other objects with their kinds.
    Objects,
    Pools,
    Hosts,
    StoragePools,
    Types,
    Images,
    Snapshots,
    Labels,
    HostLabels,
    Tokens,
}

/// What an argument of a command names; `None` if unknown.
fn values(command: &str, argument: &str) -> Option<CompletionValues> {
    Some(match (command, argument) {
        ("create", "names") => return None,
        ("create", "target") => CompletionValues::HostLabels,
        ("create", "pool") | (_, "storage_pool") => CompletionValues::StoragePools,
        ("create", "image") => CompletionValues::Images,
        ("clone" | "create", "vsi") => CompletionValues::Vsis,
        (_, "server_type") => CompletionValues::Types,
        (_, "labels") => CompletionValues::Labels,
        (_, "on") => CompletionValues::Hosts,
        ("revoke", "name") => CompletionValues::Tokens,
        ("scale", "name" | "words" | "pool") => CompletionValues::Pools,
        (
            "describe" | "history" | "diff" | "get" | "delete" | "wait" | "rollback",
            "words" | "names" | "name",
        ) => CompletionValues::Objects,
        (
            "start" | "stop" | "restart" | "pause" | "unpause" | "rebuild" | "approve" | "retry"
            | "cancel" | "logs" | "console" | "vnc" | "ssh" | "resume" | "cordon" | "uncordon",
            "words" | "names" | "name",
        ) => CompletionValues::Vsis,
        _ => return None,
    })
}

/// The command line with the names of existing objects as possible values.
fn with_names(command: Command, place: &CompletionPlace) -> Command {
    command.mut_subcommands(|below| {
        let word = below.get_name().to_owned();
        let below = with_names(below, place);
        match word.as_str() {
            "host" => below.mut_subcommands(|one| named(one, place, Some(CompletionValues::Hosts))),
            "snapshot" => below.mut_subcommands(|one| {
                let has_new_name = one.get_name() == "create";
                named(
                    one,
                    place,
                    (!has_new_name).then_some(CompletionValues::Snapshots),
                )
            }),
            _ => named(below, place, None),
        }
    })
}

/// The command with values for its own arguments; `names` if its names are always of one kind.
fn named(command: Command, place: &CompletionPlace, names: Option<CompletionValues>) -> Command {
    let word = command.get_name().to_owned();
    let known = command.get_arguments().filter_map(|argument| {
        let id = argument.get_id().to_string();
        let its = match names {
            Some(names) if id == "name" || id == "names" => Some(names),
            _ => values(&word, &id),
        };
        // A changed argument moves behind the unchanged ones, so each positional argument is changed to
        // preserve the order.
        (its.is_some() || argument.is_positional()).then_some((id, its))
    });
    let known: Vec<_> = known.collect();
    known.into_iter().fold(command, |command, (id, its)| {
        let place = place.clone();
        command.mut_arg(id, |argument| match its {
            Some(its) => argument.add(ArgValueCandidates::new(move || candidates(&place, its))),
            None => argument,
        })
    })
}

fn candidates(place: &CompletionPlace, of: CompletionValues) -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let (Ok(runtime), Some(common)) = (runtime, &place.common) else {
        return Vec::new();
    };
    let found = async { tokio::time::timeout(TIMEOUT, found(common, place, of)).await };
    let found = runtime.block_on(found).unwrap_or_default();
    found.into_iter().map(CompletionCandidate::new).collect()
}

async fn found(common: &Common, place: &CompletionPlace, of: CompletionValues) -> BTreeSet<String> {
    let here = compose::state_path(common).is_ok_and(|state| state.join("FORMAT").is_file());
    if !here && common.server.is_none() {
        return BTreeSet::new();
    }
    let names = KnownNames { common, place };
    match of {
        CompletionValues::Vsis => names.bare(ObjectKind::Vsi).await,
        CompletionValues::Pools => names.with_kind(ObjectKind::Pool).await,
        CompletionValues::Objects => {
            let has_namespace = |kind: &&ObjectKind| kind.names() == NameScope::Namespace;
            let kinds: Vec<_> = ObjectKind::ALL.iter().filter(has_namespace).collect();
            let requests = kinds
                .iter()
                .map(|kind| TableRequest::now(**kind, names.query()));
            let lists = service::call_all(common, &requests.collect::<Vec<_>>()).await;
            let lists = kinds.iter().zip(lists.unwrap_or_default());
            let typed = |kind: ObjectKind, name: String| match kind {
                ObjectKind::Vsi => name,
                kind => format!("{}/{name}", kind.word()),
            };
            let objects = lists.flat_map(|(kind, listed)| {
                let rows = listed.table.rows.into_iter();
                rows.map(move |row| typed(**kind, row.name))
            });
            objects.collect()
        }
        CompletionValues::Hosts => names.bare(ObjectKind::Host).await,
        CompletionValues::Snapshots => names.bare(ObjectKind::Snapshot).await,
        CompletionValues::Types => names.bare(ObjectKind::Type).await,
        CompletionValues::Tokens => tokens(common).await,
        CompletionValues::Images => names.with_kind(ObjectKind::Image).await,
        CompletionValues::StoragePools => {
            let images = names.rows(ObjectKind::Image, true).await;
            let pools = images.iter().filter_map(|image| {
                let pool = image.object.as_ref()?.pointer("/status/pool")?;
                Some(pool.as_str()?.to_owned())
            });
            pools.collect()
        }
        CompletionValues::Labels => {
            let vsis = names.rows(ObjectKind::Vsi, false).await;
            let labels = vsis.into_iter().filter_map(|vsi| vsi.labels).flatten();
            labels
                .map(|(key, value)| format!("{key}={value}"))
                .collect()
        }
        CompletionValues::HostLabels => {
            let hosts = names.rows(ObjectKind::Host, true).await;
            let labels = hosts
                .iter()
                .filter_map(|host| host.object.as_ref()?.pointer("/status/labels")?.as_object());
            let pairs = labels
                .flatten()
                .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
            pairs.collect()
        }
    }
}

/// The objects that the words so far select.
struct KnownNames<'a> {
    common: &'a Common,
    place: &'a CompletionPlace,
}

impl KnownNames<'_> {
    /// The objects of a kind; none if nothing answers.
    async fn rows(&self, kind: ObjectKind, objects: bool) -> Vec<ObjectRow> {
        let query = TableQuery {
            objects,
            ..self.query()
        };
        let rows = service::rows(self.common, kind, query).await;
        rows.unwrap_or_default()
    }

    /// A query for the objects of the namespace.
    fn query(&self) -> TableQuery {
        let namespace = self.place.namespace.as_deref().unwrap_or("default");
        TableQuery {
            namespace: Some(namespace.to_owned()),
            ..TableQuery::default()
        }
    }

    async fn bare(&self, kind: ObjectKind) -> BTreeSet<String> {
        let rows = self.rows(kind, false).await.into_iter();
        rows.map(|row| row.name).collect()
    }

    async fn with_kind(&self, kind: ObjectKind) -> BTreeSet<String> {
        let rows = self.rows(kind, false).await.into_iter();
        let name = |row: ObjectRow| format!("{}/{}", kind.word(), row.name);
        rows.map(name).collect()
    }
}

/// The names of tokens; none if nothing answers.
async fn tokens(common: &Common) -> BTreeSet<String> {
    let tokens = ask::tokens(common).await.unwrap_or_default();
    let names = tokens
        .iter()
        .filter_map(|token| token.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_names_something_is_one_of_the_command_line() {
        for (command, argument) in [
            ("create", "target"),
            ("create", "pool"),
            ("create", "server_type"),
            ("create", "on"),
            ("stop", "names"),
            ("stop", "labels"),
            ("describe", "words"),
            ("console", "words"),
            ("ssh", "name"),
            ("delete", "names"),
            ("vnc", "words"),
            ("clone", "vsi"),
            ("get", "words"),
        ] {
            assert!(values(command, argument).is_some(), "{command} {argument}");
            let cli = Cli::command();
            let found = cli.find_subcommand(command).unwrap();
            let mut ids = found.get_arguments().map(|one| one.get_id().as_str());
            assert!(ids.any(|id| id == argument), "{command} has no {argument}");
        }
    }

    #[test]
    fn the_command_line_with_names_is_consistent() {
        with_names(Cli::command(), &CompletionPlace::default()).debug_assert();
    }

    #[test]
    fn the_words_so_far_say_where_names_are_looked_for() {
        let words = ["vsiflow", "--state", "/s", "stop", "-n", "prod", ""];
        let place = CompletionPlace::of(words.map(OsString::from).to_vec());
        let state = place.common.unwrap().state;
        assert_eq!(state.as_deref(), Some(std::path::Path::new("/s")));
        assert_eq!(place.namespace.as_deref(), Some("prod"));
    }
}
