//! `audit`: verifies the journal, prints its audit anchor, exports it and rebuilds it.

use std::{io, path::Path, sync::Arc};

use tokio::{fs::OpenOptions, io::BufWriter};
use vsiflow_api::{AnchorRequest, JournalAnchor, RemovedEvents, VerifiedJournal, VerifyRequest};
use vsiflow_engine::{
    audit::{AuditAnchor, Rebuilt, rebuild, rebuild_into},
    blob::Blobs,
    clock::{Clock as _, SystemClock},
    journal::{ChainedJournal, JournalError},
};
use vsiflow_postgres::{Held, JournalAddress, PostgresBlobs, PostgresError, PostgresJournal};

use crate::{
    args::{
        AuditCommand, AuditExportArgs, AuditHeadArgs, AuditRebuildArgs, AuditVerifyArgs, Common,
    },
    compose::{self, database},
    exit::{CommandOutcome, Exit, ExitProblem},
    inspection::Inspection,
    journal_file::{of_error, of_new_folder, warn_of},
    key_file::{public_key_text, signing_key},
    output, service,
    user_file::{LongInput, input, small, unwritable},
};

pub(super) async fn run(common: &Common, command: AuditCommand) -> CommandOutcome {
    match command {
        AuditCommand::Verify(args) => verify(common, args).await,
        AuditCommand::Head(args) => head(common, args).await,
        AuditCommand::Export(args) => export(common, args).await,
        AuditCommand::Rebuild(args) => rebuild_from(common, args).await,
    }
}

// ---- verify ----

async fn verify(common: &Common, args: AuditVerifyArgs) -> CommandOutcome {
    let head = match &args.head {
        Some(text) => Some(stored_head(text).await?),
        None => None,
    };
    let public_key = match &args.public_key {
        Some(path) => Some(public_key_text(path).await?),
        None => None,
    };
    let (is_anchored, is_signed) = (head.is_some(), public_key.is_some());
    let verified = service::call(common, VerifyRequest { head, public_key }).await?;
    let are_several = verified.journals.len() > 1;
    let mut exit = Exit::Done;
    for journal in verified.journals {
        heading(are_several, journal.journal);
        if journal.is_sound() {
            print_sound(common, &journal, is_anchored, is_signed);
        } else {
            exit = Exit::Failed;
            let summary = journal.summary();
            for violation in journal.violations {
                output::problem(&ExitProblem::from(violation));
            }
            output::line(&summary);
        }
    }
    Ok(exit)
}

/// Prints which journal of a set the next lines are of.
pub(super) fn heading(are_several: bool, journal: Option<u16>) {
    if let (true, Some(number)) = (are_several, journal) {
        output::line(&format!("journal {number}:"));
    }
}

fn print_sound(common: &Common, journal: &VerifiedJournal, is_anchored: bool, is_signed: bool) {
    output::line(&journal.summary());
    let bases = journal.bases;
    if bases > 0 {
        output::line(&format!("{bases} bases match the events before them"));
    }
    for RemovedEvents { range, base } in &journal.removed {
        output::note(&format!(
            "{range}: the events were removed; the base as of offset {base} replaces them"
        ));
    }
    match (is_anchored, is_signed) {
        (true, true) => output::line("the head stored elsewhere is signed and part of it"),
        (true, false) => output::line("the head stored elsewhere is part of it"),
        (false, true) => output::line("the bases that stand for missing events are signed"),
        (false, false) if common.quiet => {}
        (false, false) => output::note(
            "only a head stored elsewhere reveals a journal whose end was cut off or that was \
             replaced by an older copy: see `vsiflow audit head`",
        ),
    }
}

/// The line of a head: as the user gave it, or from the file that the user named.
async fn stored_head(text: &str) -> Result<String, ExitProblem> {
    if text.trim_start().starts_with("vsiflow-head") {
        Ok(text.to_owned())
    } else {
        small(Path::new(text)).await
    }
}

// ---- head ----

async fn head(common: &Common, args: AuditHeadArgs) -> CommandOutcome {
    let key = signing_key(args.sign_key.as_deref()).await?;
    let anchors = service::call(common, AnchorRequest {}).await?;
    let are_several = anchors.journals.len() > 1;
    for JournalAnchor { journal, head } in anchors.journals {
        heading(are_several, journal);
        let Some(key) = &key else {
            output::line(&head);
            continue;
        };
        let mut anchor: AuditAnchor = head.parse().map_err(ExitProblem::defect)?;
        anchor.sign(key);
        output::line(&anchor.to_string());
    }
    Ok(Exit::Done)
}

// ---- export and rebuild ----

async fn export(common: &Common, args: AuditExportArgs) -> CommandOutcome {
    let inspection = Inspection::at(common).await?;
    let exported = write_export(&inspection, &args.file).await;
    inspection.close().await;
    exported?;
    Ok(Exit::Done)
}

async fn print_export(inspection: &Inspection) -> Result<(), ExitProblem> {
    let (mut made, mut printed) = tokio::io::duplex(64 << 10);
    let export = async {
        let exported = inspection
            .audit()
            .export(&mut made, SystemClock.now())
            .await;
        drop(made);
        exported.map_err(|error| of_error(&error))
    };
    let print = async {
        match output::sink::out_all(&mut printed).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(output::unwritable(error))
            }
            _ => Ok(()),
        }
    };
    tokio::try_join!(export, print).map(drop)
}

async fn write_export(inspection: &Inspection, path: &Path) -> Result<(), ExitProblem> {
    let (audit, now) = (inspection.audit(), SystemClock.now());
    if path == Path::new("-") {
        return print_export(inspection).await;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(path).await.map_err(|e| unwritable(path, &e))?;
    let mut out = BufWriter::new(file);
    let exported = audit
        .export(&mut out, now)
        .await
        .map_err(|e| of_error(&e))?;
    out.get_ref()
        .sync_all()
        .await
        .map_err(|e| unwritable(path, &e))?;
    output::line(&format!(
        "{} events and {} blobs, up to {}",
        exported.events, exported.blobs, exported.head
    ));
    warn_of(&exported.lacks);
    Ok(())
}

async fn rebuild_from(common: &Common, args: AuditRebuildArgs) -> CommandOutcome {
    let mut input = input(&args.file).await?;
    let (rebuilt, place) = match common.journal()? {
        Some(address) => {
            let rebuilt = Box::pin(rebuild_in_database(&mut input, address)).await?;
            (rebuilt, address.to_string())
        }
        None => {
            let dir = compose::state_path(common)?;
            let rebuilt = rebuild(&mut *input, &dir).await;
            let rebuilt = rebuilt.map_err(|error| of_new_folder(&error))?;
            (rebuilt, dir.display().to_string())
        }
    };
    output::line(&format!(
        "journal {} with {} events and {} blobs is in {}",
        rebuilt.journal_id, rebuilt.events, rebuilt.blobs, place
    ));
    warn_of(&rebuilt.lacks);
    Ok(Exit::Done)
}

/// Makes a journal in a database from an export. If that fails, nothing is left there.
async fn rebuild_in_database(
    input: &mut LongInput,
    address: &JournalAddress,
) -> Result<Rebuilt, ExitProblem> {
    let mut made = None;
    let mut refused = None;
    let rebuilt = rebuild_into(&mut **input, async |id: String| {
        let opened = async {
            let held = Held::take_new(address, &id).await?;
            let journal = Arc::new(PostgresJournal::open(held.clone()).await?);
            Ok::<_, PostgresError>((held, journal))
        };
        let (held, journal) = opened.await.map_err(|error| {
            refused = Some(error.clone());
            JournalError::from(error)
        })?;
        let blobs: Arc<dyn Blobs> = Arc::new(PostgresBlobs::of(&journal));
        let renewing = held.clone();
        let keeper = tokio::spawn(async move { renewing.keep().await });
        made = Some((held, journal.clone(), keeper));
        let journal: Arc<dyn ChainedJournal> = journal;
        Ok((journal, blobs))
    })
    .await;
    if let Some((held, journal, keeper)) = made {
        journal.close().await;
        keeper.abort();
        let settled = match &rebuilt {
            Ok(_) => held.finish().await,
            Err(_) => held.abandon().await,
        };
        held.release().await;
        settled.map_err(database::problem)?;
    }
    match (rebuilt, refused) {
        (Ok(rebuilt), _) => Ok(rebuilt),
        (Err(_), Some(error)) => Err(database::problem(error)),
        (Err(error), None) => Err(of_error(&error)),
    }
}
