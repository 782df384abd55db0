//! Lets the holder of a state directory answer.

use std::{io, path::Path};

use tokio::{io::AsyncWriteExt as _, net::UnixStream};
use vsiflow_file::InputText;

use super::{
    access::Access,
    frame::{self, Ask, DaemonFrame, VERSION},
    socket,
};
use crate::{args::Cli, exit::Exit, output, work::GivenDocuments};

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
    forward_to(&socket(state), args, given).await
}

/// Asks whoever listens there, and prints what it says.
pub(crate) async fn forward_to(
    socket: &Path,
    args: Vec<String>,
    given: &GivenDocuments,
) -> Forwarded {
    let print = |frame| match frame {
        // The holder does not know this terminal, and may send on what a guest wrote.
        DaemonFrame::Out(bytes) => output::console(&bytes).map_err(|_| io::Error::other("stdout")),
        DaemonFrame::Err(bytes) => {
            output::raw_note(&bytes);
            Ok(())
        }
        DaemonFrame::Exit(_) => Ok(()),
    };
    match converse(socket, args, given, print).await {
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
        if let DaemonFrame::Out(bytes) = frame {
            printed.extend(bytes);
        }
        Ok(())
    };
    let exit = converse(&socket(state), args, &GivenDocuments::default(), keep).await;
    exit.is_ok_and(|exit| exit == Exit::Done).then_some(printed)
}

async fn converse(
    socket: &Path,
    args: Vec<String>,
    given: &GivenDocuments,
    mut take: impl FnMut(DaemonFrame) -> io::Result<()>,
) -> io::Result<Exit> {
    let mut stream = UnixStream::connect(socket).await?;
    let ask = serde_json::to_vec(&Ask {
        version: VERSION,
        args,
        files: given.files.iter().map(listed).collect(),
        directory: given.directory.clone(),
    })
    .map_err(io::Error::other)?;
    frame::write_block(&mut stream, 0, &ask).await?;
    for file in &given.files {
        stream.write_all(&file.bytes).await?;
    }
    loop {
        match frame::read(&mut stream).await? {
            DaemonFrame::Exit(code) => return Ok(Exit::of(code)),
            frame => take(frame)?,
        }
    }
}

fn listed(file: &InputText) -> (String, u64) {
    let length = u64::try_from(file.bytes.len()).unwrap_or(u64::MAX);
    (file.name.clone(), length)
}
