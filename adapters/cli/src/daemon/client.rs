//! Lets the holder of a state directory answer.

use std::{io, path::Path};

use tokio::net::UnixStream;

use super::{
    frame::{self, Ask, Frame, VERSION},
    socket,
};
use crate::{
    args::{Command, ImageCommand},
    exit::Exit,
    output,
};

/// Whether the holder may answer for this command: it must read none of the caller's files.
pub(crate) fn may_forward(command: &Command) -> bool {
    match command {
        // A watch asks anew at each look.
        Command::Get(args) => !args.watch,
        Command::Describe(_) | Command::History(_) | Command::Logs(_) => true,
        Command::Retry(_) | Command::Cancel(_) | Command::Backup(_) => true,
        Command::Image(ImageCommand::List(_) | ImageCommand::Prune(_)) => true,
        Command::Delete(args) => args.files.is_empty(),
        _ => false,
    }
}

/// What asking the holder came to.
pub(crate) enum Forwarded {
    /// It answered; the command is done.
    Answered(Exit),
    /// Nobody listens: the directory may be free by now, or its holder does not answer others.
    Nobody,
}

/// Asks the holder of the state directory, and prints what it says.
pub(crate) async fn forward(state: &Path, args: Vec<String>) -> Forwarded {
    let print = |frame| match frame {
        // The holder does not know this terminal, and may send on what a guest wrote.
        Frame::Out(bytes) => output::console(&bytes).map_err(|_| io::Error::other("stdout")),
        Frame::Err(bytes) => {
            output::raw_note(&bytes);
            Ok(())
        }
        Frame::Exit(_) => Ok(()),
    };
    match converse(state, args, print).await {
        Ok(exit) => Forwarded::Answered(exit),
        Err(error) => {
            tracing::debug!(%error, "no answer from the holder");
            Forwarded::Nobody
        }
    }
}

/// Asks the holder of the state directory; what it printed, if it answered with success.
pub(crate) async fn ask(state: &Path, args: Vec<String>) -> Option<Vec<u8>> {
    let mut printed = Vec::new();
    let keep = |frame| {
        if let Frame::Out(bytes) = frame {
            printed.extend(bytes);
        }
        Ok(())
    };
    let exit = converse(state, args, keep).await;
    exit.is_ok_and(|exit| exit == Exit::Done).then_some(printed)
}

async fn converse(
    state: &Path,
    args: Vec<String>,
    mut take: impl FnMut(Frame) -> io::Result<()>,
) -> io::Result<Exit> {
    let mut stream = UnixStream::connect(socket(state)).await?;
    let ask = serde_json::to_vec(&Ask {
        version: VERSION,
        args,
    })
    .map_err(io::Error::other)?;
    frame::write_block(&mut stream, 0, &ask).await?;
    loop {
        match frame::read(&mut stream).await? {
            Frame::Exit(code) => return Ok(Exit::of(code)),
            frame => take(frame)?,
        }
    }
}
