//! Runs a command through the port, with its output as lines.
//!
//! If the caller disconnects, the command continues until it would print. Unread output waits in the command's
//! channel, not here.

use axum::body::Bytes;
use http::StatusCode;
use tokio::{sync::mpsc, task::spawn_blocking};
use vsiflow_engine::low_priority;

use super::{CallerCommand, CommandLine};
use crate::{
    Problem,
    api::{Api, places::Place},
};

/// The maximum length of a piece of output in one line, in bytes.
const PIECE: usize = 64 * 1024;
/// Lines that may wait for their reader.
const LINES: usize = 4;

/// Starts a command; its output lines are received from the returned channel.
pub(crate) fn begin(
    api: &Api,
    command: CallerCommand,
    held: impl Send + 'static,
) -> mpsc::Receiver<Bytes> {
    let (to_lines, lines) = mpsc::channel(LINES);
    let commands = api.commands().clone();
    api.tasks().spawn(async move {
        let (output, printed) = mpsc::channel(LINES);
        let work = commands.run(command, output);
        let (end, ()) = tokio::join!(work, forward_output(printed, &to_lines));
        let _ = to_lines.send(line(&CommandLine::Exit(end.exit))).await;
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

/// The rights that a command needs. Its command line is the caller's: the caller takes a place for a request, and a
/// thread of low priority parses it.
///
/// # Errors
/// If it is not a command that can be run here.
pub(crate) async fn check(api: &Api, place: Place, args: &[String]) -> Result<(), Problem> {
    let (commands, args) = (api.commands().clone(), args.to_vec());
    let parsed = spawn_blocking(move || {
        // Held by the work: a caller that waits no longer does not end it.
        let _place = place;
        low_priority::run(|| commands.check(&args))
    });
    let ended = |_| {
        let detail = "the command cannot be read";
        Err(Problem::wrong(StatusCode::BAD_REQUEST, detail))
    };
    parsed.await.unwrap_or_else(ended)
}

fn line(line: &CommandLine) -> Bytes {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
