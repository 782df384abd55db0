//! Finds the documents of a folder that can be applied: all except those in files with errors.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_file::{Diagnostic, DiagnosticSeverity, Diagnostics, Input, InputText, Loaded};
use vsiflow_workflows::spec::{HostSettings, Resolved};

use super::reading::FolderReading;

/// The most documents in one folder.
const DOCUMENTS_MAX: usize = 20_000;

/// Namespace and name of a document.
pub(super) type DocumentName = (String, String);

/// The result of checking a reading.
#[derive(Debug, Default)]
pub(super) struct SoundDocuments {
    /// The documents that can be applied, if there are any.
    pub(super) resolved: Option<Resolved>,
    /// The documents in each of their files.
    pub(super) names: BTreeMap<String, BTreeSet<DocumentName>>,
    /// The files that are held back.
    pub(super) held: BTreeSet<String>,
    /// Errors and warnings.
    pub(super) problems: Vec<Diagnostic>,
}

/// Holds back each file that has errors or does not fit the others.
pub(super) fn sound(reading: FolderReading, host: Option<&HostSettings>) -> SoundDocuments {
    let mut made = SoundDocuments::default();
    let mut good = Vec::new();
    for file in reading.files {
        match file.and_then(|text| made.by_itself(text)) {
            Ok(Some(text)) => good.push(text),
            Ok(None) => {}
            Err(wrong) => made.hold([wrong]),
        }
    }
    made.resolved = made.together(good, host);
    if let Some(resolved) = &mut made.resolved {
        resolved.directory = Some(reading.directory);
    }
    let held = &made.held;
    made.names.retain(|file, _| !held.contains(file));
    made
}

impl SoundDocuments {
    /// Checks a file on its own; `None` if it has nothing to apply.
    fn by_itself(&mut self, text: InputText) -> Result<Option<InputText>, Diagnostic> {
        match load(vec![text.clone()]) {
            Ok(loaded) => {
                let all = loaded.documents.names();
                self.names
                    .insert(text.name.clone(), all.into_iter().collect());
                Ok(Some(text))
            }
            Err(Diagnostics(all)) if all.iter().all(is_nothing) => Ok(None),
            Err(Diagnostics(all)) => {
                let mut all = all.into_iter();
                let first = all.next();
                self.hold(all);
                first.map_or(Ok(None), Err)
            }
        }
    }

    /// Resolves the remaining files together, holding back those that do not fit.
    fn together(
        &mut self,
        mut good: Vec<InputText>,
        host: Option<&HostSettings>,
    ) -> Option<Resolved> {
        while !good.is_empty() {
            let tried = load(good.clone()).and_then(|loaded| {
                let resolved = loaded.resolve(host)?;
                let mut doubtful = loaded.warn_of(&resolved.unresolved_refs);
                doubtful.extend(loaded.warn_of(&resolved.doubts));
                doubtful.extend(loaded.exposed());
                doubtful.extend(loaded.warnings);
                Ok((resolved, doubtful))
            });
            let wrong = match tried {
                Ok((resolved, doubtful)) => {
                    self.problems.extend(doubtful);
                    return Some(resolved);
                }
                Err(Diagnostics(wrong)) => wrong,
            };
            self.hold(wrong);
            let before = good.len();
            good.retain(|text| !self.held.contains(&text.name));
            if good.len() == before {
                // The error names none of these files, so any of them may be wrong.
                self.held.extend(good.drain(..).map(|text| text.name));
            }
        }
        None
    }

    fn hold(&mut self, wrong: impl IntoIterator<Item = Diagnostic>) {
        for one in wrong {
            if one.severity == DiagnosticSeverity::Error {
                self.held.insert(one.file.clone());
            }
            self.problems.push(one);
        }
    }
}

fn is_nothing(diagnostic: &Diagnostic) -> bool {
    let nothing = vsiflow_workflows::spec::ProblemCode::NothingToApply;
    diagnostic.severity == DiagnosticSeverity::Warning || diagnostic.code == nothing.as_str()
}

fn load(texts: Vec<InputText>) -> Result<Loaded, Diagnostics> {
    let inputs: Vec<_> = texts.into_iter().map(Input::Text).collect();
    vsiflow_file::load_up_to(DOCUMENTS_MAX, &inputs)
}
