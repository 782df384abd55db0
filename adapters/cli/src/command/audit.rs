//! `audit`: verifies the journal, prints its audit anchor, exports it and rebuilds it.

use std::{io, path::Path, sync::Arc};

use tokio::{fs::OpenOptions, io::BufWriter};
use vsiflow_engine::{
    audit::{
        Audit, AuditAnchor, PublicKey, Rebuilt, SigningKey, VerifyReport, rebuild, rebuild_into,
    },
    blob::Blobs,
    clock::{Clock as _, SystemClock},
    journal::{ChainedJournal, DiskJournal, JournalError},
    state_dir::StateDir,
};
use vsiflow_postgres::{Held, JournalAddress, PostgresBlobs, PostgresError, PostgresJournal};

use super::journal_file::{of_error, of_new_folder, of_violation, there, warn_of};
use crate::{
    args::{
        AuditCommand, AuditExportArgs, AuditHeadArgs, AuditRebuildArgs, AuditVerifyArgs, Common,
    },
    compose::{self, App, database},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
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

/// A journal that is opened for inspection only.
pub(super) enum Inspection {
    /// This process opened it; no other process has it.
    OwnJournal(Box<OwnJournal>),
    /// The process that has it inspects it, for a caller.
    Held(Box<App>),
}

/// The journal as it is stored, damaged or not, and its blobs.
pub(super) struct OwnJournal {
    journal_id: String,
    journal: Arc<dyn ChainedJournal>,
    blobs: Arc<dyn Blobs>,
    /// Its files, if it is in a state directory.
    files: Option<(StateDir, Arc<DiskJournal>)>,
}

impl Inspection {
    /// Opens the journal; never makes a state directory.
    pub(super) async fn at(common: &Common) -> Result<Self, ExitProblem> {
        if let Some(app) = App::held() {
            return Ok(Self::Held(Box::new(app)));
        }
        if let Some(address) = common.journal()? {
            let journal = PostgresJournal::open_to_read(address).await;
            let journal = Arc::new(journal.map_err(database::problem)?);
            return Ok(Self::OwnJournal(Box::new(OwnJournal {
                journal_id: journal.identity().journal_id.clone(),
                blobs: Arc::new(PostgresBlobs::of(&journal)),
                journal,
                files: None,
            })));
        }
        let path = compose::state_path(common)?;
        there(&path)?;
        let state = compose::lock_to_read(common, &path).await?;
        let (journal, blobs) = (state.inspect().await?, state.blobs().await?);
        let journal = Arc::new(journal);
        Ok(Self::OwnJournal(Box::new(OwnJournal {
            journal_id: state.journal_id().to_owned(),
            journal: journal.clone(),
            blobs: Arc::new(blobs),
            files: Some((state, journal)),
        })))
    }

    pub(super) fn audit(&self) -> Audit<'_> {
        match self {
            Self::Held(app) => app.audit(),
            Self::OwnJournal(own) => Audit {
                journal: &*own.journal,
                blobs: &*own.blobs,
                journal_id: &own.journal_id,
            },
        }
    }

    pub(super) async fn close(self) {
        if let Self::OwnJournal(own) = self
            && let Some((_state, journal)) = &own.files
        {
            journal.close().await;
        }
    }
}

// ---- verify ----

async fn verify(common: &Common, args: AuditVerifyArgs) -> CommandOutcome {
    let anchor = match &args.head {
        Some(text) => Some(stored_head(text).await?),
        None => None,
    };
    let key = match &args.public_key {
        Some(path) => Some(public_key(path).await?),
        None => None,
    };
    if let (Some(anchor), Some(key)) = (&anchor, &key) {
        anchor
            .check(key)
            .map_err(|violation| of_violation(&violation))?;
    }
    let inspection = Inspection::at(common).await?;
    let report = match &inspection {
        Inspection::Held(app) if args.is_shared() => app.verify().await,
        Inspection::Held(app) => app.verify_by(anchor.as_ref(), key.as_ref()).await,
        _ => {
            let audit = inspection.audit();
            audit.verify(anchor.as_ref(), key.as_ref()).await
        }
    };
    let id = inspection.audit().journal_id.to_owned();
    inspection.close().await;
    let report = report.map_err(|error| of_error(&error.into()))?;
    if !report.is_sound() {
        return Err(violations_problem(&report));
    }
    print_sound(
        common,
        &id,
        &report,
        anchor.as_ref(),
        args.public_key.is_some(),
    );
    Ok(Exit::Done)
}

fn violations_problem(report: &VerifyReport) -> ExitProblem {
    for violation in &report.violations {
        output::problem(&of_violation(violation));
    }
    let many = report.violations.len();
    let rest = if report.stopped { " or more" } else { "" };
    let noun = if many == 1 { "violation" } else { "violations" };
    output::line(&format!("{many}{rest} {noun} in {} events", report.records));
    ExitProblem::new(Exit::Failed, "", "", "")
}

fn print_sound(
    common: &Common,
    id: &str,
    report: &VerifyReport,
    anchor: Option<&AuditAnchor>,
    signed: bool,
) {
    let VerifyReport {
        records,
        batches,
        streams,
        blobs,
        bases,
        removed,
        ..
    } = report;
    output::line(&format!(
        "journal {id}: {records} events in {batches} batches and {streams} streams, {blobs} blobs: \
         nothing was changed, removed, reordered or inserted"
    ));
    if *bases > 0 {
        output::line(&format!("{bases} bases match the events before them"));
    }
    for segment in removed {
        output::note(&format!(
            "{}: the events were removed; the base as of offset {} replaces them",
            segment.range, segment.base
        ));
    }
    match (anchor, signed) {
        (Some(_), true) => output::line("the head stored elsewhere is signed and part of it"),
        (Some(_), false) => output::line("the head stored elsewhere is part of it"),
        (None, true) => output::line("the bases that stand for missing events are signed"),
        (None, _) if common.quiet => {}
        (None, _) => output::note(
            "only a head stored elsewhere reveals a journal whose end was cut off or that was \
             replaced by an older copy: see `vsiflow audit head`",
        ),
    }
}

async fn stored_head(text: &str) -> Result<AuditAnchor, ExitProblem> {
    let text = if text.trim_start().starts_with("vsiflow-head") {
        text.to_owned()
    } else {
        small(Path::new(text)).await?
    };
    text.parse()
        .map_err(|error: vsiflow_engine::audit::InvalidHead| {
            let remedy =
                "pass --head the line that `vsiflow audit head` printed, or a file with it";
            ExitProblem::new(Exit::Usage, "VSI0905", error.to_string(), remedy)
        })
}

// ---- head ----

async fn head(common: &Common, args: AuditHeadArgs) -> CommandOutcome {
    let key = signing_key(args.sign_key.as_deref()).await?;
    let inspection = Inspection::at(common).await?;
    let head = inspection.audit().head(SystemClock.now()).await;
    inspection.close().await;
    let mut head = head.map_err(|error| of_error(&error.into()))?;
    if let Some(key) = &key {
        head.sign(key);
    }
    output::line(&head.to_string());
    Ok(Exit::Done)
}

/// Reads a private key, if one is named.
pub(super) async fn signing_key(path: Option<&Path>) -> Result<Option<SigningKey>, ExitProblem> {
    let Some(path) = path else { return Ok(None) };
    let key = SigningKey::read(&small(path).await?);
    key.map(Some).map_err(|e| bad_key(path, &e))
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

/// Reads a public key.
pub(super) async fn public_key(path: &Path) -> Result<PublicKey, ExitProblem> {
    PublicKey::read(&small(path).await?).map_err(|e| bad_key(path, &e))
}

fn bad_key(path: &Path, error: &vsiflow_engine::audit::InvalidKey) -> ExitProblem {
    let message = format!("{}: {error}", path.display());
    let remedy = "name an Ed25519 key, such as `ssh-keygen -t ed25519` makes";
    ExitProblem::new(Exit::Usage, "VSI0905", message, remedy)
}
