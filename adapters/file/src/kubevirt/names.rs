//! Finds objects of one list that have the same name: which of them counts would be a guess.

use std::collections::BTreeMap;

use vsiflow_workflows::spec::FieldPath;

use super::fields::Refusals;

/// The names of a list, and where each was seen first.
pub(super) struct UniqueNames {
    /// What has the names, as "volumes".
    kind: &'static str,
    seen: BTreeMap<String, FieldPath>,
}

impl UniqueNames {
    pub(super) fn of(kind: &'static str) -> Self {
        Self {
            kind,
            seen: BTreeMap::new(),
        }
    }

    /// Whether the name is new in the list; otherwise it is refused.
    pub(super) fn is_new(&mut self, name: &str, path: &FieldPath, refusals: &mut Refusals) -> bool {
        let Some(first) = self.seen.get(name) else {
            self.seen.insert(name.to_owned(), path.clone());
            return true;
        };
        let message = format!("two {} have the name {name}: {first} and {path}", self.kind);
        refusals.wrong(
            path.clone(),
            &message,
            "give each its own name, or remove one",
        );
        false
    }
}
