//! A command on the host that is spoken to while it runs, a line at a time.

use std::time::Duration;

use russh::ChannelMsg;

use super::SshSession;
use super::exec::{Closing, ExecError};

/// Bytes of a line, and of what a command says on its standard error.
const LINE_MAX: usize = 1024;

/// A running command. Dropped, its channel is closed, so that it finds its standard input at the
/// end and nobody at its standard output.
pub struct SshProcess {
    channel: Closing,
    /// What came of the next lines.
    said: Vec<u8>,
    errors: Vec<u8>,
}

impl SshSession {
    /// Starts a command in the user's shell.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn start(&self, command: &str, within: Duration) -> Result<SshProcess, ExecError> {
        let channel = Closing(Some(self.open_session(within).await?));
        let process = SshProcess {
            channel,
            said: Vec::new(),
            errors: Vec::new(),
        };
        let channel = process.channel.0.as_ref().ok_or(ExecError::Interrupted)?;
        let started = channel.exec(true, command).await;
        started.map_err(|_| ExecError::Interrupted)?;
        Ok(process)
    }
}

impl SshProcess {
    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// [`ExecError::Interrupted`] where the session is over.
    pub async fn write_line(&self, line: &str) -> Result<(), ExecError> {
        let channel = self.channel.0.as_ref().ok_or(ExecError::Interrupted)?;
        let sent = channel.data_bytes(format!("{line}\n")).await;
        sent.map_err(|_| ExecError::Interrupted)
    }

    /// The next line of its standard output; `None` at its end, where the host runs no command for this
    /// user, or where a line is too long.
    ///
    /// Cancel safe.
    pub async fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.said.len() > LINE_MAX {
                return None;
            }
            match self.channel.0.as_mut()?.wait().await? {
                ChannelMsg::Data { data } => self.said.extend_from_slice(&data),
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
