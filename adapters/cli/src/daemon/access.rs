//! The access that each command needs through a socket.
//!
//! The owner's socket accepts everything that the owner may do. Through the read-only socket no command is sent, only
//! requests of the service that read.
//! `docs/reference/daemon.md` lists the commands; a test compares it with this module.

use vsiflow_api::Problem;

use crate::{
    args::{
        AuditCommand, BundleCommand, Cli, CliCommand, DiskCommand, HostCommand, ImageCommand,
        SnapshotCommand,
    },
    exit::ExitProblem,
};

/// The access that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiAccess {
    /// It changes something, or uses files and addresses that the caller names: for the owner only.
    Changes,
    /// As `Changes`, but only a daemon accepts it: the work continues longer than a passing command runs.
    Stays,
    /// It is never sent to a daemon: it runs in the caller's process.
    Here,
    /// As `Here`, but it sends requests of the service, which need rights of their own. Users of the read-only
    /// socket may send them.
    Asks,
    /// As `Asks`, with requests that a viewer may not send.
    Acts,
}

impl ApiAccess {
    /// The access that a command line needs.
    pub(crate) fn of(cli: &Cli) -> Self {
        match &cli.command {
            CliCommand::Get(_) | CliCommand::Describe(_) => Self::Asks,
            CliCommand::History(_) | CliCommand::Events(_) | CliCommand::Logs(_) => Self::Asks,
            CliCommand::Image(ImageCommand::List(_)) => Self::Asks,
            CliCommand::Top(_) => Self::Asks,
            CliCommand::Wait(_) | CliCommand::Ssh(_) | CliCommand::SshConfig(_) => Self::Here,
            // With documents it is a plan.
            CliCommand::Diff(args) if !args.files.is_empty() => Self::Acts,
            CliCommand::Diff(_) | CliCommand::Replay(_) => Self::Asks,
            CliCommand::Audit(AuditCommand::Verify(_) | AuditCommand::Head(_)) => Self::Asks,
            CliCommand::Audit(AuditCommand::Export(_)) => Self::Changes,
            CliCommand::Host(
                HostCommand::Cordon(_)
                | HostCommand::Uncordon(_)
                | HostCommand::Accept(_)
                | HostCommand::Drain(_),
            ) => Self::Acts,
            CliCommand::Host(HostCommand::Check(_) | HostCommand::Inventory(_)) => Self::Changes,
            // Documents may name files of the daemon's machine.
            CliCommand::Plan(_) => Self::Acts,
            CliCommand::Image(ImageCommand::Prune(_)) => Self::Changes,
            CliCommand::Start(_) | CliCommand::Stop(_) | CliCommand::Restart(_) => Self::Acts,
            CliCommand::Pause(_) | CliCommand::Unpause(_) => Self::Acts,
            CliCommand::Retry(_) | CliCommand::Cancel(_) | CliCommand::Approve(_) => Self::Acts,
            CliCommand::Delete(_) | CliCommand::Rebuild(_) => Self::Acts,
            CliCommand::Snapshot(SnapshotCommand::Delete(_) | SnapshotCommand::Restore(_)) => {
                Self::Acts
            }
            CliCommand::Backup(_) => Self::Changes,
            CliCommand::Snapshot(_) => Self::Changes,
            CliCommand::Clone(_) => Self::Changes,
            CliCommand::Disk(DiskCommand::Export(_)) => Self::Changes,
            CliCommand::Disk(DiskCommand::Import(_)) => Self::Stays,
            CliCommand::Scale(_) | CliCommand::Cordon(_) | CliCommand::Uncordon(_) => Self::Acts,
            CliCommand::Rollback(_) => Self::Acts,
            // The output may be a secret.
            CliCommand::Output(_) => Self::Changes,
            CliCommand::Adopt(_) => Self::Changes,
            CliCommand::Create(_) | CliCommand::Apply(_) | CliCommand::Cluster(_) => Self::Acts,
            CliCommand::Bundle(BundleCommand::Apply(_)) => Self::Acts,
            CliCommand::Bundle(BundleCommand::Create(_) | BundleCommand::Show(_)) => Self::Here,
            CliCommand::Console(_) | CliCommand::Vnc(_) => Self::Stays,
            CliCommand::Image(ImageCommand::Upload(_) | ImageCommand::Unlock(_)) => Self::Stays,
            CliCommand::Resume(_) | CliCommand::Serve(_) | CliCommand::Compact(_) => Self::Here,
            CliCommand::Journal(_) => Self::Here,
            CliCommand::Audit(AuditCommand::Rebuild(_)) | CliCommand::Restore(_) => Self::Here,
            CliCommand::Contract(_) | CliCommand::Crd(_) | CliCommand::Migrate(_) => Self::Here,
            CliCommand::Completions { .. }
            | CliCommand::Explain(_)
            | CliCommand::Openapi
            | CliCommand::Man { .. } => Self::Here,
            CliCommand::Doctor(_) | CliCommand::SupportBundle(_) | CliCommand::Ui(_) => Self::Here,
            // It connects to an address that the caller chooses.
            CliCommand::Traces(_) => Self::Changes,
            // A user who may issue tokens could issue one for everything.
            CliCommand::Token(_) => Self::Changes,
        }
    }
}

/// The error for a user of the read-only socket.
pub(crate) fn refused() -> ExitProblem {
    Problem::view_only().into()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    const DOCS: &str = include_str!("../../../../docs/reference/daemon.md");

    /// The access of command lines; each command occurs at least once.
    const ROWS: &[(&str, ApiAccess)] = &[
        ("apply -f a.yaml", ApiAccess::Acts),
        ("apply -f a.yaml --dry-run", ApiAccess::Acts),
        ("cluster create -f a.yaml", ApiAccess::Acts),
        ("create a --image http://x/i.qcow2", ApiAccess::Acts),
        (
            "create a --image http://x/i.qcow2 --dry-run",
            ApiAccess::Acts,
        ),
        ("create a --from snapshot/b", ApiAccess::Acts),
        ("plan -f a.yaml", ApiAccess::Acts),
        ("approve a", ApiAccess::Acts),
        ("scale pool/a --replicas 3", ApiAccess::Acts),
        ("rollback pool/a", ApiAccess::Acts),
        ("output group/a kubeconfig", ApiAccess::Changes),
        ("rollback a --to 3 --dry-run", ApiAccess::Acts),
        ("cordon a-1", ApiAccess::Acts),
        ("uncordon a-1", ApiAccess::Acts),
        ("start a", ApiAccess::Acts),
        ("stop a", ApiAccess::Acts),
        ("restart a", ApiAccess::Acts),
        ("rebuild a", ApiAccess::Acts),
        ("pause a", ApiAccess::Acts),
        ("pause --all", ApiAccess::Acts),
        ("unpause a", ApiAccess::Acts),
        ("get", ApiAccess::Asks),
        ("get host -o json", ApiAccess::Asks),
        ("get --watch", ApiAccess::Asks),
        (
            "get -l app=web --field-selector status.phase=Running",
            ApiAccess::Asks,
        ),
        ("wait a --for=condition=Ready", ApiAccess::Here),
        ("console a", ApiAccess::Stays),
        ("vnc a --listen-only", ApiAccess::Stays),
        ("ssh a", ApiAccess::Here),
        ("explain virtualserver.spec", ApiAccess::Here),
        ("doctor", ApiAccess::Here),
        ("support-bundle b.tar.gz --log -", ApiAccess::Here),
        ("ssh-config", ApiAccess::Here),
        ("ssh-config import h --label a=b", ApiAccess::Here),
        ("get --refresh", ApiAccess::Asks),
        ("get network", ApiAccess::Asks),
        ("get network/default", ApiAccess::Asks),
        ("get --host ssh://root@10.0.0.1?keyfile=/k", ApiAccess::Asks),
        ("describe a", ApiAccess::Asks),
        ("describe a --host sim:", ApiAccess::Asks),
        ("get --at 41", ApiAccess::Asks),
        ("diff a --at 41 --at 42", ApiAccess::Asks),
        ("diff -f a.yaml", ApiAccess::Acts),
        ("describe a b", ApiAccess::Asks),
        ("describe disk data", ApiAccess::Asks),
        ("describe network/default", ApiAccess::Asks),
        ("describe network default", ApiAccess::Asks),
        ("undo a", ApiAccess::Acts),
        ("history a", ApiAccess::Asks),
        ("history a --follow", ApiAccess::Asks),
        ("events", ApiAccess::Asks),
        ("events -w --failed", ApiAccess::Asks),
        ("top", ApiAccess::Asks),
        ("top --once -o json", ApiAccess::Asks),
        ("traces export --endpoint http://c:4318", ApiAccess::Changes),
        ("logs a", ApiAccess::Asks),
        ("logs -l app=web --prefix", ApiAccess::Asks),
        ("delete a", ApiAccess::Acts),
        ("resume", ApiAccess::Here),
        ("serve", ApiAccess::Here),
        ("ui", ApiAccess::Here),
        ("token create --role viewer --ttl 1d", ApiAccess::Changes),
        ("token list", ApiAccess::Changes),
        ("token revoke a", ApiAccess::Changes),
        ("retry a", ApiAccess::Acts),
        ("cancel a", ApiAccess::Acts),
        ("adopt a", ApiAccess::Changes),
        ("host check", ApiAccess::Changes),
        ("host cordon a", ApiAccess::Acts),
        ("host uncordon a", ApiAccess::Acts),
        ("host accept a", ApiAccess::Acts),
        ("host drain a --stop", ApiAccess::Acts),
        ("host inventory a", ApiAccess::Changes),
        ("image list", ApiAccess::Asks),
        ("image upload a.qcow2 -f host.yaml", ApiAccess::Stays),
        ("image prune", ApiAccess::Changes),
        ("image prune --dry-run", ApiAccess::Changes),
        ("image unlock a --force -f host.yaml", ApiAccess::Stays),
        ("disk export a a.qcow2", ApiAccess::Changes),
        ("disk import a a.qcow2 -f host.yaml", ApiAccess::Stays),
        ("bundle create -f a.yaml -o b", ApiAccess::Here),
        ("bundle show b", ApiAccess::Here),
        ("bundle apply b --verify-key k", ApiAccess::Acts),
        ("clone a b", ApiAccess::Changes),
        ("snapshot create a", ApiAccess::Changes),
        ("snapshot restore a-1 --yes", ApiAccess::Acts),
        ("snapshot delete a-1", ApiAccess::Acts),
        ("get snapshots", ApiAccess::Asks),
        ("audit verify", ApiAccess::Asks),
        ("audit verify --head /etc/shadow", ApiAccess::Asks),
        (
            "audit verify --head h --public-key /etc/shadow",
            ApiAccess::Asks,
        ),
        ("audit head", ApiAccess::Asks),
        ("audit head --sign-key /etc/shadow", ApiAccess::Asks),
        ("audit export -", ApiAccess::Changes),
        ("audit rebuild a.jsonl", ApiAccess::Here),
        ("compact", ApiAccess::Here),
        ("journal repair", ApiAccess::Here),
        ("replay", ApiAccess::Asks),
        ("backup a.tar", ApiAccess::Changes),
        ("restore a.tar", ApiAccess::Here),
        ("contract check a.yaml", ApiAccess::Here),
        ("contract new --compose a", ApiAccess::Here),
        ("contract encrypt a.yaml --cert a.crt", ApiAccess::Here),
        ("crd", ApiAccess::Here),
        ("migrate", ApiAccess::Here),
        ("completions bash", ApiAccess::Here),
        ("man", ApiAccess::Here),
        ("openapi", ApiAccess::Here),
    ];

    fn read(line: &str) -> Cli {
        let words = std::iter::once("vsiflow").chain(line.split_whitespace());
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// The names of all commands.
    fn commands(of: &clap::Command, before: &str) -> Vec<String> {
        let own = of.get_subcommands().filter(|one| one.get_name() != "help");
        own.flat_map(|one| {
            let name = format!("{before}{}", one.get_name());
            if one.has_subcommands() {
                commands(one, &format!("{name} "))
            } else {
                vec![name]
            }
        })
        .collect()
    }

    fn is_of(line: &str, command: &str) -> bool {
        line == command || line.starts_with(&format!("{command} "))
    }

    #[test]
    fn each_command_line_may_do_what_its_row_says() {
        for (line, access) in ROWS {
            assert_eq!(ApiAccess::of(&read(line)), *access, "{line}");
        }
    }

    #[test]
    fn every_command_has_a_row_here_and_in_the_docs() {
        for command in commands(&Cli::command(), "") {
            let mut rows = ROWS.iter().filter(|(line, _)| is_of(line, &command));
            let (_, access) = rows.next().unwrap_or_else(|| panic!("no row of {command}"));
            let written = match access {
                ApiAccess::Asks => "yes",
                ApiAccess::Acts | ApiAccess::Changes | ApiAccess::Stays => "no",
                ApiAccess::Here => "–",
            };
            let row = DOCS
                .lines()
                .find(|line| line.starts_with(&format!("| `{command}` | ")));
            let row =
                row.unwrap_or_else(|| panic!("docs/reference/daemon.md has no row of {command}"));
            assert!(
                row.contains(&format!(" | {written}")),
                "{command} is {written}: {row}"
            );
        }
    }
}
