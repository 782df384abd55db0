//! A command on the host that is spoken to while it runs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::runtime::Handle;

use super::SshSession;
use super::exec::ExecError;

/// Bytes of a line, and of what a command says on its standard error.
const LINE_MAX: usize = 1024;

/// A running command. Once this and all its inputs are dropped its channel is closed, so that it finds
/// its standard input at the end and nobody at its standard output.
pub struct SshProcess {
    output: ChannelReadHalf,
    input: SshInput,
    /// What came of the next lines.
    pending: Vec<u8>,
    errors: Vec<u8>,
}

/// The standard input of a running command, which is written to while its output is read.
#[derive(Clone)]
pub struct SshInput(Arc<ClosingInput>);

/// Closes the channel however the wait for its command ends: sshd allows ten at a time.
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
        let started = channel.exec(true, command).await;
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
    /// Writes bytes; returns when the last of them is on its way, which is as fast as the command
    /// takes them. Not cancel safe: a part of them may be on its way.
    ///
    /// # Errors
    /// [`ExecError::Interrupted`] where the session is over.
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
    /// [`ExecError::Interrupted`] where the session is over.
    pub async fn write_line(&self, line: &str) -> Result<(), ExecError> {
        self.input.write(format!("{line}\n").into()).await
    }

    /// The next line of its standard output; `None` at its end, where the host runs no command for this
    /// user, or where a line is too long.
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
                    let data = data.get(..room).unwrap_or_default();
                    self.errors.extend_from_slice(data);
                }
                ChannelMsg::Failure => return None,
                _ => {}
            }
        }
    }

    /// What it said on its standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.errors).trim().to_owned()
    }
}
