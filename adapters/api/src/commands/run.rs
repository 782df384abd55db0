//! Runs a command through the port, with its output as lines, or collected for an answer of another
//! form.
//!
//! If the caller disconnects, a command that changes something continues until it would print; one that
//! only reads is ended. Unread output waits in the command's channel, not here.

use axum::body::Bytes;
use http::StatusCode;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{CallerCommand, CommandEnd, CommandLine, CommandNeeds, CommandRequest};
use crate::{Caller, Problem, Rights, api::Api};

/// The maximum length of a piece of output in one line, in bytes.
const PIECE: usize = 64 * 1024;
/// Lines that may wait for their reader.
const LINES: usize = 4;

/// Starts a command; its output lines are received from the returned channel.
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

/// Forwards output. Once it is not read any more, the channel closes and the command finds out.
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

/// The collected output of a command.
pub(crate) struct Printed {
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) end: CommandEnd,
}

impl Printed {
    /// The problem, if the command failed.
    pub(crate) fn failure(self) -> Option<Problem> {
        if self.end.exit == 0 {
            return None;
        }
        let CommandEnd { problem, code, .. } = self.end;
        let refused = || {
            let text = String::from_utf8_lossy(&self.err);
            refused(code.as_deref(), text.trim_end())
        };
        Some(problem.unwrap_or_else(refused))
    }
}

/// What a command needs. Its command line is the caller's, so it is parsed on a thread for blocking work.
///
/// # Errors
/// If it is not a command that can be run here.
pub(crate) async fn about(api: &Api, args: &[String]) -> Result<CommandNeeds, Problem> {
    let (commands, args) = (api.commands().clone(), args.to_vec());
    let parsed = spawn_blocking(move || commands.about(&args));
    let ended = |_| {
        let detail = "the command cannot be read";
        Err(Problem::wrong(StatusCode::BAD_REQUEST, detail))
    };
    parsed.await.unwrap_or_else(ended)
}

/// Runs a command to its end and collects its output.
pub(crate) async fn collect(
    api: &Api,
    caller: &Caller,
    request: CommandRequest,
) -> Result<Printed, Problem> {
    let about = about(api, &request.args).await?;
    let _turn = api.turns().acquire(caller, about).await?;
    let command = CallerCommand {
        request,
        caller: caller.clone(),
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

/// The problem of a command that another process of a set ran, which only reports its text.
fn refused(code: Option<&str>, message: &str) -> Problem {
    let code = code.unwrap_or(Problem::WRONG);
    let remedy = "see what was said, and `vsiflow history` of the object";
    Problem::new(StatusCode::CONFLICT, code, message, remedy)
}

fn line(line: &CommandLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
