//! Lets the holder of a state directory answer.

use std::{io, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::io::{AsyncRead, AsyncWrite};
use vsiflow_api::{
    CommandFile, CommandLine, CommandRequest, Place, Problem,
    client::{self, Answer},
};
use vsiflow_file::InputText;

use super::{access::Access, socket};
use crate::{
    args::Cli,
    command::IN_USE,
    exit::{Exit, ExitProblem},
    output,
    work::GivenDocuments,
};

/// Whether a holder may answer for this command: it must read none of the caller's files, but
/// documents, which are sent along.
pub(crate) fn may_forward(cli: &Cli) -> bool {
    Access::of(cli) != Access::Here
}

/// What asking the holder came to.
pub(crate) enum Forwarded {
    /// It answered; the command is done.
    Answered(Exit),
    /// Nobody listens: the directory may be free by now, or its holder does not answer others.
    Nobody,
}

/// Asks the holder of the state directory, and prints what it says.
pub(crate) async fn forward(state: &Path, args: Vec<String>, given: &GivenDocuments) -> Forwarded {
    forward_to(&Place::Socket(socket(state)), args, given).await
}

/// Asks whoever listens there, and prints what it says.
pub(crate) async fn forward_to(
    place: &Place,
    args: Vec<String>,
    given: &GivenDocuments,
) -> Forwarded {
    let print = |to_err: bool, bytes: &[u8]| match to_err {
        // The holder does not know this terminal, and may send on what a guest wrote.
        false => output::console(bytes).map_err(|_| io::Error::other("stdout")),
        true => {
            output::raw_note(bytes);
            Ok(())
        }
    };
    match converse(place, args, given, print).await {
        Ok(Answer::Done(code)) => Forwarded::Answered(Exit::of(code)),
        // One that does not stay takes nothing that would outlive its own work.
        Ok(Answer::Refused(problem)) if problem.code == IN_USE => Forwarded::Nobody,
        Ok(Answer::Refused(problem)) => {
            let problem = told(*problem);
            output::problem(&problem);
            Forwarded::Answered(problem.exit)
        }
        Err(error) => {
            tracing::debug!(%error, "no answer from the holder");
            Forwarded::Nobody
        }
    }
}

/// Asks the holder of the state directory; what it printed, if it answered with success.
pub(crate) async fn ask(state: &Path, args: Vec<String>) -> Option<Vec<u8>> {
    ask_at(&Place::Socket(socket(state)), args).await
}

/// The same of whoever listens there.
pub(crate) async fn ask_at(place: &Place, args: Vec<String>) -> Option<Vec<u8>> {
    let mut printed = Vec::new();
    let keep = |to_err: bool, bytes: &[u8]| {
        if !to_err {
            printed.extend_from_slice(bytes);
        }
        Ok(())
    };
    let answer = converse(place, args, &GivenDocuments::default(), keep).await;
    let is_done = matches!(answer, Ok(Answer::Done(code)) if Exit::of(code) == Exit::Done);
    is_done.then_some(printed)
}

/// Opens a VSI's console through that socket; none where nobody listens there, or the holder of the
/// directory does not stay.
pub(crate) async fn console(
    place: &Place,
    target: (&str, &str),
    force: bool,
) -> Option<Result<impl AsyncRead + AsyncWrite + use<>, ExitProblem>> {
    match client::console(place, target, force).await {
        Ok(Err(problem)) if problem.code == IN_USE => None,
        Ok(opened) => Some(opened.map_err(|problem| told(*problem))),
        Err(error) => {
            tracing::debug!(%error, "no answer from the holder");
            None
        }
    }
}

async fn converse(
    place: &Place,
    args: Vec<String>,
    given: &GivenDocuments,
    mut print: impl FnMut(bool, &[u8]) -> io::Result<()>,
) -> io::Result<Answer> {
    let request = CommandRequest {
        args,
        files: given.files.iter().map(file).collect(),
        directory: given.directory.clone(),
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

fn file(file: &InputText) -> CommandFile {
    CommandFile {
        name: file.name.clone(),
        content: file.bytes.clone(),
    }
}

/// A problem as one of this command.
fn told(problem: Problem) -> ExitProblem {
    let exit = match problem.status {
        401 | 403 | 409 => Exit::Blocked,
        404 => Exit::NotFound,
        400 | 422 => Exit::Usage,
        _ => Exit::Failed,
    };
    ExitProblem {
        exit,
        code: problem.code,
        message: problem.detail,
        host: problem.host,
        object: problem.object,
        remedy: problem.remedy,
    }
}
