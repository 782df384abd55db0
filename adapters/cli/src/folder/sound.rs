//! Which documents of a folder can be applied: all but those of files that are wrong.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_file::{Diagnostic, DiagnosticSeverity, Diagnostics, Input, InputText, Loaded};
use vsiflow_workflows::spec::{HostSettings, Resolved};

use super::reading::FolderReading;

/// Documents of one folder, at most.
const DOCUMENTS_MAX: usize = 20_000;

/// Namespace and name of a document.
pub(super) type DocumentName = (String, String);

/// What is made of a reading.
#[derive(Debug, Default)]
pub(super) struct SoundDocuments {
    /// What can be applied; none where there is nothing.
    pub(super) resolved: Option<Resolved>,
    /// What each file describes that is among it.
    pub(super) names: BTreeMap<String, BTreeSet<DocumentName>>,
    /// The files that are held back.
    pub(super) held: BTreeSet<String>,
    /// What is wrong, and what is doubtful.
    pub(super) problems: Vec<Diagnostic>,
}

/// Holds back each file that is wrong by itself or does not fit the others.
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
    /// A file as it is alone; none where it holds nothing to apply.
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

    /// Whatever fits together of files that are right by themselves.
    fn together(
        &mut self,
        mut good: Vec<InputText>,
        host: Option<&HostSettings>,
    ) -> Option<Resolved> {
        while !good.is_empty() {
            let tried = load(good.clone()).and_then(|loaded| {
                let resolved = loaded.resolve(host)?;
                let mut doubtful = loaded.warn_of(&resolved.unresolved_refs);
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
                // It names no file of these: none of them can be told to be right.
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
