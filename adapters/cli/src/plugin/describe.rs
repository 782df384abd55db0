//! `describe`: shows the resource's information about a VSI.

use vsiflow_kube::plugin::{ClusterEvent, VsiResource};

use super::access::{ClusterAccess, problem};
use crate::{
    args::OutputFormat,
    exit::{CommandOutcome, Exit},
    output::{self, line},
};

pub(super) async fn run(
    there: &ClusterAccess<'_>,
    name: &str,
    format: Option<OutputFormat>,
) -> CommandOutcome {
    let vsi = there.cluster.vsi(name).await.map_err(problem)?;
    match format {
        Some(OutputFormat::Name) => line(&vsi.label()),
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => {
            output::print(&vsi.object(), format)?
        }
        None | Some(OutputFormat::Wide) => {
            show(&vsi);
            match there.cluster.events(&vsi).await {
                Ok(events) => show_events(&events),
                Err(error) => output::warning(&error.to_string()),
            }
        }
    }
    Ok(Exit::Done)
}

fn show(vsi: &VsiResource) {
    let status = &vsi.status;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    field("Name", &vsi.name);
    field("Namespace", &vsi.namespace);
    field("UID", &vsi.uid);
    field("Generation", &generation(vsi));
    let labels: Vec<_> = vsi
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    field("Labels", &labels.join(","));
    field("Host", &text(&status.host));
    field("Phase", &text(&status.phase));
    field("Addresses", &status.ip_addresses.join(","));
    field("Step", &text(&status.current_step));
    field("Progress", &text(&status.progress));
    field("Run", &text(&status.run_id));
    field("Served by", &text(&status.served_by));
    line("Spec:");
    for (key, value) in vsi.spec.as_object().into_iter().flatten() {
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        indented(&format!("{key:<17} {shown}"));
    }
    line("Conditions:");
    for one in &status.conditions {
        let why = if one.message.is_empty() {
            &one.reason
        } else {
            &one.message
        };
        indented(&format!("{:<17} {:<8} {why}", one.name, one.status));
    }
    if let Some(waiting) = &status.proposal {
        line(&format!("Waits for approval, as {}:", waiting.id));
        output::plan::changes(&waiting.plan);
    }
    if !status.description.is_empty() {
        line("Description:");
        status.description.lines().for_each(indented);
    }
    if !status.warnings.is_empty() {
        line("Warnings:");
        status.warnings.iter().for_each(|warning| indented(warning));
    }
}

fn generation(vsi: &VsiResource) -> String {
    let seen = vsi.status.observed_generation;
    match seen {
        Some(seen) if seen >= vsi.generation => vsi.generation.to_string(),
        _ => format!("{}, not seen yet", vsi.generation),
    }
}

fn show_events(events: &[ClusterEvent]) {
    line("Events:");
    for one in events {
        let at = one.at.map(|at| format!("{at:.0}")).unwrap_or_default();
        let times = match one.count {
            count if count > 1 => format!(" ({count} times)"),
            _ => String::new(),
        };
        let message = one.message.replace('\n', " ");
        indented(&format!(
            "{at:<20} {:<7} {:<16} {message}{times}",
            one.kind, one.reason
        ));
    }
}

fn field(name: &str, value: &str) {
    let value = if value.is_empty() { "<none>" } else { value };
    line(&format!("{:<12} {value}", format!("{name}:")));
}

/// Prints an indented text. A status may contain text of a guest, so control sequences are made harmless.
fn indented(text: &str) {
    let _ = output::console(format!("  {text}\n").as_bytes());
}
