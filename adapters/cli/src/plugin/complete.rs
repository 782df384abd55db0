//! Shell completion for `kubectl vsi`.
//!
//! kubectl (1.26 and newer) runs `kubectl_complete-vsi` with the words so far, the unfinished one
//! last. It reads one proposal a line, with a description after a tab; the last line says what else
//! the shell may propose (kubectl's `plugin_completion.go`). Errors propose nothing, because a
//! message would disturb the line being typed.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use vsiflow_kube::plugin::{Cluster, KubeconfigFlags};

use super::args::{AccessArgs, PluginArgs};
use crate::{exit::Exit, output};

/// The name under which kubectl finds the completion.
pub(super) const NAME: &str = "kubectl_complete-vsi";

/// How long completion may wait for a cluster.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The most names that are proposed.
const MAX: u32 = 500;
/// The arguments that name VSIs.
const NAMES: [&str; 2] = ["name", "names"];
/// The arguments that name files.
const FILES: [&str; 3] = ["-f", "--filename", "--kubeconfig"];

/// What else the shell proposes, by the numbers of kubectl's completion (cobra's `ShellCompDirective`).
#[derive(Clone, Copy)]
enum CompletionContext {
    Files = 0,
    Nothing = 4,
}

/// Prints the proposals for the last word.
pub(crate) fn run() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let mut lines: Vec<_> = proposals(words.clone()).iter().map(line).collect();
    lines.push(format!(":{}", beside(&words) as u8));
    for line in lines {
        output::line(&line);
    }
    Exit::Done.into()
}

fn proposals(words: Vec<OsString>) -> Vec<CompletionCandidate> {
    let Some(last) = words.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut command = with_names(PluginArgs::command(), &access(&words));
    complete(&mut command, words, last, None).unwrap_or_default()
}

/// The cluster that the words so far select.
fn access(words: &[OsString]) -> KubeconfigFlags {
    let command = PluginArgs::command().ignore_errors(true);
    let read = |found: ArgMatches| AccessArgs::from_arg_matches(&found);
    let found = command.try_get_matches_from(words).and_then(read);
    found.map(|found| found.access()).unwrap_or_default()
}

/// The command line with the names of VSIs in the cluster as possible values.
fn with_names(command: Command, access: &KubeconfigFlags) -> Command {
    let of_vsis = |subcommand: Command| {
        let named = subcommand
            .get_arguments()
            .map(|arg| arg.get_id().to_string());
        let named: Vec<_> = named.filter(|id| NAMES.contains(&id.as_str())).collect();
        named.into_iter().fold(subcommand, |subcommand, id| {
            let access = access.clone();
            let names = ArgValueCandidates::new(move || candidates(&access));
            subcommand.mut_arg(id, |arg| arg.add(names))
        })
    };
    command.mut_subcommands(of_vsis)
}

fn candidates(access: &KubeconfigFlags) -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let names = async {
        let cluster = Cluster::reach(access).await.ok()?;
        cluster.names(MAX).await.ok()
    };
    let names = runtime.block_on(async { tokio::time::timeout(TIMEOUT, names).await });
    let names = names.ok().flatten().unwrap_or_default();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn line(candidate: &CompletionCandidate) -> String {
    let value = candidate.get_value().to_string_lossy();
    let help = candidate.get_help().map(ToString::to_string);
    let help = help.as_deref().and_then(|help| help.lines().next());
    match help {
        Some(help) => format!("{value}\t{help}"),
        None => value.into_owned(),
    }
}

fn beside(words: &[OsString]) -> CompletionContext {
    let before = words.iter().rev().nth(1).and_then(|word| word.to_str());
    if before.is_some_and(|word| FILES.contains(&word)) {
        CompletionContext::Files
    } else {
        CompletionContext::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposed(words: &[&str]) -> Vec<String> {
        let words = [&[NAME][..], words].concat();
        let words = words.into_iter().map(OsString::from).collect();
        let proposals = proposals(words);
        let values = proposals
            .iter()
            .map(|one| one.get_value().to_string_lossy());
        values.map(|value| value.into_owned()).collect()
    }

    #[test]
    fn commands_options_and_their_values_are_proposed() {
        assert_eq!(proposed(&["res"]), ["restart"]);
        assert_eq!(proposed(&["--context", "lab", "des"]), ["describe"]);
        assert!(proposed(&["stop", "--wa"]).contains(&"--wait".to_owned()));
        assert!(proposed(&["describe", "-o", ""]).contains(&"json".to_owned()));
    }

    #[test]
    fn files_are_proposed_where_a_file_is_named() {
        let beside = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            beside(&words) as u8
        };
        assert_eq!(beside(&[NAME, "plan", "-f", ""]), 0);
        assert_eq!(beside(&[NAME, "stop", ""]), 4);
    }

    #[test]
    fn where_what_was_typed_leads_is_asked_for_names() {
        let words = [NAME, "stop", "-n", "prod", "--context=lab", ""];
        let access = access(&words.map(OsString::from));
        assert_eq!(
            (access.namespace.as_deref(), access.context.as_deref()),
            (Some("prod"), Some("lab"))
        );
    }
}
