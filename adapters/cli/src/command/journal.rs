//! `journal repair`: reports what can be recovered from a damaged journal, and repairs it.

use serde_json::{Value, json};
use vsiflow_engine::{
    clock::{Clock as _, SystemClock},
    journal::{DamagedRange, Lost, Regainable, Survey},
    state_dir::{Repaired, Repairer, StateDir},
};

use super::restore::decrypted;
use crate::{
    actor,
    args::{Common, OutputFormat, RepairArgs},
    compose,
    exit::{CommandOutcome, Exit, ExitProblem},
    journal_file::{of_error, there},
    key_file::signing_key,
    output,
    user_file::{LongInput, input},
    work,
};

/// The question before a damaged log is changed.
const REPAIR: &str =
    "Repair it? Lost events are recorded as lost; damaged files are stored in damaged/.";
/// The most streams of one range that are named.
const NAMED: usize = 10;

pub(super) async fn repair(common: &Common, args: RepairArgs) -> CommandOutcome {
    compose::database::of_files(common, "journal repair")?;
    let path = compose::state_path(common)?;
    there(&path)?;
    let key = signing_key(args.sign_key.as_deref()).await?;
    let state = compose::open_state(common, &path).await?;
    let mut from = opened(&args).await?;
    let survey = state
        .survey(from.as_deref_mut().map(|input| input as _))
        .await
        .map_err(|error| of_error(&error))?;
    let report = printed_survey(&state, &survey, &args);
    if survey.is_whole() {
        return print(&args, report, None);
    }
    if !args.yes && !work::is_agreed(REPAIR)? {
        print(&args, report, None)?;
        return Err(unconfirmed());
    }
    let by = actor::by(&common.reason);
    let by = Repairer {
        actor: by.actor,
        reason: by.reason,
        now: SystemClock.now(),
    };
    let repaired = state.repair(survey, by, key.as_ref()).await;
    let repaired = repaired.map_err(|error| of_error(&error.into()))?;
    print(&args, report, Some(&repaired))
}

async fn opened(args: &RepairArgs) -> Result<Option<LongInput>, ExitProblem> {
    let Some(file) = &args.from else {
        return Ok(None);
    };
    let from = input(file).await?;
    match &args.identity {
        Some(identity) => decrypted(from, identity).await.map(Some),
        None => Ok(Some(from)),
    }
}

fn unconfirmed() -> ExitProblem {
    let message = "the journal is damaged, and nothing was changed";
    let remedy = "check above what can be recovered, add a backup with --from if there is one, then repeat with --yes";
    ExitProblem::new(Exit::Blocked, "VSI0914", message, remedy)
}

/// Reports what was found: prints it as text, or returns the object that is printed at the end.
fn printed_survey(state: &StateDir, survey: &Survey, args: &RepairArgs) -> Value {
    if args.output.is_none() {
        survey.findings().iter().for_each(print_finding);
        print_sum(survey);
    }
    let items: Vec<_> = survey.findings().iter().map(object).collect();
    let untold: Vec<_> = survey.untold().iter().map(range).collect();
    json!({
        "apiVersion": "v1",
        "kind": "JournalRepair",
        "metadata": {"name": state.journal_id()},
        "status": {
            "damaged": items,
            "unrecorded": untold,
            "statesKnown": survey.knows_states(),
            "repaired": false,
            "kept": [],
        },
    })
}

fn print_finding(finding: &DamagedRange) {
    let DamagedRange { file, why, .. } = finding;
    output::line(&format!("{file}: {why}"));
    if finding.regained.is_empty() && finding.lost.is_empty() {
        output::line("  no event is damaged");
    }
    for regained in &finding.regained {
        let source = match regained.source {
            Regainable::Segment => "are whole in the damaged file",
            Regainable::Archive => "are in the archive",
            Regainable::File => "are in the file given",
        };
        output::line(&format!(
            "  {} {source}",
            offsets(regained.from, regained.to)
        ));
    }
    for lost in &finding.lost {
        let far = if finding.open_ended {
            " (its real end is unknown)"
        } else {
            ""
        };
        output::line(&format!(
            "  {}: the journal lacks them{far}",
            offsets(lost.from, lost.to)
        ));
    }
    for stream in finding.streams.iter().take(NAMED) {
        output::line(&format!("  {stream} lacks events"));
    }
    let more = finding.streams.len().saturating_sub(NAMED);
    if more > 0 {
        output::line(&format!("  and {more} other streams"));
    }
}

fn print_sum(survey: &Survey) {
    if survey.is_whole() {
        return output::line("nothing is damaged");
    }
    for lost in survey.untold() {
        let range = offsets(lost.from, lost.to);
        output::line(&format!(
            "{range} were lost earlier, and no event tells of it yet"
        ));
    }
    let loses = survey
        .findings()
        .iter()
        .any(|finding| !finding.lost.is_empty());
    match (loses, survey.knows_states()) {
        (true, true) => output::line("the index has the states that the lost events led to"),
        (true, false) => output::warning(
            "what the lost events came to is not known: a VSI that lacks some is not worked with \
             (VSI0018), and others may have gone on further than is shown",
        ),
        (false, _) => {}
    }
}

fn offsets(from: u64, to: u64) -> String {
    match to.saturating_sub(1) {
        last if last <= from => format!("offset {from}"),
        last => format!("offsets {from} to {last}"),
    }
}

fn range(lost: &Lost) -> Value {
    json!({"from": lost.from, "to": lost.to})
}

fn object(finding: &DamagedRange) -> Value {
    let regained = finding.regained.iter().map(|regained| {
        let source = match regained.source {
            Regainable::Segment => "segment",
            Regainable::Archive => "archive",
            Regainable::File => "file",
        };
        json!({"from": regained.from, "to": regained.to, "source": source})
    });
    let streams = finding.streams.iter().map(ToString::to_string);
    json!({
        "from": finding.from,
        "to": finding.to,
        "openEnded": finding.open_ended,
        "file": finding.file,
        "reason": finding.why,
        "streams": streams.collect::<Vec<_>>(),
        "regained": regained.collect::<Vec<_>>(),
        "lost": finding.lost.iter().map(range).collect::<Vec<_>>(),
    })
}

fn print(args: &RepairArgs, mut report: Value, repaired: Option<&Repaired>) -> CommandOutcome {
    let kept = repaired.map(|repaired| repaired.kept.iter().map(|path| path.display().to_string()));
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    if let Some(format) = args.output {
        if let Some(status) = report.get_mut("status").filter(|_| repaired.is_some()) {
            status["repaired"] = json!(true);
            status["kept"] = json!(kept);
        }
        match format {
            OutputFormat::Json | OutputFormat::Yaml => output::print(&report, format)?,
            OutputFormat::Wide | OutputFormat::Name => {}
        }
        return Ok(Exit::Done);
    }
    let Some(repaired) = repaired else {
        return Ok(Exit::Done);
    };
    for path in kept {
        output::line(&format!("kept: {path}"));
    }
    for lost in &repaired.lost {
        let range = offsets(lost.from, lost.to);
        output::line(&format!("recorded: {range} are lost"));
    }
    output::line("the journal is repaired; take a backup of it now");
    Ok(Exit::Done)
}
