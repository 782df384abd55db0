//! `restore`: restores a state directory from a backup, and permits it to act.

use std::path::Path;

use tokio::io::BufReader;
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use vsiflow_engine::{
    backup,
    clock::{Clock as _, SystemClock},
};

use crate::{
    actor,
    args::{Common, RestoreArgs},
    compose,
    exit::{CommandOutcome, Exit, ExitProblem},
    journal_file::{of_error, of_new_folder, there},
    output,
    user_file::{LongInput, input, small},
};

pub(super) async fn run(common: &Common, args: RestoreArgs) -> CommandOutcome {
    compose::database::of_files(common, "restore")?;
    match &args.file {
        Some(file) => restore(common, file, args.identity.as_deref()).await,
        None => confirm(common).await,
    }
}

async fn restore(common: &Common, file: &Path, identity: Option<&Path>) -> CommandOutcome {
    let dir = compose::state_path(common)?;
    let mut input = input(file).await?;
    if let Some(identity) = identity {
        input = decrypted(input, identity).await?;
    }
    let by = actor::by(&common.reason);
    let restored = backup::restore(&mut *input, &dir, by.actor, by.reason, SystemClock.now()).await;
    let restored = restored.map_err(|error| of_new_folder(&error))?;
    output::line(&format!(
        "journal {} with {} events and {} secrets is in {}: incarnation {}, which observes only",
        restored.journal.journal_id,
        restored.journal.events,
        restored.secrets,
        dir.display(),
        restored.incarnation
    ));
    output::note(
        "Make sure that no process works with the original state directory, inspect it (`vsiflow \
         get`), then permit it to act: vsiflow restore --confirm",
    );
    Ok(Exit::Done)
}

pub(super) async fn decrypted(input: LongInput, identity: &Path) -> Result<LongInput, ExitProblem> {
    let text = small(identity).await?;
    let wrong = |why: String| {
        let remedy = "name the file that `age-keygen` made for the recipient of the backup";
        ExitProblem::new(Exit::Usage, "VSI0909", why, remedy)
    };
    let keys = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.trim().parse::<age::x25519::Identity>());
    let keys: Vec<_> = keys
        .collect::<Result<_, _>>()
        .map_err(|why| wrong(format!("{} holds no key of age: {why}", identity.display())))?;
    let sealed = age::Decryptor::new_async_buffered(input.compat()).await;
    let sealed = sealed.map_err(|e| wrong(format!("the backup cannot be decrypted: {e}")))?;
    let plain = sealed
        .decrypt_async(keys.iter().map(|key| key as &dyn age::Identity))
        .map_err(|e| wrong(format!("the backup cannot be decrypted: {e}")))?;
    Ok(Box::new(BufReader::with_capacity(64 << 10, plain.compat())))
}

async fn confirm(common: &Common) -> CommandOutcome {
    let dir = compose::state_path(common)?;
    there(&dir)?;
    let mut state = compose::open_state(common, &dir).await?;
    if !state.observes_only() {
        output::line("it may act already");
        return Ok(Exit::Done);
    }
    let journal = state.journal().await?;
    let by = actor::by(&common.reason);
    let id = state.journal_id().to_owned();
    let recorded = backup::confirmed(&journal, &id, by.actor, by.reason, SystemClock.now()).await;
    journal.close().await;
    recorded.map_err(|error| of_error(&error))?;
    let confirmed = tokio::task::spawn_blocking(move || state.confirm()).await;
    confirmed.map_err(ExitProblem::defect)??;
    output::line("confirmed: it may act now; run `vsiflow resume --all` to resume its work");
    Ok(Exit::Done)
}
