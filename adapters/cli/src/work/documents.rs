//! Reads the documents of a command: files, directories, standard input, or what a caller sent.

use std::{
    future::Future,
    path::{Path, PathBuf},
};

use vsiflow_file::{Input, InputText};
use vsiflow_workflows::spec::{Directory, Resolved};

use super::host::host;
use crate::{
    args::{Common, Sources},
    exit::{Exit, ExitProblem},
    off_runtime::off_runtime,
    output,
};

/// The documents of a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandDocuments {
    pub(crate) files: Vec<InputText>,
    /// The directory that contains them all, if only one is named.
    pub(crate) directory: Option<Directory>,
}

tokio::task_local! {
    static SENT_DOCUMENTS: CommandDocuments;
}

/// Runs `work` with documents that were already read.
pub(crate) async fn with_files<T>(documents: CommandDocuments, work: impl Future<Output = T>) -> T {
    SENT_DOCUMENTS.scope(documents, work).await
}

/// Reads the files that a command names, so that it can run here or elsewhere.
pub(crate) async fn gather(
    files: &[PathBuf],
    recursive: bool,
) -> Result<CommandDocuments, ExitProblem> {
    // A caller sends its files' contents: the same paths may be other files here.
    if let Ok(documents) = SENT_DOCUMENTS.try_with(CommandDocuments::clone) {
        return Ok(documents);
    }
    let inputs: Vec<_> = files.iter().map(|path| input(path)).collect();
    let read = move || {
        let gathered = vsiflow_file::gather(&inputs, recursive, &mut std::io::stdin())?;
        // On an error there is no directory, so nothing is pruned.
        let directory = vsiflow_file::directory(&inputs, recursive).unwrap_or_default();
        Ok(CommandDocuments {
            files: gathered,
            directory,
        })
    };
    off_runtime(read).await?.map_err(diagnostics_problem)
}

/// The directory that the documents were read from.
pub(crate) fn directory() -> Option<Directory> {
    SENT_DOCUMENTS
        .try_with(|documents| documents.directory.clone())
        .ok()
        .flatten()
}

/// The inputs of a command: the documents already read, or else the files.
pub(crate) fn inputs(files: &[PathBuf]) -> Vec<Input> {
    let documents = SENT_DOCUMENTS
        .try_with(|documents| documents.files.iter().cloned().map(Input::Text).collect());
    documents.unwrap_or_else(|_| files.iter().map(|path| input(path)).collect())
}

fn input(path: &Path) -> Input {
    if path.as_os_str() == "-" {
        Input::Stdin
    } else {
        Input::Path(path.to_owned())
    }
}

/// Prints all findings; the returned problem has no text of its own.
pub(crate) fn diagnostics_problem(
    vsiflow_file::Diagnostics(wrong): vsiflow_file::Diagnostics,
) -> ExitProblem {
    output::diagnostics(&wrong);
    ExitProblem::new(Exit::Usage, "", "", "")
}

/// Reads the documents and resolves their selectors; `--host` replaces their hosts. If there are
/// errors, all of them are printed and nothing is done.
pub(crate) async fn documents(common: &Common, sources: &Sources) -> Result<Resolved, ExitProblem> {
    let host = host(common)?;
    let (inputs, recursive) = (inputs(&sources.files), sources.recursive);
    let target = sources.kubevirt();
    let read = move || {
        let stdin = &mut std::io::stdin();
        let loaded = vsiflow_file::load_for(&inputs, recursive, stdin, target)?;
        let resolved = loaded.resolve(host.as_ref())?;
        let mut warnings = loaded.warn_of(&resolved.unresolved_refs);
        warnings.extend(loaded.warn_of(&resolved.doubts));
        warnings.extend(loaded.exposed());
        warnings.extend(loaded.warnings);
        Ok((resolved, warnings))
    };
    let (resolved, warnings) = off_runtime(read).await?.map_err(diagnostics_problem)?;
    output::diagnostics(&warnings);
    Ok(resolved)
}

/// Resolves documents as if they were applied to the cluster that is served, with its host
/// settings, disks and networks.
pub(crate) async fn in_cluster(
    view: &vsiflow_kube::View,
    common: &Common,
    sources: &Sources,
) -> Result<Resolved, ExitProblem> {
    let named = host(common)?;
    let (inputs, target) = (inputs(&sources.files), sources.kubevirt());
    let view = view.clone();
    let read = move || {
        let mut loaded = vsiflow_file::load_for(&inputs, false, &mut std::io::stdin(), target)?;
        let disks = loaded.documents.data_disks.iter();
        let own: Vec<_> = disks.map(|disk| disk.meta.full_name()).collect();
        view.complete(&mut loaded.documents);
        let mut resolved = loaded.resolve(named.as_ref().or(view.host()))?;
        resolved.data_disks.retain(|disk| {
            let name = format!("{}/{}", disk.namespace, disk.name);
            own.contains(&name)
        });
        // The status of the cluster's own resources reports these.
        let mut unresolved_refs = resolved.unresolved_refs.clone();
        unresolved_refs.retain(|one| !vsiflow_kube::View::is_of_cluster(&one.document));
        let mut warnings = loaded.warn_of(&unresolved_refs);
        warnings.extend(loaded.warnings);
        Ok((resolved, warnings))
    };
    let (resolved, warnings) = off_runtime(read).await?.map_err(diagnostics_problem)?;
    output::diagnostics(&warnings);
    Ok(resolved)
}
