//! Does a command through the port, with its output as lines, or gathered for an answer of another form.
//!
//! A command that changes something and whose caller went away continues until it would print; one that
//! only shows something ends with its caller. Output that is not read waits in the sink of the command,
//! not here.

use axum::body::Bytes;
use http::StatusCode;
use tokio::sync::mpsc;

use super::{CallerCommand, CommandEnd, CommandLine, CommandNeeds, CommandRequest};
use crate::{Caller, Problem, Rights, api::Api};

/// The longest piece of output in one line, in bytes.
const PIECE: usize = 64 * 1024;
/// Lines that wait for their reader.
const LINES: usize = 4;

/// Begins with a command; its lines come out here.
pub(crate) fn begin(
    api: &Api,
    command: CallerCommand,
    about: CommandNeeds,
    held: impl Send + 'static,
) -> mpsc::Receiver<Bytes> {
    let (to_lines, lines) = mpsc::channel(LINES);
    let commands = api.commands().clone();
    api.tasks().spawn(async move {
        let print = async |output_lines: mpsc::Sender<Bytes>| {
            let (output, printed) = mpsc::channel(LINES);
            let work = commands.run(command, output);
            let (end, ()) = tokio::join!(work, forward_output(printed, &output_lines));
            let _ = output_lines.send(line(&CommandLine::Exit(end.exit))).await;
        };
        let gone = to_lines.clone();
        tokio::select! {
            () = print(to_lines) => {}
            () = gone.closed(), if about.needs == Rights::Look => {}
        }
        drop(held);
    });
    lines
}

/// Hands on what is printed. Once nobody reads it, whoever prints is told.
async fn forward_output(
    mut printed: mpsc::Receiver<(bool, Vec<u8>)>,
    to_lines: &mpsc::Sender<Bytes>,
) {
    while let Some((to_err, bytes)) = printed.recv().await {
        for piece in bytes.chunks(PIECE) {
            let line = line(&CommandLine::output(to_err, piece));
            if to_lines.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// What a command printed.
pub(crate) struct Printed {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) end: CommandEnd,
}

impl Printed {
    /// What went wrong, where something did.
    pub(crate) fn failure(self) -> Option<Problem> {
        if self.end.exit == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&self.err);
        Some(self.end.problem.unwrap_or_else(|| refused(text.trim_end())))
    }
}

/// Does a command to its end, for an answer of its own form.
pub(crate) async fn collect(
    api: &Api,
    caller: &Caller,
    request: CommandRequest,
) -> Result<Printed, Problem> {
    let about = api.commands().about(&request.args)?;
    let _turn = api.turns().acquire(about).await?;
    let command = CallerCommand {
        request,
        actor: caller.actor.clone(),
    };
    let (output, mut printed) = mpsc::channel(LINES);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let gather = async {
        while let Some((to_err, bytes)) = printed.recv().await {
            if to_err {
                err.extend(bytes)
            } else {
                out.extend(bytes)
            }
        }
    };
    let (end, ()) = tokio::join!(api.commands().run(command, output), gather);
    Ok(Printed { out, err, end })
}

/// What another process of a set said, which tells no more than its words.
fn refused(message: &str) -> Problem {
    let code = code(message).unwrap_or(Problem::WRONG);
    let remedy = "see what was said, and `vsiflow history` of the object";
    Problem::new(StatusCode::CONFLICT, code, message, remedy)
}

/// The first code that is named.
pub(crate) fn code(message: &str) -> Option<&str> {
    let mut places = message.match_indices("VSI").map(|(at, _)| at);
    places.find_map(|at| {
        let code = message.get(at..at.checked_add(7)?)?;
        let digits = code.get(3..)?;
        digits
            .bytes()
            .all(|digit| digit.is_ascii_digit())
            .then_some(code)
    })
}

fn line(line: &CommandLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
