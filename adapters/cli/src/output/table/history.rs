//! The table of the events of a history.

use vsiflow_workflows::fleet::{HistoryLine, took};

use super::{Table, cells::or_none};

/// The table of events.
pub(crate) fn history(lines: &[HistoryLine], wide: bool) -> Table {
    let mut head = vec![
        "TIME", "WORKFLOW", "STEP", "EVENT", "OUTCOME", "TOOK", "ACTOR", "DETAIL",
    ];
    let of_several = lines.iter().any(|line| line.object.is_some());
    if of_several {
        head.insert(1, "OBJECT");
    }
    if wide {
        head.insert(0, "OFFSET");
        head.extend(["RUN", "HASH"]);
    }
    let mut table = Table::new(&head);
    for line in lines {
        let attempt = line.attempt.filter(|attempt| *attempt > 1);
        let attempt = attempt
            .map(|attempt| format!(" #{attempt}"))
            .unwrap_or_default();
        let mut row = vec![
            line.time.clone(),
            or_none(line.workflow.clone().unwrap_or_default()),
            or_none(
                line.step
                    .clone()
                    .map(|step| step + &attempt)
                    .unwrap_or_default(),
            ),
            line.kind.clone(),
            line.outcome.clone().unwrap_or_default(),
            line.duration_ms.map(took).unwrap_or_default(),
            line.actor.clone(),
            detail(line),
        ];
        if of_several {
            row.insert(1, line.object.clone().unwrap_or_default());
        }
        if wide {
            let offset = line.offset;
            row.insert(
                0,
                line.journal.map_or_else(
                    || offset.to_string(),
                    |journal| format!("{journal}:{offset}"),
                ),
            );
            row.extend([
                or_none(line.run.clone().unwrap_or_default()),
                line.hash.chars().take(12).collect(),
            ]);
        }
        table.rows.push(row);
    }
    table
}

fn detail(line: &HistoryLine) -> String {
    let error = line
        .error
        .as_ref()
        .map(|error| format!("{}: {}", error.code, error.message));
    let reason = Some(line.reason.clone()).filter(|reason| !reason.is_empty());
    let parts = [line.detail.clone(), error, reason];
    parts
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
        .replace('\n', " ")
}
