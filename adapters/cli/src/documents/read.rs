//! Parses and resolves the documents of a request.

use vsiflow_api::{DocumentNotes, Problem, ReadDocuments, SentDocuments};
use vsiflow_engine::low_priority;
use vsiflow_file::{Diagnostics, Input, InputText, KubevirtTarget, Loaded};
use vsiflow_kube::View;
use vsiflow_workflows::spec::{Diagnostic, HostSettings, Resolved};

use crate::{
    daemon::api_problem,
    exit::{Exit, ExitProblem},
};

/// The host that documents name by a URI, as `--host` takes it.
///
/// # Errors
/// `VSI0607`.
pub(crate) fn named_host(documents: &SentDocuments) -> Result<Option<HostSettings>, Problem> {
    let host = documents.host.as_deref().map(str::parse::<HostSettings>);
    host.transpose().map_err(|error| {
        let (message, remedy) = (error.message, error.remedy);
        api_problem(&ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
    })
}

/// Reads and resolves documents; `host` replaces their hosts. With a view of a cluster, as if they were applied to it, with
/// its host settings, disks and networks.
///
/// # Errors
/// All mistakes at once.
pub(crate) async fn resolved(
    documents: &SentDocuments,
    host: Option<HostSettings>,
    cluster: Option<&View>,
) -> Result<ReadDocuments, Problem> {
    let (inputs, target) = (inputs(documents), kubevirt(documents));
    let cluster = cluster.cloned();
    let read = move || {
        let loaded = load(&inputs, target)?;
        match cluster {
            Some(view) => resolved_in(&view, loaded, host.as_ref()),
            None => resolved_alone(&loaded, host.as_ref()),
        }
    };
    let (resolved, findings) = blocking(read).await?;
    Ok(limited(documents, resolved, findings))
}

/// The documents, not resolved.
///
/// # Errors
/// All mistakes at once.
pub(crate) async fn loaded(documents: &SentDocuments) -> Result<Loaded, Problem> {
    let (inputs, target) = (inputs(documents), kubevirt(documents));
    blocking(move || load(&inputs, target)).await
}

/// What was read, with what the request says of it.
pub(super) fn limited(
    documents: &SentDocuments,
    mut resolved: Resolved,
    findings: Vec<Diagnostic>,
) -> ReadDocuments {
    resolved.directory.clone_from(&documents.directory);
    if let Some(limit) = documents.upload_limit {
        let hosts = resolved.hosts.values_mut();
        hosts.for_each(|host| host.record.limit_uploads(limit));
    }
    ReadDocuments {
        notes: DocumentNotes::of(&resolved, findings),
        resolved,
        preparation: None,
    }
}

/// The files of a request as inputs.
pub(super) fn inputs(documents: &SentDocuments) -> Vec<Input> {
    let files = documents.files.iter().map(|file| {
        Input::Text(InputText {
            name: file.name.clone(),
            bytes: file.content.clone(),
        })
    });
    files.collect()
}

/// The target for VMs in KubeVirt manifests.
pub(super) fn kubevirt(documents: &SentDocuments) -> KubevirtTarget {
    KubevirtTarget {
        target: documents.target.clone(),
        pool: documents.pool.clone(),
    }
}

pub(super) fn load(inputs: &[Input], target: KubevirtTarget) -> Result<Loaded, Diagnostics> {
    vsiflow_file::load_for(inputs, false, &mut std::io::empty(), target)
}

/// Reads documents on a thread of its own, which gives way to all other work of this process.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Diagnostics> + Send + 'static,
) -> Result<T, Problem> {
    match low_priority::aside(read).await {
        Ok(read) => read.map_err(Problem::from),
        Err(_) => {
            let message = "the documents were not read: that panicked";
            Err(api_problem(&ExitProblem::defect(message)))
        }
    }
}

fn resolved_alone(
    loaded: &Loaded,
    host: Option<&HostSettings>,
) -> Result<(Resolved, Vec<Diagnostic>), Diagnostics> {
    let resolved = loaded.resolve(host)?;
    let findings = findings(loaded, &resolved);
    Ok((resolved, findings))
}

/// The warnings about documents.
pub(super) fn findings(loaded: &Loaded, resolved: &Resolved) -> Vec<Diagnostic> {
    let mut findings = loaded.warn_of(&resolved.unresolved_refs);
    findings.extend(loaded.warn_of(&resolved.doubts));
    findings.extend(loaded.exposed());
    findings.extend(loaded.warnings.iter().cloned());
    findings
}

fn resolved_in(
    view: &View,
    mut loaded: Loaded,
    host: Option<&HostSettings>,
) -> Result<(Resolved, Vec<Diagnostic>), Diagnostics> {
    let disks = loaded.documents.data_disks.iter();
    let own: Vec<_> = disks.map(|disk| disk.meta.full_name()).collect();
    view.complete(&mut loaded.documents);
    let mut resolved = loaded.resolve(host.or(view.host()))?;
    resolved.data_disks.retain(|disk| {
        let name = format!("{}/{}", disk.namespace, disk.name);
        own.contains(&name)
    });
    // The status of the cluster's own resources reports these.
    let mut unresolved_refs = resolved.unresolved_refs.clone();
    unresolved_refs.retain(|unresolved| !View::is_of_cluster(&unresolved.document));
    let mut findings = loaded.warn_of(&unresolved_refs);
    findings.extend(loaded.warnings.iter().cloned());
    Ok((resolved, findings))
}
