//! `snapshot restore` in a set: the holder of the snapshot's journal reports what would be lost, and the user
//! is asked here.
//!
//! Without a confirmation the holder refuses, because it has no terminal (VSI0811).

use super::{
    acts,
    routing::{Objects, snapshot_named},
};
use crate::{
    args::{Cli, SnapshotRestoreArgs},
    daemon,
    exit::{Exit, ExitProblem},
    membership::SetPlace,
    shards::ask::{CommandPart, forwarded},
    work,
};

/// Restores a VSI to a snapshot, after the user confirmed.
pub(super) async fn restore(
    cli: &Cli,
    args: &SnapshotRestoreArgs,
    place: &SetPlace,
) -> Result<Exit, ExitProblem> {
    let name = snapshot_named(&args.name);
    let objects = Objects::Named(&args.namespace, vec![name.clone()]);
    let is_to_be_asked = !args.yes && !args.dry_run && work::is_somebody_there();
    if !is_to_be_asked {
        return with_word(cli, place, &objects, None).await;
    }
    let shown = with_word(cli, place, &objects, Some("--dry-run")).await?;
    if shown != Exit::Done {
        return Ok(shown);
    }
    let question = format!("put its VSI back to {name}");
    if !work::is_agreed(&format!("{question}?"))? {
        return Err(work::nobody_agreed(&question));
    }
    with_word(cli, place, &objects, Some("--yes")).await
}

/// Sends the request, with one more option.
async fn with_word(
    cli: &Cli,
    place: &SetPlace,
    objects: &Objects<'_>,
    word: Option<&str>,
) -> Result<Exit, ExitProblem> {
    let mut command = forwarded(cli, &[], CommandPart::Own);
    if let Some(word) = word {
        daemon::add_option(&mut command.request.args, word.to_owned());
    }
    Box::pin(acts((cli, command), place, objects, false)).await
}
