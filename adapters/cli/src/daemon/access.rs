//! What each command may do where it is asked through a socket.
//!
//! The owner's socket takes whatever the owner may do. The one for people who may look takes nothing that
//! records, acts, reads or writes a file of this machine, or connects to an address of the caller's.
//! `docs/reference/daemon.md` lists the commands; a test holds it against this.

use crate::{
    args::{AuditCommand, Cli, CliCommand, HostCommand, ImageCommand, ObjectKind},
    exit::{Exit, ExitProblem},
};

/// What asking for a command comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It shows what is known; whoever may look may ask for it.
    Looks,
    /// It changes something, or uses files and addresses that the caller names: the owner's alone.
    Changes,
    /// The same, for a holder that stays: what is begun goes on longer than a passing command lives.
    Stays,
    /// No holder answers for it: it works where it was called.
    Here,
}

impl Access {
    /// That of a command line.
    pub(crate) fn of(cli: &Cli) -> Self {
        match Self::of_command(&cli.command) {
            // The holder would go there with its own keys and files.
            Self::Looks if cli.common.host.is_some() => Self::Changes,
            access => access,
        }
    }

    fn of_command(command: &CliCommand) -> Self {
        let looks_if = |only| if only { Self::Looks } else { Self::Changes };
        match command {
            // They ask anew at each look.
            CliCommand::Get(args) if args.watch => Self::Here,
            CliCommand::Wait(_) | CliCommand::Ssh(_) | CliCommand::SshConfig(_) => Self::Here,
            CliCommand::Get(args) => {
                let asks_hosts = args.refresh || args.kind_and_names().0 == ObjectKind::Network;
                looks_if(!asks_hosts)
            }
            CliCommand::Describe(_) | CliCommand::Diff(_) | CliCommand::Logs(_) => Self::Looks,
            CliCommand::History(_) | CliCommand::Events(_) => Self::Looks,
            CliCommand::Replay(_) => Self::Looks,
            CliCommand::Image(ImageCommand::List(_)) => Self::Looks,
            CliCommand::Audit(AuditCommand::Verify(args)) => {
                looks_if(args.head.is_none() && args.public_key.is_none())
            }
            CliCommand::Audit(AuditCommand::Head(args)) => looks_if(args.sign_key.is_none()),
            CliCommand::Audit(AuditCommand::Export(_)) => Self::Changes,
            CliCommand::Host(
                HostCommand::Check(_)
                | HostCommand::Inventory(_)
                | HostCommand::Cordon(_)
                | HostCommand::Uncordon(_)
                | HostCommand::Accept(_)
                | HostCommand::Drain(_),
            ) => Self::Changes,
            // Documents may name files of this machine.
            CliCommand::Plan(_) => Self::Changes,
            CliCommand::Image(ImageCommand::Prune(_)) => Self::Changes,
            CliCommand::Retry(_) | CliCommand::Cancel(_) | CliCommand::Backup(_) => Self::Changes,
            CliCommand::Approve(_) | CliCommand::Start(_) | CliCommand::Stop(_) => Self::Changes,
            CliCommand::Rebuild(_) => Self::Changes,
            CliCommand::Scale(_) | CliCommand::Rollback(_) => Self::Changes,
            CliCommand::Cordon(_) | CliCommand::Uncordon(_) => Self::Changes,
            CliCommand::Restart(_) | CliCommand::Pause(_) | CliCommand::Unpause(_) => Self::Changes,
            CliCommand::Adopt(_) | CliCommand::Delete(_) => Self::Changes,
            CliCommand::Create(args) if args.dry_run => Self::Here,
            CliCommand::Apply(_) | CliCommand::Create(_) | CliCommand::Console(_) => Self::Stays,
            CliCommand::Image(ImageCommand::Upload(_) | ImageCommand::Unlock(_)) => Self::Stays,
            CliCommand::Resume(_) | CliCommand::Serve(_) | CliCommand::Compact(_) => Self::Here,
            CliCommand::Journal(_) => Self::Here,
            CliCommand::Audit(AuditCommand::Rebuild(_)) | CliCommand::Restore(_) => Self::Here,
            CliCommand::Contract(_) | CliCommand::Crd(_) | CliCommand::Migrate(_) => Self::Here,
            CliCommand::Completions { .. } | CliCommand::Explain(_) | CliCommand::Openapi => {
                Self::Here
            }
            CliCommand::Doctor(_) | CliCommand::Ui(_) => Self::Here,
            // Whoever may give rights away has all of them.
            CliCommand::Token(_) => Self::Changes,
        }
    }
}

/// Whether an operator may ask for a command that changes something: it destroys nothing, and names no
/// document, file or address.
pub(super) fn operates(cli: &Cli) -> bool {
    let does = match &cli.command {
        CliCommand::Start(_) | CliCommand::Stop(_) | CliCommand::Restart(_) => true,
        CliCommand::Pause(_) | CliCommand::Unpause(_) => true,
        CliCommand::Retry(_) | CliCommand::Cancel(_) | CliCommand::Approve(_) => true,
        CliCommand::Host(
            HostCommand::Cordon(_) | HostCommand::Uncordon(_) | HostCommand::Drain(_),
        ) => true,
        CliCommand::Get(args) => !args.watch,
        _ => false,
    };
    does && cli.common.host.is_none()
}

/// Why somebody who may look is not answered.
pub(crate) fn refused() -> ExitProblem {
    ExitProblem::new(
        Exit::Blocked,
        "VSI0020",
        "this socket answers nothing but looks",
        "ask whoever runs vsiflow; `docs/reference/daemon.md` lists what may be asked here",
    )
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    const DOCS: &str = include_str!("../../../../docs/reference/daemon.md");

    /// What each command line comes to: each command at least once.
    const ROWS: &[(&str, Access)] = &[
        ("apply -f a.yaml", Access::Stays),
        ("apply -f a.yaml --dry-run", Access::Stays),
        ("create a --image http://x/i.qcow2", Access::Stays),
        ("create a --image http://x/i.qcow2 --dry-run", Access::Here),
        ("plan -f a.yaml", Access::Changes),
        ("approve a", Access::Changes),
        ("scale pool/a --replicas 3", Access::Changes),
        ("rollback pool/a", Access::Changes),
        ("rollback a --to 3 --dry-run", Access::Changes),
        ("cordon a-1", Access::Changes),
        ("uncordon a-1", Access::Changes),
        ("start a", Access::Changes),
        ("stop a", Access::Changes),
        ("restart a", Access::Changes),
        ("rebuild a", Access::Changes),
        ("pause a", Access::Changes),
        ("pause --all", Access::Changes),
        ("unpause a", Access::Changes),
        ("get", Access::Looks),
        ("get host -o json", Access::Looks),
        ("get --watch", Access::Here),
        (
            "get -l app=web --field-selector status.phase=Running",
            Access::Looks,
        ),
        ("wait a --for=condition=Ready", Access::Here),
        ("console a", Access::Stays),
        ("ssh a", Access::Here),
        ("explain virtualserver.spec", Access::Here),
        ("doctor", Access::Here),
        ("ssh-config", Access::Here),
        ("ssh-config import h --label a=b", Access::Here),
        ("get --refresh", Access::Changes),
        ("get network", Access::Changes),
        ("get network/default", Access::Changes),
        ("get --host ssh://root@10.0.0.1?keyfile=/k", Access::Changes),
        ("describe a", Access::Looks),
        ("describe a --host sim:", Access::Changes),
        ("get --at 41", Access::Looks),
        ("diff a --at 41 --at 42", Access::Looks),
        ("history a", Access::Looks),
        ("history a --follow", Access::Looks),
        ("events", Access::Looks),
        ("events -w --failed", Access::Looks),
        ("logs a", Access::Looks),
        ("logs -l app=web --prefix", Access::Looks),
        ("delete a", Access::Changes),
        ("resume", Access::Here),
        ("serve", Access::Here),
        ("ui", Access::Here),
        ("token create --role viewer --ttl 1d", Access::Changes),
        ("token list", Access::Changes),
        ("token revoke a", Access::Changes),
        ("retry a", Access::Changes),
        ("cancel a", Access::Changes),
        ("adopt a", Access::Changes),
        ("host check", Access::Changes),
        ("host cordon a", Access::Changes),
        ("host uncordon a", Access::Changes),
        ("host accept a", Access::Changes),
        ("host drain a --stop", Access::Changes),
        ("host inventory a", Access::Changes),
        ("image list", Access::Looks),
        ("image upload a.qcow2 -f host.yaml", Access::Stays),
        ("image prune", Access::Changes),
        ("image prune --dry-run", Access::Changes),
        ("image unlock a --force -f host.yaml", Access::Stays),
        ("audit verify", Access::Looks),
        ("audit verify --head /etc/shadow", Access::Changes),
        (
            "audit verify --head h --public-key /etc/shadow",
            Access::Changes,
        ),
        ("audit head", Access::Looks),
        ("audit head --sign-key /etc/shadow", Access::Changes),
        ("audit export -", Access::Changes),
        ("audit rebuild a.jsonl", Access::Here),
        ("compact", Access::Here),
        ("journal repair", Access::Here),
        ("replay", Access::Looks),
        ("backup a.tar", Access::Changes),
        ("restore a.tar", Access::Here),
        ("contract check a.yaml", Access::Here),
        ("contract new --compose a", Access::Here),
        ("contract encrypt a.yaml --cert a.crt", Access::Here),
        ("crd", Access::Here),
        ("migrate", Access::Here),
        ("completions bash", Access::Here),
        ("openapi", Access::Here),
    ];

    fn read(line: &str) -> Cli {
        let words = std::iter::once("vsiflow").chain(line.split_whitespace());
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Every command, as it is called.
    fn commands(of: &clap::Command, before: &str) -> Vec<String> {
        let own = of.get_subcommands().filter(|one| one.get_name() != "help");
        own.flat_map(|one| {
            let name = format!("{before}{}", one.get_name());
            match one.has_subcommands() {
                true => commands(one, &format!("{name} ")),
                false => vec![name],
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
            assert_eq!(Access::of(&read(line)), *access, "{line}");
        }
    }

    #[test]
    fn every_command_has_a_row_here_and_in_the_docs() {
        for command in commands(&Cli::command(), "") {
            let mut rows = ROWS.iter().filter(|(line, _)| is_of(line, &command));
            let (_, access) = rows.next().unwrap_or_else(|| panic!("no row of {command}"));
            let told = match access {
                Access::Looks => "yes",
                Access::Changes | Access::Stays => "no",
                Access::Here => "–",
            };
            let row = DOCS
                .lines()
                .find(|line| line.starts_with(&format!("| `{command}` | ")));
            let row =
                row.unwrap_or_else(|| panic!("docs/reference/daemon.md has no row of {command}"));
            assert!(
                row.contains(&format!(" | {told}")),
                "{command} is {told}: {row}"
            );
        }
    }
}
