//! The probe for cloud-init's end without an error: from its lines on the console, or from the status
//! that the guest's agent can query.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{ASK_WITHIN, ProbeAnswer};
use crate::{
    hpl::{cut, plain},
    ports::{HostPorts, PortErrorKind, PortResult},
    vsi::ask_guest::returned,
};

const STATUS: &str = r#"{"execute":"guest-exec","arguments":{"path":"cloud-init","arg":["status","--long"],"capture-output":true}}"#;
/// Minimum pause between two of these commands.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause is at least this many times as long as the last command took. The command starts a program
/// in the guest, and an emulated guest that is busy booting needs seconds for it.
const PAUSES: u32 = 9;
/// The data source that cloud-init reports if it found no volume.
const NO_SEED: &str = "DataSourceNone";

/// The line, if it reports an error of cloud-init.
pub fn error(line: &str) -> Option<&str> {
    let logged = [".py[ERROR]", ".py[CRITICAL]"];
    let unit = line.contains("[FAILED]") && names_cloud_init(line);
    if unit || logged.iter().any(|mark| line.contains(mark)) {
        return Some(line);
    }
    let warned = line.contains(".py[WARNING]") && line.to_ascii_lowercase().contains("fail");
    // Not errors: a schema that does not match, a server that is asked again, and user-data that has only
    // `#cloud-config`.
    let harmless = ["schema", "url_helper.py", "empty cloud config"];
    let is_harmless = harmless.iter().any(|words| line.contains(words));
    (warned && !is_harmless).then_some(line)
}

/// The line, without the user-data that it may repeat, if it reports something that cloud-init did not apply
/// and that did not stop it.
pub fn warning(line: &str) -> Option<&str> {
    let warned = line.contains(".py[WARNING]") && error(line).is_none();
    // A server that is asked again, and user-data that has only `#cloud-config`.
    let harmless = ["url_helper.py", "empty cloud config"];
    let is_harmless = harmless.iter().any(|words| line.contains(words));
    (warned && !is_harmless).then(|| without_input(line))
}

/// The line up to what it repeats of its input.
fn without_input(line: &str) -> &str {
    let end = line
        .find("userdata:")
        .map(|position| position.saturating_add("userdata".len()));
    line.get(..end.unwrap_or(line.len())).unwrap_or(line)
}

/// The input that a line is about, as documents name it.
pub(in crate::vsi) fn input_of(line: &str) -> &'static str {
    let lower = line.to_ascii_lowercase();
    let inputs: [(&[&str], &str); 3] = [
        (
            &["networking", "network-config", "network config", "netplan"],
            "network configuration (`networkConfig`)",
        ),
        (&["vendor"], "vendor-data (`vendorData`)"),
        (&["authorized_keys", "cc_ssh.py"], "SSH keys (`sshKeys`)"),
    ];
    let named = inputs
        .into_iter()
        .find(|(words, _)| words.iter().any(|word| lower.contains(word)));
    named.map_or("user-data", |(_, input)| input)
}

fn names_cloud_init(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.contains("cloud-init")
        || lower.contains("cloud-config")
        || lower.contains("cloud-final")
        || lower.contains("cloud user/final")
}

/// The result of cloud-init, if this is the line that reports its end.
pub(super) fn end(line: &str, errors: &[String]) -> Option<ProbeAnswer> {
    let report = line.get(line.find("Cloud-init v. ")?..)?;
    let (_, how) = report.split_once(" finished at ")?;
    Some(if how.contains(NO_SEED) {
        ProbeAnswer::Failed(format!(
            "cloud-init found no volume labelled cidata: {report}"
        ))
    } else if errors.is_empty() {
        ProbeAnswer::Met(report.to_owned())
    } else {
        ProbeAnswer::Failed(format!("cloud-init failed: {}", errors.join("; ")))
    })
}

/// The status command in the guest; at most one runs at a time.
#[derive(Debug, Default)]
pub(super) struct StatusCommand {
    runs: Option<(u64, Instant)>,
    next: Option<Instant>,
    /// What cloud-init reported that did not stop it.
    pub(super) recoverable: Vec<String>,
}

impl StatusCommand {
    /// Asks the agent for cloud-init's status; `None` if no agent reports it, or there is no answer yet.
    pub(super) async fn ask(
        &mut self,
        ports: &HostPorts,
        uuid: Uuid,
    ) -> PortResult<Option<ProbeAnswer>> {
        let Some((pid, since)) = self.running(ports, uuid).await? else {
            return Ok(None);
        };
        let status = format!(r#"{{"execute":"guest-exec-status","arguments":{{"pid":{pid}}}}}"#);
        let answer = agent(ports, uuid, &status).await?;
        let running = |of: &Value| of.get("exited") == Some(&Value::Bool(false));
        if answer.as_ref().is_some_and(running) {
            return Ok(None);
        }
        self.runs = None;
        let pause = since.elapsed().saturating_mul(PAUSES).max(PAUSE);
        self.next = Instant::now().checked_add(pause);
        let Some(lines) = answer.as_ref().and_then(printed_lines) else {
            return Ok(None);
        };
        self.recoverable = recoverable(&lines);
        Ok(parse_status(&lines))
    }

    /// The running command; starts one if none runs and the pause is over.
    async fn running(
        &mut self,
        ports: &HostPorts,
        uuid: Uuid,
    ) -> PortResult<Option<(u64, Instant)>> {
        let waits = self.next.is_some_and(|next| Instant::now() < next);
        if self.runs.is_some() || waits {
            return Ok(self.runs);
        }
        let begun = agent(ports, uuid, STATUS).await?;
        let pid = begun.as_ref().and_then(|begun| begun.get("pid"));
        self.runs = pid.and_then(Value::as_u64).map(|pid| (pid, Instant::now()));
        Ok(self.runs)
    }
}

/// The agent's answer; `None` if it gives none, or refuses.
async fn agent(ports: &HostPorts, uuid: Uuid, command: &str) -> PortResult<Option<Value>> {
    match ports.domains.agent(uuid, command, ASK_WITHIN).await {
        Ok(answer) => Ok(returned(&answer).ok().flatten()),
        Err(error) => match error.kind {
            PortErrorKind::WrongState | PortErrorKind::Rejected | PortErrorKind::Other => Ok(None),
            _ => Err(error),
        },
    }
}

/// The lines of the output of a command.
fn printed_lines(answer: &Value) -> Option<Vec<String>> {
    let printed = answer.get("out-data").and_then(Value::as_str)?;
    let printed = BASE64.decode(printed).ok()?;
    Some(printed.split(|byte| *byte == b'\n').map(plain).collect())
}

/// The list below `recoverable_errors:`.
fn recoverable(lines: &[String]) -> Vec<String> {
    let below = lines
        .iter()
        .skip_while(|line| !line.starts_with("recoverable_errors:"))
        .skip(1);
    let items = below.filter_map(|line| line.trim().strip_prefix("- "));
    items.map(|item| without_input(item).to_owned()).collect()
}

/// Parses the output of `cloud-init status --long`.
fn parse_status(lines: &[String]) -> Option<ProbeAnswer> {
    let status = lines.iter().find_map(|line| line.strip_prefix("status:"))?;
    match status.trim() {
        "done" => Some(ProbeAnswer::Met("cloud-init status: done".to_owned())),
        "error" => {
            let details = lines.iter().skip_while(|line| !is_detail(line));
            let text = details
                .map(|line| line.trim())
                .collect::<Vec<_>>()
                .join(" ");
            let words = cut(text.trim(), super::ANSWER_MAX);
            Some(ProbeAnswer::Failed(format!(
                "cloud-init status: error; {words}"
            )))
        }
        other => Some(ProbeAnswer::NotYet(format!(
            "cloud-init status: {}",
            cut(other, 40)
        ))),
    }
}

fn is_detail(line: &str) -> bool {
    ["detail:", "errors:"]
        .iter()
        .any(|key| line.starts_with(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "[   43.1] cloud-init[512]: Cloud-init v. 22.4.2 finished at Sat, 21 Nov \
        2026 10:00:00 +0000. Datasource DataSourceNoCloud [seed=/dev/vdb].  Up 43.00 seconds";

    #[test]
    fn its_end_is_read_from_the_console() {
        let Some(ProbeAnswer::Met(by)) = end(END, &[]) else {
            panic!("it has ended");
        };
        assert!(by.starts_with("Cloud-init v. 22.4.2 finished"));
        assert_eq!(
            end("Cloud-init v. 22.4.2 running 'modules:final' at …", &[]),
            None
        );
        let no_seed = END.replace("DataSourceNoCloud [seed=/dev/vdb]", "DataSourceNone");
        assert!(matches!(end(&no_seed, &[]), Some(ProbeAnswer::Failed(_))));
        let Some(ProbeAnswer::Failed(why)) = end(END, &["cc_runcmd.py: no".to_owned()]) else {
            panic!("it failed");
        };
        assert!(why.contains("cc_runcmd.py: no"));
    }

    #[test]
    fn what_failed_is_told_from_what_is_only_odd() {
        for failed in [
            "cc_scripts_user.py[WARNING]: Failed to run module scripts-user (scripts in /var/lib)",
            "util.py[WARNING]: Running module scripts-user (<module 'x'>) failed",
            "util.py[WARNING]: Failed loading yaml blob. Invalid format at line 2 column 1",
            "[FAILED] Failed to start cloud-final.service - Execute cloud user/final scripts.",
            "stages.py[ERROR]: Unable to render networking",
        ] {
            assert!(error(failed).is_some(), "{failed}");
        }
        for odd in [
            "schema.py[WARNING]: cloud-config failed schema validation! You may run …",
            "url_helper.py[WARNING]: Calling 'http://169.254.169.254/' failed [0/120s]",
            "[FAILED] Failed to start apt-daily.service - Daily apt download activities.",
            "cc_growpart.py[WARNING]: nothing to do",
            "cloud_config.py[WARNING]: Failed at merging in cloud config part from part-001: empty cloud config",
            "ci-info: no authorized SSH keys fingerprints found for user debian.",
        ] {
            assert!(error(odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn what_was_not_applied_is_a_warning_without_the_input() {
        for (line, words) in [
            (
                "__init__.py[WARNING]: Unhandled non-multipart (text/x-not-multipart) userdata: 'b'hunter2'...'",
                "__init__.py[WARNING]: Unhandled non-multipart (text/x-not-multipart) userdata",
            ),
            (
                "schema.py[WARNING]: cloud-config failed schema validation! You may run …",
                "schema.py[WARNING]: cloud-config failed schema validation! You may run …",
            ),
        ] {
            assert_eq!(warning(line), Some(words));
            assert_eq!(error(line), None);
        }
        for line in [
            "url_helper.py[WARNING]: Calling 'http://169.254.169.254/' failed [0/120s]",
            "cloud_config.py[WARNING]: Failed at merging in cloud config part from part-001: empty cloud config",
            "stages.py[ERROR]: Unable to render networking",
            "ci-info: no authorized SSH keys fingerprints found for user debian.",
        ] {
            assert_eq!(warning(line), None, "{line}");
        }
        let status = "status: done\nextended_status: degraded done\nerrors: []\nrecoverable_errors:\nWARNING:\n\t- \
                      Unhandled non-multipart (text/x-not-multipart) userdata: 'hunter2'\n";
        let lines: Vec<String> = status.lines().map(str::to_owned).collect();
        assert_eq!(
            recoverable(&lines),
            ["Unhandled non-multipart (text/x-not-multipart) userdata"]
        );
        assert!(matches!(parse_status(&lines), Some(ProbeAnswer::Met(_))));
    }

    #[test]
    fn the_input_that_a_line_is_about_is_named() {
        for (line, input) in [
            (
                "stages.py[ERROR]: Unable to render networking",
                "networkConfig",
            ),
            (
                "util.py[WARNING]: Failed loading yaml blob of network-config",
                "networkConfig",
            ),
            ("util.py[WARNING]: Failed loading vendor-data", "vendorData"),
            ("cc_ssh.py[WARNING]: Failed to apply keys", "sshKeys"),
            ("cc_runcmd.py[ERROR]: Failed", "user-data"),
        ] {
            assert!(input_of(line).contains(input), "{line}");
        }
    }

    #[test]
    fn its_status_is_read_from_the_agent() {
        let answer = |text: &str| {
            let answer = serde_json::json!({"exited": true, "out-data": BASE64.encode(text)});
            parse_status(&printed_lines(&answer).unwrap())
        };
        assert!(matches!(
            answer("status: done\ntime: x\n"),
            Some(ProbeAnswer::Met(_))
        ));
        assert!(matches!(
            answer("status: running\n"),
            Some(ProbeAnswer::NotYet(_))
        ));
        let Some(ProbeAnswer::Failed(why)) =
            answer("status: error\ntime: t\ndetail:\n('x', Oops)\n")
        else {
            panic!("it failed");
        };
        assert!(why.contains("Oops") && !why.contains("time"), "{why}");
        assert_eq!(answer("?"), None);
    }
}
