//! `create` in a set: the journal of the host makes the VSI. If the command line names files, the documents
//! are made here.
//!
//! If any journal has a VSI of that name already, nothing is done.

use super::hosts;
use crate::{
    args::{Cli, Common, CreateArgs},
    compose::{database, journal_key},
    exit::{Exit, ExitProblem},
    shards::{
        SetPlace,
        ask::{self, CommandPart, forwarded},
        local_documents,
    },
    work::described,
};

/// Has the journal of a known host make VSIs on it.
pub(super) async fn create(
    cli: &Cli,
    args: &CreateArgs,
    place: &SetPlace,
) -> Result<Exit, ExitProblem> {
    let sealer = journal_key::needed().await?;
    let namespaces = [args.namespace.clone()].into();
    let limited = place.set.limited_among(&namespaces).await;
    if let Some(namespace) = limited.map_err(database::problem)?.first() {
        return Err(local_documents::limited_to_documents(namespace));
    }
    let target = args.target.as_ref();
    let target = target.map(|(key, value)| (key.as_str(), value.as_str()));
    let journal = hosts::known(&cli.common, place, target, args.on.as_deref()).await?;
    let of_set = Common {
        set: Some(place.clone()),
        ..cli.common.clone()
    };
    let documents = described::documents(&of_set, args).await?;
    let command = forwarded(cli, &documents.files, CommandPart::Own);
    ask::ask(&place.set, &sealer, journal, &command, false).await
}
