//! Sends a command to the process that has the state directory.

use std::{io, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::io::{AsyncRead, AsyncWrite};
use vsiflow_api::{
    CommandLine, CommandRequest, DaemonAddress, SentDocuments,
    client::{self, ClientAnswer},
};
use vsiflow_workflows::fleet::ConsoleWay;

use super::{access::ApiAccess, socket::socket};
use crate::{
    args::Cli,
    exit::{Exit, ExitProblem, IN_USE},
    output,
};

/// Whether another process may run this command: it must not read the caller's files, except
/// documents, which are sent along.
pub(crate) fn may_forward(cli: &Cli) -> bool {
    !matches!(
        ApiAccess::of(cli),
        ApiAccess::Here | ApiAccess::Asks | ApiAccess::Acts
    )
}

/// The result of sending a command.
pub(crate) enum Forwarded {
    /// The process answered; the command is done.
    Answered(Exit),
    /// Nothing listens: the directory may be free by now, or its holder does not answer.
    NoDaemon(Silence),
}

/// Why a process that was asked does not run a command.
pub(crate) enum Silence {
    /// It answered that it does not run such a command.
    Refused(Box<ExitProblem>),
    /// The error of the connection.
    Broken(String),
}

impl Silence {
    /// The problem that the user reads: that there is no answer, with the reason.
    pub(crate) fn explain(self, silent: ExitProblem, place: &DaemonAddress) -> ExitProblem {
        match self {
            Self::Refused(problem) => ExitProblem {
                message: format!("{}; it answers: {}", silent.message, problem.message),
                remedy: problem.remedy,
                ..silent
            },
            Self::Broken(why) if silent.code == IN_USE => ExitProblem {
                message: format!("{}; at {place}: {why}", silent.message),
                remedy: "see in that process's own output why it does not answer, or name another --state"
                    .to_owned(),
                ..silent
            },
            Self::Broken(why) => ExitProblem {
                message: format!("{}: {why}", silent.message),
                ..silent
            },
        }
    }
}

/// Prints output of another process, which does not know this terminal and may pass on what a guest wrote.
pub(crate) fn show(to_err: bool, bytes: &[u8]) -> io::Result<()> {
    if !to_err {
        output::console(bytes).map_err(|_| io::Error::other("stdout"))
    } else {
        output::raw_note(bytes);
        Ok(())
    }
}

/// Sends a command to a daemon, and passes its output on.
pub(crate) async fn forward_printing(
    place: &DaemonAddress,
    args: Vec<String>,
    documents: &SentDocuments,
    print: impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> Forwarded {
    match exchange(place, args, documents, print).await {
        Ok(ClientAnswer::Done(code)) => Forwarded::Answered(Exit::of(code)),
        // A process that is not a daemon refuses work that would outlive its own.
        Ok(ClientAnswer::Refused(problem)) if problem.code == IN_USE => {
            Forwarded::NoDaemon(Silence::Refused(Box::new((*problem).into())))
        }
        Ok(ClientAnswer::Refused(problem)) => {
            let problem = ExitProblem::from(*problem);
            output::problem(&problem);
            Forwarded::Answered(problem.exit)
        }
        // It answered, and its answer cannot be shown.
        Err(_) if output::sink::has_failed() => Forwarded::Answered(Exit::Failed),
        Err(error) => {
            tracing::debug!(%error, "no answer from the holder");
            Forwarded::NoDaemon(Silence::Broken(error.to_string()))
        }
    }
}

/// The output of a command that the process with the state directory runs; `None` if nothing answers.
///
/// # Errors
/// As the command ended there.
pub(crate) async fn ask(state: &Path, args: Vec<String>) -> Result<Option<Vec<u8>>, ExitProblem> {
    ask_at(&DaemonAddress::Socket(socket(state)), args).await
}

/// As [`ask`], for a daemon at an address.
///
/// # Errors
/// As for [`ask`].
pub(crate) async fn ask_at(
    place: &DaemonAddress,
    args: Vec<String>,
) -> Result<Option<Vec<u8>>, ExitProblem> {
    let (mut printed, mut notes) = (Vec::new(), Vec::new());
    let keep = |to_err: bool, bytes: &[u8]| {
        let target = if to_err { &mut notes } else { &mut printed };
        target.extend_from_slice(bytes);
        Ok(())
    };
    match exchange(place, args, &SentDocuments::default(), keep).await {
        Ok(ClientAnswer::Done(code)) => match Exit::of(code) {
            Exit::Done => Ok(Some(printed)),
            exit => Err(ExitProblem::printed(exit, &String::from_utf8_lossy(&notes))),
        },
        Ok(ClientAnswer::Refused(problem)) if problem.code == IN_USE => Ok(None),
        Ok(ClientAnswer::Refused(problem)) => Err((*problem).into()),
        Err(error) => {
            tracing::debug!(%error, "no answer from the holder");
            Ok(None)
        }
    }
}

/// Opens a VSI's console or screen through a daemon; `None` if nothing listens at the address, or the holder
/// of the directory is not a daemon.
pub(crate) async fn console(
    place: &DaemonAddress,
    target: (&str, &str),
    how: (ConsoleWay, bool),
) -> Option<Result<impl AsyncRead + AsyncWrite + use<>, ExitProblem>> {
    match client::console(place, target, how).await {
        Ok(Err(problem)) if problem.code == IN_USE => None,
        Ok(opened) => Some(opened.map_err(|problem| (*problem).into())),
        Err(error) => {
            tracing::debug!(%error, "no answer from the holder");
            None
        }
    }
}

async fn exchange(
    place: &DaemonAddress,
    args: Vec<String>,
    documents: &SentDocuments,
    mut print: impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> io::Result<ClientAnswer> {
    let request = CommandRequest {
        args,
        files: documents.files.clone(),
        ascii: output::symbols::has_ascii_locale(),
    };
    let decoded = |text: &str| BASE64_STANDARD.decode(text).map_err(io::Error::other);
    let take = |line| match line {
        CommandLine::Stdout(text) => print(false, text.as_bytes()),
        CommandLine::Stderr(text) => print(true, text.as_bytes()),
        CommandLine::StdoutBase64(text) => print(false, &decoded(&text)?),
        CommandLine::StderrBase64(text) => print(true, &decoded(&text)?),
        CommandLine::Exit(_) => Ok(()),
    };
    client::run(place, &request, take).await
}
