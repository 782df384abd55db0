//! The readable JSON fields of an event in an export.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::super::anchor::time;
use crate::model::{EventKind, Graph, Node, Payload, RunResult, Wait, Work};

/// The fields of an event except its type, actor and reason.
pub(super) fn fields(kind: &EventKind) -> Value {
    match kind {
        EventKind::Desired {
            generation,
            workflow,
            precedence,
            desired,
        } => json!({
            "generation": generation, "workflow": workflow, "precedence": precedence,
            "desired": payload(desired),
        }),
        EventKind::RunOpened {
            run,
            workflow,
            generation,
        } => json!({"run": run.to_string(), "workflow": workflow, "generation": generation}),
        EventKind::RunClosed { run, result } => {
            json!({"run": run.to_string(), "result": result_of(result)})
        }
        EventKind::Intent { step } => json!({"step": step}),
        EventKind::StateChanged { state, detail } => {
            json!({"state": state, "detail": detail.as_str()})
        }
        EventKind::SecretErased { secret } => json!({"secret": secret}),
        EventKind::Noted { what, detail } => json!({"what": what, "detail": detail.as_str()}),
        EventKind::RunStarted {
            entity,
            generation,
            graph,
        } => json!({
            "entity": entity.to_string(), "generation": generation, "graph": graph_of(graph),
        }),
        EventKind::Signal { signal } => json!({"signal": signal}),
        EventKind::CancelRequested { mode } => json!({"mode": mode}),
        EventKind::RunFinished { result } => json!({"result": result_of(result)}),
        EventKind::RetryScheduled { wait: until } => json!({"wait": wait(*until)}),
        EventKind::Compacted {
            horizon,
            sealed,
            archive,
        } => json!({
            "horizon": horizon, "sealed": sealed.to_string(), "archive": archive.to_string(),
        }),
        EventKind::ClockJumped { by_ms } => json!({"byMs": by_ms}),
        EventKind::BaseWritten {
            as_of,
            hash,
            signature,
        } => json!({
            "asOf": as_of, "hash": hash.to_string(), "signature": signature.as_str(),
        }),
        EventKind::RangeLost { from, to } => json!({"from": from, "to": to}),
        EventKind::ObjectMade { object, identity } => {
            json!({"object": object.as_str(), "identity": identity.as_str()})
        }
        EventKind::ObjectBegun { object }
        | EventKind::ObjectInUse { object }
        | EventKind::ObjectGone { object } => json!({"object": object.as_str()}),
        EventKind::Warranted {
            warrant,
            object,
            act,
            shown,
        } => json!({
            "warrant": warrant.to_string(), "object": object.as_str(), "act": act,
            "shown": shown.as_str(),
        }),
        EventKind::WarrantSpent { warrant, run, node } => json!({
            "warrant": warrant.to_string(), "run": run.to_string(), "node": node,
        }),
        EventKind::WarrantVoided { warrant } => json!({"warrant": warrant.to_string()}),
        EventKind::RetryRequested | EventKind::Paused | EventKind::Resumed => json!({}),
        of_a_step => step_fields(of_a_step),
    }
}

fn step_fields(kind: &EventKind) -> Value {
    match kind {
        EventKind::StepStarted { node, attempt } | EventKind::StepInterrupted { node, attempt } => {
            json!({"node": node, "attempt": attempt})
        }
        EventKind::StepSucceeded {
            node,
            attempt,
            outcome,
            output,
        } => json!({
            "node": node, "attempt": attempt, "outcome": outcome, "output": payload(output),
        }),
        EventKind::StepFailed {
            node,
            attempt,
            failure,
            retry,
        } => json!({
            "node": node, "attempt": attempt, "failure": failure, "retry": retry.map(wait),
        }),
        EventKind::StepBlocked {
            node,
            attempt,
            failure,
            recheck,
        } => json!({
            "node": node, "attempt": attempt, "failure": failure, "recheck": recheck.map(wait),
        }),
        EventKind::StepSkipped { node } | EventKind::TimerDue { node } => json!({"node": node}),
        _ => json!({}),
    }
}

fn wait(wait: Wait) -> Value {
    json!({"delayMs": wait.delay_ms, "due": time(wait.due)})
}

fn result_of(result: &RunResult) -> Value {
    match result {
        RunResult::Succeeded => json!({"outcome": "succeeded"}),
        RunResult::Failed(failure) => json!({"outcome": "failed", "failure": failure}),
        RunResult::Cancelled => json!({"outcome": "cancelled"}),
        RunResult::Superseded => json!({"outcome": "superseded"}),
    }
}

fn graph_of(graph: &Graph) -> Value {
    let nodes: Vec<_> = graph.nodes.iter().map(node).collect();
    json!({"workflow": graph.workflow, "version": graph.version, "nodes": nodes})
}

fn node(node: &Node) -> Value {
    let work = match &node.work {
        Work::Step {
            step,
            version,
            params,
        } => json!({"step": step, "version": version, "params": payload(params)}),
        Work::Entity {
            entity,
            workflow,
            desired,
        } => json!({
            "entity": entity.to_string(), "workflow": workflow, "desired": payload(desired),
        }),
    };
    json!({
        "name": node.name, "after": node.after, "lane": node.lane.as_str(),
        "interruptible": node.interruptible, "work": work,
    })
}

/// A payload: as `json` if it is JSON that every reader reads alike, else as `text`, else as
/// `base64`. A payload stored beside the journal has `blob` and `len`.
fn payload(payload: &Payload) -> Value {
    match payload {
        Payload::Blob { hash, len } => json!({"blob": hash.to_string(), "len": len}),
        Payload::Inline(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => match serde_json::from_str::<Value>(text) {
                Ok(value) if is_stable(&value) => json!({"json": value}),
                _ => json!({"text": text}),
            },
            Err(_) => json!({"base64": BASE64_STANDARD.encode(bytes)}),
        },
    }
}

/// Whether a value reads back as it was written, at the nesting depth that it has in a line.
fn is_stable(value: &Value) -> bool {
    const DEPTH: usize = 12;
    let line = format!("{}{value}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let mut parsed = serde_json::from_str::<Value>(&line).ok();
    for _ in 0..DEPTH {
        parsed = match parsed {
            Some(Value::Array(mut inner)) => inner.pop(),
            _ => None,
        };
    }
    parsed.as_ref() == Some(value)
}
