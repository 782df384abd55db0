//! Asks the user at the terminal before another process destroys selected objects.
//!
//! The process with the state directory knows the objects; the caller has the terminal. So the caller
//! announces that it can ask (`--agreed ''`), the process answers with its question, and the caller sends the
//! command again with the question that the user agreed to. If the selection has changed by then, the process
//! asks again.

use std::io;

use vsiflow_api::DaemonAddress;

use super::{
    client::{Forwarded, forward_printing},
    words::add_option,
};
use crate::{
    args::{Cli, CliCommand, DestroyArgs, HostCommand},
    exit::Exit,
    output,
    work::{self, CommandDocuments, QUESTION},
};

/// Prints output of the other process.
pub(crate) type Show<'a> = dyn Fn(bool, &[u8]) -> io::Result<()> + Send + Sync + 'a;

/// Sends a command to a daemon, and asks the user before it destroys selected objects. Output goes to `show`.
pub(crate) async fn forward_asking(
    place: &DaemonAddress,
    cli: &Cli,
    words: Vec<String>,
    documents: &CommandDocuments,
    show: &Show<'_>,
) -> Forwarded {
    let drains = matches!(&cli.command, CliCommand::Host(HostCommand::Drain(args)) if args.asks());
    let asks = drains || destroys_selected(&cli.command).is_some_and(|args| !args.yes);
    if !asks || !work::is_somebody_there() {
        return forward_printing(place, words, documents, show).await;
    }
    let mut agreed = String::new();
    loop {
        let mut question = Vec::new();
        let print = |to_err: bool, bytes: &[u8]| {
            if !to_err && (!question.is_empty() || bytes.first() == Some(&QUESTION)) {
                question.extend_from_slice(bytes);
                io::Result::Ok(())
            } else {
                show(to_err, bytes)
            }
        };
        let done = forward_printing(place, agreeing(&words, &agreed), documents, print).await;
        let Some((_, text)) = question.split_first() else {
            return done;
        };
        let text = String::from_utf8_lossy(text).into_owned();
        match work::is_agreed(&format!("{text}?")) {
            Ok(true) => agreed = text,
            Ok(false) => return refused(&work::nobody_agreed(&text)),
            Err(problem) => return refused(&problem),
        }
    }
}

fn refused(problem: &crate::exit::ExitProblem) -> Forwarded {
    output::problem(problem);
    Forwarded::Answered(Exit::Blocked)
}

/// The confirmation options of a command that destroys a selection; `None` for other commands.
fn destroys_selected(command: &CliCommand) -> Option<&DestroyArgs> {
    match command {
        CliCommand::Delete(args) if args.all || !args.selection.is_empty() => Some(&args.destroy),
        CliCommand::Rebuild(args) if args.targets.names.is_empty() => Some(&args.destroy),
        _ => None,
    }
}

/// The words with the question that was agreed to, inserted before the operands.
fn agreeing(words: &[String], agreed: &str) -> Vec<String> {
    let mut words = words.to_vec();
    add_option(&mut words, format!("--agreed={agreed}"));
    words
}
