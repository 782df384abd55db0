//! Files that the user names: keys, exports and whatever else a command reads or writes.

use std::{os::fd::AsFd, path::Path};

use tokio::{
    fs::File,
    io::{AsyncBufRead, AsyncReadExt as _, BufReader},
};

use crate::exit::{Exit, ExitProblem};

/// The most bytes that are read of a key or an audit anchor.
const SMALL: u64 = 64 << 10;
/// How many bytes of a long file are read at a time.
const PIECE: usize = 64 << 10;

/// A long file, or standard input, read from its beginning.
pub(crate) type LongInput = Box<dyn AsyncBufRead + Unpin + Send>;

/// Opens a long file; `-` is standard input.
pub(crate) async fn input(path: &Path) -> Result<LongInput, ExitProblem> {
    let file = if path == Path::new("-") {
        standard(std::io::stdin())?
    } else {
        let opened = File::open(path).await;
        opened.map_err(|error| unreadable(path, &error))?
    };
    Ok(Box::new(BufReader::with_capacity(PIECE, file)))
}

/// Standard input or output as a file that does not block the runtime.
pub(crate) fn standard(stream: impl AsFd) -> Result<File, ExitProblem> {
    let own = stream.as_fd().try_clone_to_owned();
    let own = own.map_err(|error| unreadable(Path::new("-"), &error))?;
    Ok(File::from_std(own.into()))
}

/// A small file's text, such as a key's.
pub(crate) async fn small(path: &Path) -> Result<String, ExitProblem> {
    beginning(path, SMALL).await
}

/// The first bytes of a file, as text.
pub(crate) async fn beginning(path: &Path, bytes: u64) -> Result<String, ExitProblem> {
    let read = beginning_bytes(path, bytes).await?;
    String::from_utf8(read).map_err(|_| {
        let message = format!("{} is not UTF-8 text", path.display());
        let remedy = "name the file of text that is meant, or save it as UTF-8";
        ExitProblem::new(Exit::Usage, "VSI0908", message, remedy)
    })
}

/// The first bytes of a file.
pub(crate) async fn beginning_bytes(path: &Path, bytes: u64) -> Result<Vec<u8>, ExitProblem> {
    let file = File::open(path).await.map_err(|e| unreadable(path, &e))?;
    let mut read = Vec::new();
    let reading = file.take(bytes).read_to_end(&mut read).await;
    reading.map_err(|error| unreadable(path, &error))?;
    Ok(read)
}

/// The error for a user's file that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> ExitProblem {
    let message = format!("{} cannot be read: {error}", path.display());
    ExitProblem::new(
        Exit::Usage,
        "VSI0908",
        message,
        "check the path and its permissions",
    )
}

/// The error for a user's file that cannot be written.
pub(crate) fn unwritable(path: &Path, error: &std::io::Error) -> ExitProblem {
    let message = format!("{} cannot be written: {error}", path.display());
    let remedy = "name a file that is not there yet, in a folder that this user may write";
    ExitProblem::new(Exit::Failed, "VSI0908", message, remedy)
}
