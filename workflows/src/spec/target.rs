//! Which host a document is about.

use std::collections::BTreeMap;

use super::documents::{CONFIG_MAP, Document, Documents, KeyValues, SECRET};
use super::host::{HostKeyError, HostSettings, Layer, opens_images_only};
use super::problem::{FieldPath, Problem, ProblemCode};
use super::selector::LabelSelector;

/// The hosts of all documents, found by their target selectors.
pub(super) struct TargetHosts<'a> {
    documents: &'a Documents,
    fixed: Option<&'a HostSettings>,
    hosts: BTreeMap<String, HostSettings>,
}

impl<'a> TargetHosts<'a> {
    /// With `fixed`, every document is about that host.
    pub(super) fn new(documents: &'a Documents, fixed: Option<&'a HostSettings>) -> Self {
        Self {
            documents,
            fixed,
            hosts: BTreeMap::new(),
        }
    }

    /// The hosts that were found.
    pub(super) fn into_hosts(self) -> BTreeMap<String, HostSettings> {
        self.hosts
    }

    /// The id of the host the document is about; `None` where that is a problem.
    pub(super) fn of<T>(
        &mut self,
        document: &Document<T>,
        selector: Option<&LabelSelector>,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let found = match self.fixed {
            Some(host) => Ok(host.clone()),
            None => self.select(document, selector),
        };
        match found.and_then(|host| self.keep(document, host)) {
            Ok(id) => Some(id),
            Err(problem) => {
                problems.push(*problem);
                None
            }
        }
    }

    fn select<T>(
        &self,
        document: &Document<T>,
        selector: Option<&LabelSelector>,
    ) -> Result<HostSettings, Box<Problem>> {
        let selector = selector.ok_or_else(|| Box::new(no_selector(document)))?;
        let config_map = one(document, selector, self.documents.config_maps.iter())?;
        let of_pulls = |opens: bool| {
            let all = self.documents.secrets.iter();
            all.filter(move |secret| opens_images_only(&secret.spec) == opens)
        };
        let mut secret = one(document, selector, of_pulls(false))?;
        let mut pull = one(document, selector, of_pulls(true))?;
        if secret.is_none() {
            secret = pull.take();
        }
        if config_map.is_none() && secret.is_none() {
            return Err(Box::new(self.nothing(document, selector)));
        }
        let spec = |found: Option<&'a Document<KeyValues>>| found.map(|found| &found.spec);
        let both = pull.zip(secret).map(|(pull, secret)| joined(pull, secret));
        HostSettings::from_keys(spec(config_map), both.as_ref().or(spec(secret))).map_err(|error| {
            // Of two Secrets the one is to blame that has the key.
            let holds = |secret: &&Document<KeyValues>| secret.spec.0.contains_key(error.key);
            let secret = [secret, pull].into_iter().flatten().find(holds).or(secret);
            Box::new(unusable(error, config_map, secret, document))
        })
    }

    /// One host has one set of settings: the engine knows it by its id.
    fn keep<T>(
        &mut self,
        document: &Document<T>,
        host: HostSettings,
    ) -> Result<String, Box<Problem>> {
        let id = host.id();
        match self.hosts.get(&id) {
            Some(known) if !known.same_as(&host) => Err(Box::new(document.problem(
                ProblemCode::HostSettings,
                target_path(),
                format!("the settings of host {id} differ from those another document selects"),
                "select the same ConfigMap and Secret, or make their keys equal",
            ))),
            Some(_) => Ok(id),
            None => {
                self.hosts.insert(id.clone(), host);
                Ok(id)
            }
        }
    }

    fn nothing<T>(&self, document: &Document<T>, selector: &LabelSelector) -> Problem {
        let namespace = &document.meta.namespace;
        let candidates = self
            .documents
            .config_maps
            .iter()
            .chain(&self.documents.secrets);
        let there: Vec<String> = candidates
            .filter(|found| found.meta.namespace == *namespace)
            .map(describe)
            .collect();
        let remedy = if there.is_empty() {
            format!(
                "add a ConfigMap with such labels and the keys HOSTNAME, KEY and KNOWN_HOSTS to \
                 namespace {namespace}, or give --host"
            )
        } else {
            format!(
                "there are {}; make labels and selector agree, or give --host",
                list(&there)
            )
        };
        document.problem(
            ProblemCode::MatchesNothing,
            target_path(),
            format!("no ConfigMap or Secret in namespace {namespace} matches {selector}"),
            remedy,
        )
    }
}

fn target_path() -> FieldPath {
    FieldPath::of(["spec", "targetSelector"])
}

fn no_selector<T>(document: &Document<T>) -> Problem {
    document.problem(
        ProblemCode::MissingField,
        target_path(),
        "spec.targetSelector is missing",
        "choose the ConfigMap of the host, such as targetSelector: {matchLabels: {app: lpar1}}, \
         or give --host",
    )
}

/// A host's Secret together with one of what opens images, as far as it says nothing of that.
fn joined(pull: &Document<KeyValues>, secret: &Document<KeyValues>) -> KeyValues {
    let mut all = pull.spec.0.clone();
    let own = secret.spec.0.iter();
    all.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    KeyValues(all)
}

/// The one document of its kind that matches; several would be merged in no particular order.
fn one<'a, T>(
    document: &Document<T>,
    selector: &LabelSelector,
    candidates: impl Iterator<Item = &'a Document<KeyValues>>,
) -> Result<Option<&'a Document<KeyValues>>, Box<Problem>> {
    let found: Vec<_> = candidates
        .filter(|candidate| candidate.meta.namespace == document.meta.namespace)
        .filter(|candidate| selector.matches(&candidate.meta.labels))
        .collect();
    if let [first, _, ..] = found.as_slice() {
        let places: Vec<_> = found
            .iter()
            .map(|found| format!("{} ({})", found.meta.name, found.at))
            .collect();
        return Err(Box::new(document.problem(
            ProblemCode::HostSettings,
            target_path(),
            format!(
                "{selector} matches {} {}s: {}",
                found.len(),
                first.kind,
                list(&places)
            ),
            "make the selector or the labels so narrow that one is left",
        )));
    }
    Ok(found.first().copied())
}

/// Points at the key itself where it stands, else at the data that lacks it.
fn unusable<T>(
    error: HostKeyError,
    config_map: Option<&Document<KeyValues>>,
    secret: Option<&Document<KeyValues>>,
    selecting: &Document<T>,
) -> Problem {
    let data = FieldPath::of(["data"]);
    let (blamed, path) = match error.layer {
        Some(Layer::Secret) => (secret, data.key(error.key)),
        Some(Layer::ConfigMap) => (config_map, data.key(error.key)),
        None => (config_map.or(secret), data),
    };
    let message = match error.layer {
        Some(_) => error.message,
        None => format!("{} is missing: {}", error.key, error.message),
    };
    match blamed {
        Some(blamed) => blamed.problem(ProblemCode::HostSettings, path, message, error.remedy),
        None => selecting.problem(
            ProblemCode::HostSettings,
            target_path(),
            message,
            error.remedy,
        ),
    }
}

/// `ConfigMap lpar1 (app=a)`.
fn describe(document: &Document<KeyValues>) -> String {
    debug_assert!([CONFIG_MAP, SECRET].contains(&document.kind));
    labelled(document)
}

/// A document by kind, name and labels.
pub(super) fn labelled<T>(document: &Document<T>) -> String {
    let labels: Vec<_> = document
        .meta
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let labels = if labels.is_empty() {
        "no labels".to_owned()
    } else {
        labels.join(",")
    };
    format!("{} {} ({labels})", document.kind, document.meta.name)
}

/// The most names that a message lists.
const MOST: usize = 5;

/// Joins names for people; a long list is cut.
pub(super) fn list(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(MOST)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
