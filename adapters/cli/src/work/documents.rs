//! Reads the documents of a command: files, directories and standard input. What they say is worked out where the journal is,
//! except of the few commands that only need names or a host.

use std::path::{Path, PathBuf};

use vsiflow_api::{Problem, SentDocuments, SentFile};
use vsiflow_file::Input;
use vsiflow_workflows::spec::Resolved;

use crate::{
    args::{Common, Sources},
    compose::state_path,
    documents,
    exit::ExitProblem,
    off_runtime::off_runtime,
    output,
};

tokio::task_local! {
    static SENT_DOCUMENTS: SentDocuments;
}

/// Runs `work` with documents that were already read.
pub(crate) async fn with_files<T>(documents: SentDocuments, work: impl Future<Output = T>) -> T {
    SENT_DOCUMENTS.scope(documents, work).await
}

/// Reads the files that a command names, so that it can run here or elsewhere.
///
/// # Errors
/// What cannot be read, as findings.
pub(crate) async fn gather(
    files: &[PathBuf],
    recursive: bool,
) -> Result<SentDocuments, ExitProblem> {
    // A caller sends its files' contents: the same paths may be other files here.
    if let Ok(documents) = SENT_DOCUMENTS.try_with(SentDocuments::clone) {
        return Ok(documents);
    }
    let inputs: Vec<_> = files.iter().map(|path| input(path)).collect();
    let read = move || {
        let gathered = vsiflow_file::gather(&inputs, recursive, &mut std::io::stdin())?;
        let sent = gathered.into_iter().map(|file| SentFile {
            name: file.name,
            content: file.bytes,
        });
        // On an error there is no directory, so nothing is pruned.
        let directory = vsiflow_file::directory(&inputs, recursive).unwrap_or_default();
        Ok(SentDocuments {
            files: sent.collect(),
            directory,
            ..SentDocuments::default()
        })
    };
    let gathered: Result<_, vsiflow_file::Diagnostics> = off_runtime(read).await?;
    Ok(gathered.map_err(Problem::from)?)
}

/// The documents of a command, with its options about hosts.
///
/// # Errors
/// As for [`gather`].
pub(crate) async fn sent(common: &Common, sources: &Sources) -> Result<SentDocuments, ExitProblem> {
    let target = sources.kubevirt();
    Ok(SentDocuments {
        host: common.host.clone(),
        target: target.target,
        pool: target.pool,
        ..gather(&sources.files, sources.recursive).await?
    })
}

/// What the documents of a command describe, worked out here.
///
/// # Errors
/// All mistakes at once.
pub(crate) async fn described(common: &Common, sources: &Sources) -> Result<Resolved, ExitProblem> {
    let sent = sent(common, sources).await?;
    let host = documents::named_host(&sent)?;
    let read = documents::resolved(&sent, host, None).await?;
    output::diagnostics(&read.notes.findings);
    Ok(read.resolved)
}

/// Refuses documents with mistakes where there is no state directory yet: none is made for them.
///
/// # Errors
/// All mistakes at once.
pub(crate) async fn check_before_state(
    common: &Common,
    documents: &SentDocuments,
) -> Result<(), ExitProblem> {
    let is_elsewhere = common.server.is_some() || common.journal()?.is_some();
    let are_files = documents.on.is_none() && !documents.files.is_empty();
    if is_elsewhere || !are_files || state_path(common)?.exists() {
        return Ok(());
    }
    // The site's documents of a bundle need not be whole.
    if documents.bundle.is_none() {
        let host = documents::named_host(documents)?;
        documents::resolved(documents, host, None).await?;
    }
    Ok(())
}

fn input(path: &Path) -> Input {
    if path.as_os_str() == "-" {
        Input::Stdin
    } else {
        Input::Path(path.to_owned())
    }
}
