//! The loop of `serve --dir`: reads the folder, applies its documents, and reports problems.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use vsiflow_api::{DeleteRequest, PrunedObject};
use vsiflow_workflows::{
    fleet::{Change, FleetError, LeftOut},
    spec::Resolved,
};

use super::{
    reading::{Folder, FolderVersion},
    removal::Removal,
    sound::{DocumentName, SoundDocuments, sound},
};
use crate::{
    actor,
    args::{Common, FolderArgs},
    compose::App,
    exit::ExitProblem,
    output, service,
    work::{self, off_runtime},
};

/// How often the folder is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The delay before refused changes are tried again.
const RETRY_DELAY: Duration = Duration::from_secs(15);

/// Follows the folder as long as it is polled; waits forever if none is named.
pub(crate) async fn follow(app: &App, common: &Common, args: &FolderArgs) -> ExitProblem {
    let Some(path) = &args.dir else {
        return std::future::pending().await;
    };
    let folder = Folder {
        path: path.clone(),
        recursive: args.recursive,
    };
    let mut keeper = match FolderKeeper::new(app, common, args, folder) {
        Ok(keeper) => keeper,
        Err(problem) => return problem,
    };
    output::note(&format!("applying the documents in {}", path.display()));
    loop {
        keeper.check_folder().await;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

struct FolderKeeper<'a> {
    app: &'a App,
    common: Common,
    folder: Folder,
    prune: Option<usize>,
    host: Option<vsiflow_workflows::spec::HostSettings>,
    /// The version at the last look.
    seen: Option<FolderVersion>,
    /// The version that was last applied.
    taken: Option<FolderVersion>,
    /// When to try again even if nothing changes.
    again: Option<Instant>,
    removal: Removal,
    /// The documents that were last applied, until the objects without a document are deleted.
    left_out: Option<LeftOutDocuments>,
    /// The documents in each file, when it could last be read.
    names: BTreeMap<String, BTreeSet<DocumentName>>,
    /// The problems that were already reported.
    reported: BTreeSet<String>,
}

/// Documents and held-back files, to delete everything else once the removal counts.
struct LeftOutDocuments {
    resolved: Resolved,
    held: BTreeSet<String>,
}

impl<'a> FolderKeeper<'a> {
    fn new(
        app: &'a App,
        common: &Common,
        args: &FolderArgs,
        folder: Folder,
    ) -> Result<Self, ExitProblem> {
        Ok(Self {
            app,
            common: common.clone(),
            host: work::host(common)?,
            prune: args.prune,
            folder,
            seen: None,
            taken: None,
            again: None,
            removal: Removal::default(),
            left_out: None,
            names: BTreeMap::new(),
            reported: BTreeSet::new(),
        })
    }

    /// Applies a new version. Problems are reported, and the folder is read again.
    async fn check_folder(&mut self) {
        let version = match self.folder.version().await {
            Ok(version) => version,
            Err(wrong) => return self.unreadable(wrong.to_string()),
        };
        let is_commit = matches!(version, FolderVersion::Commit(_));
        // A file may be half written, so files have to be the same twice.
        let settled = is_commit || self.seen.as_ref() == Some(&version);
        self.seen = Some(version.clone());
        if !settled {
            return self.removal.begin_anew();
        }
        let due = self.again.is_some_and(|at| at <= Instant::now());
        if due || self.taken.as_ref() != Some(&version) {
            self.check_version(&version).await;
        }
        if self.left_out.is_some() && self.removal.counts(&version, Instant::now()) {
            self.remove(&version).await;
        }
    }

    fn unreadable(&mut self, why: String) {
        self.removal.begin_anew();
        (self.seen, self.left_out) = (None, None);
        // Once it can be read again, everything is applied again.
        self.taken = None;
        self.report_once([why]);
    }

    async fn check_version(&mut self, version: &FolderVersion) {
        (self.again, self.left_out) = (None, None);
        let reading = match self.folder.read(version).await {
            Ok(reading) => reading,
            Err(wrong) => return self.unreadable(wrong.to_string()),
        };
        let host = self.host.clone();
        let made = match off_runtime(move || sound(reading, host.as_ref())).await {
            Ok(made) => made,
            Err(problem) => return self.unreadable(problem.message),
        };
        self.taken = Some(version.clone());
        let mut problems: Vec<_> = made.problems.iter().map(ToString::to_string).collect();
        if made.resolved.is_none() && made.held.is_empty() {
            let folder = self.folder.path.display();
            problems.push(format!(
                "{folder} holds no document: nothing is deleted on its word"
            ));
        }
        let refused = self.apply(version, &made).await;
        self.report_new_problems(problems, refused);
        let SoundDocuments {
            resolved,
            names,
            held,
            ..
        } = made;
        self.names.retain(|file, _| held.contains(file));
        self.names.extend(names);
        // An empty folder is no evidence that objects are to be deleted.
        self.left_out = resolved.map(|resolved| LeftOutDocuments { resolved, held });
    }

    /// Applies everything; if that is refused, each document separately. Returns the refusals.
    async fn apply(&mut self, version: &FolderVersion, made: &SoundDocuments) -> Vec<FleetError> {
        let Some(resolved) = &made.resolved else {
            return Vec::new();
        };
        let Err(error) = self.apply_version(version, resolved.clone()).await else {
            return Vec::new();
        };
        let parts = resolved.parts();
        if parts.len() < 2 {
            return vec![error];
        }
        let mut refused = Vec::new();
        for part in parts {
            refused.extend(self.apply_version(version, part).await.err());
        }
        refused
    }

    async fn apply_version(
        &self,
        version: &FolderVersion,
        resolved: Resolved,
    ) -> Result<(), FleetError> {
        let by = actor::by(&self.reason(version));
        for one in self.app.fleet.apply(resolved, by).await? {
            let label = work::label(&one.namespace, &one.name);
            match one.change {
                Change::Created => output::note(&format!("{}/{label} created", one.kind)),
                Change::Configured => output::note(&format!("{}/{label} configured", one.kind)),
                Change::Unchanged => {}
            }
        }
        Ok(())
    }

    fn reason(&self, version: &FolderVersion) -> String {
        match self.common.reason.as_str() {
            "" => format!("{version} of {}", self.folder.path.display()),
            name => name.to_owned(),
        }
    }

    /// Reports new problems, and schedules refused changes to be tried again.
    fn report_new_problems(&mut self, mut problems: Vec<String>, refused: Vec<FleetError>) {
        if !refused.is_empty() {
            self.again = Instant::now().checked_add(RETRY_DELAY);
        }
        let words = refused.into_iter().map(|error| words(&error.into()));
        problems.extend(words);
        let now: BTreeSet<_> = problems.iter().cloned().collect();
        let gone = self.reported.difference(&now).count();
        self.report_once(problems);
        if gone > 0 && now.is_empty() {
            output::note(&format!(
                "{}: everything in it fits again",
                self.folder.path.display()
            ));
        }
        self.reported = now;
    }

    fn report_once(&mut self, problems: impl IntoIterator<Item = String>) {
        for words in problems {
            if self.reported.insert(words.clone()) {
                output::warning(&words);
            }
        }
    }

    /// Deletes objects without a document, if requested and within the permitted number.
    async fn remove(&mut self, version: &FolderVersion) {
        let Some(LeftOutDocuments { resolved, held }) = self.left_out.take() else {
            return;
        };
        let left = match self.app.fleet.left_out(&resolved).await {
            Ok(left) => left,
            Err(error) => return self.report_once([words(&error.into())]),
        };
        let left: Vec<_> = left
            .into_iter()
            .filter(|one| !self.is_held(one, &held))
            .map(PrunedObject::from)
            .collect();
        if left.is_empty() {
            return;
        }
        let shown: Vec<_> = left.iter().map(ToString::to_string).collect();
        let shown = shown.join(", ");
        let folder = self.folder.path.display();
        if held.iter().any(|file| !self.names.contains_key(file)) {
            let words = format!(
                "{shown}: no document in {folder} any more; not deleted, since a file that was never read whole may hold it"
            );
            return self.report_once([words]);
        }
        let count = left.iter().map(|one| one.count).sum::<usize>();
        match self.prune {
            Some(most) if count <= most => self.delete(version, left).await,
            Some(most) => self.report_once([format!(
                "{shown}: no document in {folder} any more; not deleted, since {count} would go and --prune={most} permits {most}"
            )]),
            None => self.report_once([format!(
                "{shown}: no document in {folder} any more; `vsiflow delete` deletes it, or --prune=N all such"
            )]),
        }
    }

    /// Whether a file that is held back contained the object's document when it was last read.
    fn is_held(&self, one: &LeftOut, held: &BTreeSet<String>) -> bool {
        let name = (one.namespace.clone(), one.name.clone());
        let files = held.iter().filter_map(|file| self.names.get(file));
        files.into_iter().any(|names| names.contains(&name))
    }

    async fn delete(&mut self, version: &FolderVersion, pruned: Vec<PrunedObject>) {
        for object in &pruned {
            output::note(&format!("{object} is pruned: it no longer has a document"));
        }
        let reason = format!("no document of it in {}", self.reason(version));
        let request = DeleteRequest::of_pruned(&pruned, &reason);
        if let Err(problem) = service::call_on(self.app, &self.common, request).await {
            self.report_once([words(&problem)]);
            self.again = Instant::now().checked_add(RETRY_DELAY);
        }
    }
}

/// A problem on one line.
fn words(problem: &ExitProblem) -> String {
    let ExitProblem {
        code,
        message,
        object,
        remedy,
        ..
    } = problem;
    let parts = [object.as_str(), message.as_str(), remedy.as_str()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{code}: {}", parts.join("; "))
}
