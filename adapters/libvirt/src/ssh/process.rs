//! A running command on the host with standard input and output.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::runtime::Handle;

use vsiflow_steps::host_text;

use super::SshSession;
use super::exec::ExecError;

/// The length limit of a line, and of the stored standard error, in bytes.
const LINE_MAX: usize = 1024;

/// A running command. When this and all its inputs are dropped, its channel is closed: it reads the end of
/// its input, and its output is closed.
pub struct SshProcess {
    output: ChannelReadHalf,
    input: SshInput,
    /// Output that was received after the last line.
    pending: Vec<u8>,
    errors: Vec<u8>,
}

/// The standard input of a running command. It can be written while the output is read.
#[derive(Clone)]
pub struct SshInput(Arc<ClosingInput>);

/// Closes the channel however the wait for its command ends, because sshd permits only ten at the same time.
struct ClosingInput(Option<ChannelWriteHalf<Msg>>);

impl Drop for ClosingInput {
    fn drop(&mut self) {
        if let (Some(channel), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { channel.close().await });
        }
    }
}

impl SshSession {
    /// Starts a command in the user's shell.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn start(&self, command: &str, within: Duration) -> Result<SshProcess, ExecError> {
        let channel = self.open_session(within).await?;
        let started = channel
            .exec(true, host_text::bytes(command).into_owned())
            .await;
        let (output, input) = channel.split();
        let process = SshProcess {
            output,
            input: SshInput(Arc::new(ClosingInput(Some(input)))),
            pending: Vec::new(),
            errors: Vec::new(),
        };
        started.map_err(|_| ExecError::Interrupted)?;
        Ok(process)
    }
}

impl SshInput {
    /// Writes bytes. Returns when the last of them was sent, so it is as fast as the command reads them. Not
    /// cancel safe: a part of them may be sent.
    ///
    /// # Errors
    /// [`ExecError::Interrupted`] if the session has ended.
    pub async fn write(&self, bytes: Bytes) -> Result<(), ExecError> {
        let channel = self.0.0.as_ref().ok_or(ExecError::Interrupted)?;
        let sent = channel.data_bytes(bytes).await;
        sent.map_err(|_| ExecError::Interrupted)
    }
}

impl SshProcess {
    /// Its standard input.
    pub fn input(&self) -> SshInput {
        self.input.clone()
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// [`ExecError::Interrupted`] if the session has ended.
    pub async fn write_line(&self, line: &str) -> Result<(), ExecError> {
        self.input.write(format!("{line}\n").into()).await
    }

    /// Reads the next line of its standard output. `None` at its end, if the host permits no command for this
    /// user, or if a line is too long.
    ///
    /// Cancel safe.
    pub async fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.pending.len() > LINE_MAX {
                return None;
            }
            match self.output.wait().await? {
                ChannelMsg::Data { data } => self.pending.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    let room = LINE_MAX.saturating_sub(self.errors.len()).min(data.len());
                    self.errors
                        .extend_from_slice(data.get(..room).unwrap_or_default());
                }
                ChannelMsg::Failure => return None,
                _ => {}
            }
        }
    }

    /// Its standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors).trim().to_owned()
    }
}
