//! Single questions to a guest that is ready: for the gate of a wave, and for the outputs of a member.
//! They change nothing on the host.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vsiflow_engine::low_priority;

use super::{
    Addresses, ReadyGuest,
    await_ready::probes::{ASK_WITHIN, probe_again},
};
use crate::{
    guest::{
        Probe,
        pattern::{self, MatchBudget},
    },
    hpl::{LINE_MAX, cut, plain},
    ports::{ConsolePosition, HostPorts, PortErrorKind, PortResult, VolumeKey},
};

/// Number of bytes at the end of a console that are searched.
const SEARCHED: u64 = 1024 * 1024;
/// How long a program in the guest may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);
/// Maximum number of bytes of a program's output that a message repeats.
const SHOWN: usize = 160;
/// Maximum number of bytes of an agent's answer. A program's output is a third longer in it.
const ANSWER_MAX: usize = 256 << 10;

impl ReadyGuest {
    /// Asks a probe once; returns why it is not met now, `None` if it is.
    ///
    /// # Errors
    /// When no call on the host can succeed.
    pub async fn unmet(&self, ports: &HostPorts, probe: &Probe) -> PortResult<Option<String>> {
        if let Probe::Console(text) = probe {
            return Ok(match self.find_line(ports, text).await? {
                Ok(Some(_)) => None,
                Ok(None) => Some("no line matches".to_owned()),
                Err(why) => Some(why),
            });
        }
        let addresses = self.addresses(ports).await;
        probe_again(ports, self.uuid, &addresses, probe).await
    }

    /// Its current addresses, in the order of its cards.
    pub async fn addresses(&self, ports: &HostPorts) -> Vec<String> {
        Addresses::on(ports).of(self.uuid, &self.cards).await
    }

    /// Runs a program through its agent; returns why it did not end with 0, `None` if it did. A program
    /// that takes longer than 10 s is not stopped.
    ///
    /// # Errors
    /// When no call on the host can succeed.
    pub async fn run(
        &self,
        ports: &HostPorts,
        path: &str,
        args: &[String],
    ) -> PortResult<Option<String>> {
        let command = json!({"execute": "guest-exec", "arguments":
            {"path": path, "arg": args, "capture-output": true}});
        let begun = match self.agent(ports, &command).await? {
            Ok(begun) => begun,
            Err(why) => return Ok(Some(why)),
        };
        let Some(pid) = begun.get("pid").and_then(Value::as_i64) else {
            return Ok(Some("the agent names no process".to_owned()));
        };
        let status = json!({"execute": "guest-exec-status", "arguments": {"pid": pid}});
        let until = Instant::now().checked_add(COMMAND_WITHIN);
        loop {
            match self.agent(ports, &status).await? {
                Err(why) => return Ok(Some(why)),
                Ok(answer) if answer.get("exited") == Some(&Value::Bool(true)) => {
                    return Ok(ended_badly(&answer));
                }
                Ok(_) if until.is_some_and(|until| Instant::now() < until) => sleep(POLL).await,
                Ok(_) => return Ok(Some("it is still running".to_owned())),
            }
        }
    }

    /// Reads at most `most` + 1 bytes of a file through its agent; the inner error says why it cannot be
    /// read.
    ///
    /// # Errors
    /// When no call on the host can succeed.
    pub async fn read_file(
        &self,
        ports: &HostPorts,
        path: &str,
        most: usize,
    ) -> PortResult<Result<Vec<u8>, String>> {
        let open_file =
            json!({"execute": "guest-file-open", "arguments": {"path": path, "mode": "r"}});
        let handle = match self.agent(ports, &open_file).await? {
            Ok(answer) => answer.as_i64(),
            Err(why) => return Ok(Err(why)),
        };
        let Some(handle) = handle else {
            return Ok(Err("the agent opens no file".to_owned()));
        };
        let count = most.saturating_add(1);
        let read_file = json!({"execute": "guest-file-read", "arguments":
            {"handle": handle, "count": count}});
        let answer = self.agent(ports, &read_file).await;
        let close = json!({"execute": "guest-file-close", "arguments": {"handle": handle}});
        let closed = self.agent(ports, &close).await;
        let answer = match answer? {
            Ok(answer) => answer,
            Err(why) => return Ok(Err(why)),
        };
        if let Ok(Err(why)) | Err(why) = closed.map_err(|error| error.to_string()) {
            tracing::debug!(uuid = %self.uuid, why, "a guest's file stays open");
        }
        let bytes = answer
            .get("buf-b64")
            .and_then(Value::as_str)
            .and_then(|text| BASE64.decode(text).ok());
        Ok(bytes.ok_or_else(|| "the agent's answer holds no bytes".to_owned()))
    }

    async fn find_line(
        &self,
        ports: &HostPorts,
        pattern: &str,
    ) -> PortResult<Result<Option<String>, String>> {
        let budget = MatchBudget::of_guest(self.uuid, &self.namespace, &self.host);
        find_line(ports, &self.console, pattern, &budget).await
    }

    /// The first group of an expression, or its whole match, in the newest line of the console that
    /// matches.
    ///
    /// # Errors
    /// When the console cannot be read.
    pub async fn read_console(
        &self,
        ports: &HostPorts,
        pattern: &str,
    ) -> PortResult<Result<String, String>> {
        let group = self.find_line(ports, pattern).await?;
        Ok(
            group
                .and_then(|group| group.ok_or_else(|| "no line of the console matches".to_owned())),
        )
    }

    /// The agent's answer; the inner error says why there is none.
    async fn agent(&self, ports: &HostPorts, command: &Value) -> PortResult<Result<Value, String>> {
        let answer = ports
            .domains
            .agent(self.uuid, &command.to_string(), ASK_WITHIN)
            .await;
        match answer {
            Ok(answer) => Ok(returned(&answer).map(Option::unwrap_or_default)),
            Err(error) => match error.kind {
                PortErrorKind::WrongState | PortErrorKind::Rejected | PortErrorKind::Other => {
                    Ok(Err(cut(&error.message, SHOWN).to_owned()))
                }
                _ => Err(error),
            },
        }
    }
}

/// What an agent returns; `None` if it returns nothing. The guest decides how long that is.
pub(super) fn returned(answer: &str) -> Result<Option<Value>, String> {
    if answer.len() > ANSWER_MAX {
        let words = "the agent's answer is longer than 256 KiB";
        return Err(words.to_owned());
    }
    match serde_json::from_str(answer) {
        Ok(Value::Object(mut answer)) => Ok(answer.remove("return")),
        _ => Ok(None),
    }
}

fn ended_badly(answer: &Value) -> Option<String> {
    let code = answer.get("exitcode").and_then(Value::as_i64);
    if code == Some(0) {
        return None;
    }
    let printed = ["err-data", "out-data"].into_iter().find_map(|key| {
        let bytes = BASE64.decode(answer.get(key)?.as_str()?).ok()?;
        let line = bytes.split(|byte| *byte == b'\n').map(plain).next()?;
        (!line.is_empty()).then(|| cut(&line, SHOWN).to_owned())
    });
    let ending = match code {
        Some(code) => format!("it ended with {code}"),
        None => "it was killed".to_owned(),
    };
    Some(match printed {
        Some(printed) => format!("{ending}: {printed}"),
        None => ending,
    })
}

/// The match of an expression in the newest line that it matches, near the end of the console. The inner
/// error says why it cannot be matched.
async fn find_line(
    ports: &HostPorts,
    log: &VolumeKey,
    pattern: &str,
    budget: &MatchBudget,
) -> PortResult<Result<Option<String>, String>> {
    let text = pattern.to_owned();
    let compile = move || pattern::compile_recorded(&text);
    let compiled = low_priority::aside(compile).await;
    let Some(expression) = compiled.ok().flatten() else {
        return Ok(Err("the expression does not compile".to_owned()));
    };
    let end = ports.console.end(log).await?;
    let from = end.offset.saturating_sub(SEARCHED);
    let mut position = ConsolePosition { offset: from };
    let mut bytes = Vec::new();
    while position.offset < end.offset {
        let room = end.offset.saturating_sub(position.offset);
        let chunk = ports.console.read(log, position, room).await?;
        if chunk.bytes.is_empty() {
            break;
        }
        bytes.extend_from_slice(&chunk.bytes);
        position = chunk.next;
    }
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .map(plain)
        .rev()
        .map(|line| cut(&line, LINE_MAX).to_owned())
        .collect();
    Ok(pattern::first_group(&expression, lines, budget).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_of_an_agent_is_not_parsed() {
        assert_eq!(
            returned(r#"{"return":{"pid":7}}"#),
            Ok(Some(json!({"pid": 7})))
        );
        for nothing in ["", "7", "[]", "{}", r#"{"error":{}}"#] {
            assert_eq!(returned(nothing), Ok(None), "{nothing}");
        }
        let with = |length: usize| format!(r#"{{"return":"{}"}}"#, "a".repeat(length - 13));
        assert!(matches!(returned(&with(ANSWER_MAX)), Ok(Some(_))));
        let long = with(ANSWER_MAX + 1);
        let refused = returned(&long).unwrap_err();
        assert!(refused.contains("256 KiB"), "{refused}");
    }
}
