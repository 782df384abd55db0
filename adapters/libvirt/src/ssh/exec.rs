//! Runs commands on the host, such as `sync` and `sha256sum`, for which libvirt has no call.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::time::timeout_at;
use vsiflow_steps::host_text;

use super::SshSession;
use crate::connect_error::ConnectError;
use crate::time;

/// The output and exit status of a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutput {
    /// The exit status; `None` if a signal ended the command.
    pub status: Option<u32>,
    /// The beginning of its standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether either output exceeded the limit.
    pub truncated: bool,
}

impl ExecOutput {
    /// Whether it ended with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }
}

/// Why a command's result is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The command was not started.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The host permits no command for this user.
    #[error("the host runs no command for this user: {0}")]
    Refused(String),
    /// The session ended during the command, which may still run.
    #[error("the session ended before the command did")]
    Interrupted,
    /// The timeout has expired; the command may still run.
    #[error("the command did not end within {0:?}")]
    TimedOut(Duration),
}

/// Collects output up to a limit.
#[derive(Debug)]
struct Capture {
    output: ExecOutput,
    limit: usize,
}

impl Capture {
    fn new(limit: usize) -> Self {
        Self {
            output: ExecOutput::default(),
            limit,
        }
    }

    fn take(head: &mut Vec<u8>, data: &[u8], limit: usize) -> bool {
        let room = limit.saturating_sub(head.len());
        head.extend_from_slice(data.get(..room).unwrap_or(data));
        data.len() > room
    }

    fn stdout(&mut self, data: &[u8]) {
        self.output.truncated |= Self::take(&mut self.output.stdout, data, self.limit);
    }

    fn stderr(&mut self, data: &[u8]) {
        self.output.truncated |= Self::take(&mut self.output.stderr, data, self.limit);
    }
}

impl SshSession {
    /// Runs a command in the user's shell with empty standard input, and waits for its end. At most `limit`
    /// bytes of each output are stored; the rest is read and discarded.
    ///
    /// When this is dropped or times out, the channel is closed, but the command may continue.
    ///
    /// # Errors
    /// See [`ExecError`]; a status other than 0 is not an error.
    pub async fn exec(
        &self,
        command: &str,
        limit: usize,
        within: Duration,
    ) -> Result<ExecOutput, ExecError> {
        let deadline = time::deadline(within);
        let mut channel = Closing(Some(self.open_session(within).await?));
        let running = follow(channel.0.as_mut(), command, Capture::new(limit));
        timeout_at(deadline, running)
            .await
            .map_err(|_| ExecError::TimedOut(within))?
    }
}

/// Closes a command's channel however the wait ends, because sshd permits only ten at the same time.
struct Closing(Option<Channel<Msg>>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let (Some(channel), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { channel.close().await });
        }
    }
}

/// Starts a command on its channel and reads its output to the end.
async fn follow(
    channel: Option<&mut Channel<Msg>>,
    command: &str,
    mut capture: Capture,
) -> Result<ExecOutput, ExecError> {
    let channel = channel.ok_or(ExecError::Interrupted)?;
    channel
        .exec(true, host_text::bytes(command).into_owned())
        .await
        .map_err(|_| ExecError::Interrupted)?;
    let mut ended = false;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Success => drop(channel.eof().await),
            ChannelMsg::Failure => {
                return Err(ExecError::Refused("the request was refused".to_owned()));
            }
            ChannelMsg::Data { data } => capture.stdout(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => capture.stderr(&data),
            ChannelMsg::ExitStatus { exit_status } => {
                capture.output.status = Some(exit_status);
                ended = true;
            }
            ChannelMsg::ExitSignal { .. } => ended = true,
            _ => {}
        }
    }
    if ended {
        Ok(capture.output)
    } else {
        Err(ExecError::Interrupted)
    }
}

/// Runs a command on this machine, like [`SshSession::exec`] on a host. At the timeout the shell is killed.
pub(crate) async fn run_locally(
    command: &str,
    limit: usize,
    within: Duration,
) -> Result<ExecOutput, ExecError> {
    let refused = |error: std::io::Error| ExecError::Refused(error.to_string());
    let mut child = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(OsStr::from_bytes(&host_text::bytes(command)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(refused)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let running = async {
        let (stdout, stderr, status) = tokio::join!(
            read_head(stdout, limit),
            read_head(stderr, limit),
            child.wait()
        );
        let ((stdout, cut_out), (stderr, cut_err)) = (stdout, stderr);
        let status = status.map_err(refused)?.code().map(i32::cast_unsigned);
        Ok(ExecOutput {
            status,
            stdout,
            stderr,
            truncated: cut_out || cut_err,
        })
    };
    tokio::time::timeout(within, running)
        .await
        .map_err(|_| ExecError::TimedOut(within))?
}

/// Reads to the end, stores the beginning, and returns whether there was more.
async fn read_head(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> (Vec<u8>, bool) {
    let (mut head, mut cut) = (Vec::new(), false);
    let Some(mut pipe) = pipe else {
        return (head, cut);
    };
    let mut buffer = vec![0; 8192];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        cut |= Capture::take(&mut head, buffer.get(..length).unwrap_or_default(), limit);
    }
    (head, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_local_command_is_bounded_in_output_and_time() {
        let second = Duration::from_secs(1);
        let output = run_locally("echo out; echo err >&2; exit 3", 100, second)
            .await
            .unwrap();
        assert_eq!((output.status, output.truncated), (Some(3), false));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
        let endless = run_locally("yes | head -c 100000", 10, second * 10)
            .await
            .unwrap();
        assert_eq!((endless.stdout.len(), endless.truncated), (10, true));
        let late = run_locally("sleep 60", 10, Duration::from_millis(50)).await;
        assert_eq!(late, Err(ExecError::TimedOut(Duration::from_millis(50))));
    }
}
