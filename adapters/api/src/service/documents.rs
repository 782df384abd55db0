//! Documents as requests carry them, and the port that reads and applies them.
//!
//! The client reads the files, since paths mean something on its machine alone. What the texts say is worked out where the
//! journal is: documents refer to hosts and images that are recorded there, or to the cluster that is served.
//!
//! In a set of journals, each journal does its part of the documents. Which journals these are, and whether journal 0 decides
//! first, is up to the set ([`JournalSet::carry_out`]).

use std::{collections::BTreeMap, path::PathBuf};

use async_trait::async_trait;
use futures::future::BoxFuture;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::executor::By;
use vsiflow_workflows::{
    fleet::{Applied, Fleet},
    kinds::ObjectKind,
    spec::{Directory, Resolved},
};

use super::{
    ServiceRequest,
    acted::{ActEffect, ActedObject, journal_of},
    documented::{DocumentNotes, DocumentedChange, PrunedObject, shown},
    reading::default_namespace,
};
use crate::{
    Caller, ForwardedAnswer, ForwardedRequest, JournalSet, Problem, commands::base64_bytes,
};

/// A file that the caller has read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SentFile {
    /// As the caller named it.
    pub name: String,
    /// Its bytes, in base64.
    #[serde(with = "base64_bytes")]
    #[schemars(with = "String")]
    pub content: Vec<u8>,
}

/// A bundle of documents and images on the machine of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleFile {
    /// The path of the bundle.
    pub path: PathBuf,
    /// The path of its maker's public key; without one, who made it is not checked.
    #[serde(default)]
    pub verify_key: Option<PathBuf>,
}

/// The desired state that a VSI had before, instead of documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlierState {
    /// The namespace, unless the name has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The VSI.
    pub name: String,
    /// The generation; none for the newest one that differs from the present desired state.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// New VSIs with the disks of a snapshot, instead of documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCopies {
    /// The namespace, unless the snapshot's name has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The snapshot.
    pub snapshot: String,
    /// The names of the new VSIs.
    pub names: Vec<String>,
}

/// Documents, and what they are to be read with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SentDocuments {
    /// The files, with the names that messages use for them.
    pub files: Vec<SentFile>,
    /// The bundle whose documents come before those of the files.
    pub bundle: Option<BundleFile>,
    /// An earlier state of a VSI, without any files.
    pub earlier: Option<EarlierState>,
    /// New VSIs with the disks of a snapshot, without any files.
    pub copies: Option<SnapshotCopies>,
    /// The caller's directory that the files are in, if that is the only one that was named.
    pub directory: Option<Directory>,
    /// The host to use instead of the documents' host settings, as `--host` takes it.
    pub host: Option<String>,
    /// The same, as the name of a known host.
    pub on: Option<String>,
    /// Labels of the host's settings for KubeVirt's manifests.
    pub target: BTreeMap<String, String>,
    /// The storage pool for KubeVirt's manifests.
    pub pool: Option<String>,
    /// How many bytes a second are uploaded to a host, instead of what its settings say.
    pub upload_limit: Option<u64>,
}

impl SentDocuments {
    /// The namespace and the name of the recorded object that is meant instead of files.
    fn recorded_object(&self) -> Option<(&str, String)> {
        if let Some(earlier) = &self.earlier {
            return Some((&earlier.namespace, earlier.name.clone()));
        }
        let copies = self.copies.as_ref()?;
        let snapshot = ObjectKind::Snapshot.word();
        Some((&copies.namespace, format!("{snapshot}/{}", copies.snapshot)))
    }

    /// Whether a recorded object says what is meant, and what is asked once differs from what is asked again.
    pub(super) fn is_relative(&self) -> bool {
        self.earlier.is_some() || self.copies.is_some()
    }
}

/// What documents are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentUse {
    /// They are applied.
    Apply,
    /// What they would change is shown.
    Plan,
}

/// What has to be recorded before documents are applied.
pub type Preparation = BoxFuture<'static, Result<(), Problem>>;

/// Documents that were read.
pub struct ReadDocuments {
    /// The desired state, as far as it is this journal's.
    pub resolved: Resolved,
    /// What is said of them beside that.
    pub notes: DocumentNotes,
    /// What has to be recorded before they are applied.
    pub preparation: Option<Preparation>,
}

/// Reads documents and applies them. Implemented by the composition of the program: this crate knows no form of a file.
#[async_trait]
pub trait DocumentWork: Send + Sync + 'static {
    /// Reads documents. Cancel safe.
    ///
    /// # Errors
    /// Every mistake in them, as findings of the problem.
    async fn read(
        &self,
        documents: &SentDocuments,
        reads_for: DocumentUse,
    ) -> Result<ReadDocuments, Problem>;

    /// Records the desired state, and has it worked on.
    ///
    /// # Errors
    /// When it cannot be as described; nothing is recorded then.
    async fn apply(&self, resolved: Resolved, by: By) -> Result<Vec<Applied>, Problem>;
}

/// Reads nothing: of a process that answers no requests with documents.
#[derive(Clone, Copy, Debug)]
pub struct NoDocuments;

#[async_trait]
impl DocumentWork for NoDocuments {
    async fn read(&self, _: &SentDocuments, _: DocumentUse) -> Result<ReadDocuments, Problem> {
        Err(unread())
    }

    async fn apply(&self, _: Resolved, _: By) -> Result<Vec<Applied>, Problem> {
        Err(unread())
    }
}

fn unread() -> Problem {
    Problem::wrong(StatusCode::BAD_REQUEST, "no documents are read here")
}

impl DocumentNotes {
    /// Leaves out the networks that the documents have made after all.
    pub(super) fn leave_made(&mut self, objects: &[ActedObject]) {
        self.unused_networks.retain(|network| {
            !objects.iter().any(|object| {
                object.kind == ObjectKind::Network
                    && object.namespace == network.namespace
                    && object.name == network.name
            })
        });
    }
}

impl ActedObject {
    /// An object of documents.
    pub(super) fn applied(applied: Applied) -> Self {
        let kind = ObjectKind::named(applied.kind).unwrap_or(ObjectKind::Vsi);
        let effect = if applied.awaits_approval {
            ActEffect::AwaitsApproval
        } else {
            ActEffect::Recorded
        };
        let entity = applied.entity.as_ref();
        Self {
            uid: entity.map_or_else(String::new, |entity| entity.id().to_owned()),
            plan: Some(applied.plan),
            documented: Some(Box::new(DocumentedChange {
                change: applied.change,
                fields: applied.fields,
                needs: applied.needs,
                awaits_approval: applied.awaits_approval,
                missing: applied.retained_refs,
                contract_put_back: applied.contract_put_back,
                foreseen: Vec::new(),
            })),
            ..Self::without_entity(kind, &applied.namespace, &applied.name, effect)
        }
    }
}

/// Refuses VSIs that exist, of documents that only make new ones: `apply` changes them, and shows what that costs.
pub(super) async fn refuse_present(fleet: &Fleet, resolved: &Resolved) -> Result<(), Problem> {
    for vsi in &resolved.vsis {
        let (namespace, name) = (&vsi.desired.namespace, &vsi.desired.name);
        match fleet.vsis().find(namespace, name).await {
            Ok(_) => {
                let detail = format!("vsi/{} is there already", shown(namespace, name));
                let remedy = "use another name, or change it with `vsiflow apply`; --dry-run -o yaml prints a document";
                let status = StatusCode::CONFLICT;
                return Err(Problem::new(status, "VSI0812", detail, remedy));
            }
            Err(error) => {
                let problem = Problem::from(error);
                if !problem.is_not_found() {
                    return Err(problem);
                }
            }
        }
    }
    Ok(())
}

/// What was applied from the directory before and has no document there any more.
///
/// # Errors
/// `VSI0610` if the documents are not from one directory; `VSI0709` if more objects would be deleted than `most`.
pub(super) async fn left_out(
    fleet: &Fleet,
    most: Option<usize>,
    resolved: &Resolved,
) -> Result<Vec<PrunedObject>, Problem> {
    let Some(most) = most else {
        return Ok(Vec::new());
    };
    if resolved.directory.is_none() {
        let detail = "--prune needs one directory to compare with what was applied from it";
        let remedy = "use -f DIR once, and no other -f";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "VSI0610", detail, remedy));
    }
    let left_out = fleet.left_out(resolved).await?;
    let pruned: Vec<_> = left_out.into_iter().map(PrunedObject::from).collect();
    let count: usize = pruned.iter().map(|object| object.count).sum();
    if count <= most {
        return Ok(pruned);
    }
    let names: Vec<_> = pruned.iter().map(ToString::to_string).collect();
    let detail = format!(
        "{count} would be deleted, and {most} may be: {}",
        names.join(", ")
    );
    let remedy = format!(
        "check that all of it should be deleted, then use --prune-limit {count}; nothing was applied"
    );
    Err(Problem::new(
        StatusCode::CONFLICT,
        "VSI0709",
        detail,
        &remedy,
    ))
}

/// A request with documents.
pub(super) trait DocumentRequest: ServiceRequest {
    /// The documents.
    fn documents(&self) -> &SentDocuments;

    /// Why, if it records something.
    fn records(&self) -> Option<&str>;

    /// Whether objects without a document are deleted.
    fn prunes(&self) -> bool;

    /// What a set of journals does not do; `None` if nothing of the request is that.
    fn refused_in_a_set(&self) -> Option<&'static str> {
        if self.prunes() {
            Some("--prune would have to see all journals at one moment")
        } else if self.documents().bundle.is_some() {
            Some("a bundle is on the machine of one journal")
        } else {
            None
        }
    }
}

/// The work of a set of journals.
pub struct SetWork<'a> {
    /// The documents.
    pub documents: &'a SentDocuments,
    /// What each journal is to answer about its part.
    pub request: ForwardedRequest,
    /// Why, if the desired state is recorded.
    pub reason: Option<String>,
}

/// The answers of the journals of a set that documents concern.
pub struct SetAnswer {
    /// What is said of the documents as a whole.
    pub notes: DocumentNotes,
    /// The answers.
    pub parts: Vec<JournalPart>,
}

/// The answer of a journal.
#[derive(Serialize, Deserialize)]
pub struct JournalPart {
    /// Its number.
    pub journal: u16,
    /// The answer, or why there is none.
    pub answer: Result<ForwardedAnswer, Problem>,
}

/// The answers of the journals of a set to a request, with the numbers of the journals.
pub(super) struct PartAnswers<A> {
    pub(super) notes: DocumentNotes,
    pub(super) answers: Vec<(u16, A)>,
    pub(super) problems: Vec<Problem>,
}

/// Has the journals of a set do their parts of a request.
///
/// # Errors
/// The only problem, if nothing was done.
pub(super) async fn answers_of_set<R: DocumentRequest>(
    set: &dyn JournalSet,
    request: &R,
    caller: &Caller,
) -> Result<PartAnswers<R::Answer>, Problem> {
    if let Some(why) = request.refused_in_a_set() {
        let detail = format!("the command is not for a set of journals: {why}");
        let remedy = "leave it out, or use one journal without `serve --shards`";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "VSI0764", detail, remedy));
    }
    let forwarded = ForwardedRequest::asking(request, caller)?;
    if let Some((namespace, name)) = request.documents().recorded_object() {
        let fleets = set.fleets().await?;
        let journal = journal_of(set, &fleets, namespace, &name).await?;
        let answer = set.answer(journal, forwarded).await?.answer_to::<R>()?;
        return Ok(PartAnswers {
            notes: DocumentNotes::default(),
            answers: vec![(journal, answer)],
            problems: Vec::new(),
        });
    }
    let work = SetWork {
        documents: request.documents(),
        request: forwarded,
        reason: request.records().map(str::to_owned),
    };
    let SetAnswer { notes, parts } = set.carry_out(work).await?;
    let (mut answers, mut problems) = (Vec::new(), Vec::new());
    for JournalPart { journal, answer } in parts {
        match answer.and_then(ForwardedAnswer::answer_to::<R>) {
            Ok(answer) => answers.push((journal, answer)),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.pop() {
        // A single problem is the answer, unless something was done.
        Some(problem) if answers.is_empty() && problems.is_empty() => Err(problem),
        problem => {
            problems.extend(problem);
            Ok(PartAnswers {
                notes,
                answers,
                problems,
            })
        }
    }
}
