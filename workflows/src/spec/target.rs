//! Finds the host of a document by its target selector.

use std::collections::BTreeMap;

use super::documents::{CONFIG_MAP, Document, Documents, KeyValues, SECRET};
use super::host::{HostKeyError, HostSettings, Layer, opens_images_only};
use super::problem::{FieldPath, Problem, ProblemCode};
use super::selector::LabelSelector;
use super::vsi::VsiSpec;

/// The hosts of all documents, found by their target selectors.
pub(super) struct TargetHosts<'a> {
    documents: &'a Documents,
    fixed: Option<&'a HostSettings>,
    hosts: BTreeMap<String, HostSettings>,
    /// The hosts that a selector matches, by its namespace and text.
    matched: BTreeMap<(String, String), Vec<String>>,
}

impl<'a> TargetHosts<'a> {
    /// With `fixed`, every document is for that host.
    pub(super) fn new(documents: &'a Documents, fixed: Option<&'a HostSettings>) -> Self {
        Self {
            documents,
            fixed,
            hosts: BTreeMap::new(),
            matched: BTreeMap::new(),
        }
    }

    /// The hosts that were found.
    pub(super) fn into_hosts(self) -> BTreeMap<String, HostSettings> {
        self.hosts
    }

    /// The ID of the document's host; `None` if there is a problem.
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
        match found.and_then(|host| self.add(document, host)) {
            Ok(id) => Some(id),
            Err(problem) => {
                problems.push(*problem);
                None
            }
        }
    }

    /// The IDs of all hosts that the selector matches. A host with invalid settings is a problem.
    pub(super) fn all_of<T>(
        &mut self,
        document: &Document<T>,
        selector: Option<&LabelSelector>,
        problems: &mut Vec<Problem>,
    ) -> Vec<String> {
        let selected = selector.map(ToString::to_string).unwrap_or_default();
        let key = (document.meta.namespace.clone(), selected);
        if let Some(known) = self.matched.get(&key) {
            return known.clone();
        }
        let (earlier, mut ids) = (problems.len(), Vec::new());
        match self.select_all(document, selector) {
            Ok(hosts) => {
                for host in hosts {
                    match self.add(document, host) {
                        Ok(id) => ids.push(id),
                        Err(problem) => problems.push(*problem),
                    }
                }
            }
            Err(problem) => problems.push(*problem),
        }
        ids.sort();
        ids.dedup();
        if problems.len() == earlier {
            self.matched.insert(key, ids.clone());
        }
        ids
    }

    /// Whether every document is for one fixed host.
    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    fn select_all<T>(
        &self,
        document: &Document<T>,
        selector: Option<&LabelSelector>,
    ) -> Result<Vec<HostSettings>, Box<Problem>> {
        let selector = selector.ok_or_else(|| Box::new(no_selector(document)))?;
        let maps = matching(document, selector, &self.documents.config_maps);
        let secrets = matching(document, selector, &self.documents.secrets);
        if maps.is_empty() && secrets.is_empty() {
            return Err(Box::new(self.nothing(document, selector)));
        }
        if maps.is_empty() || maps.len() == 1 && secrets.len() <= 1 {
            // A single host, as without placement.
            return self.select(document, Some(selector)).map(|host| vec![host]);
        }
        let hosts = maps.into_iter().map(|map| {
            let (pulls, own): (Vec<_>, Vec<_>) = secrets_of(map, &secrets)
                .into_iter()
                .partition(|secret| opens_images_only(&secret.spec));
            let pull = one(document, selector, pulls.into_iter())?;
            let own = one(document, selector, own.into_iter())?;
            settings(document, Some(map), own, pull)
        });
        hosts.collect()
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
        let secret = one(document, selector, of_pulls(false))?;
        let pull = one(document, selector, of_pulls(true))?;
        if config_map.is_none() && secret.is_none() && pull.is_none() {
            return Err(Box::new(self.nothing(document, selector)));
        }
        settings(document, config_map, secret, pull)
    }

    /// Adds a host. All documents must have the same settings for it, because the engine knows it by
    /// its ID.
    fn add<T>(
        &mut self,
        document: &Document<T>,
        host: HostSettings,
    ) -> Result<String, Box<Problem>> {
        let id = host.id();
        match self.hosts.get(&id) {
            Some(known) if !known.same_as(&host) || known.limits != host.limits => {
                Err(Box::new(document.problem(
                    ProblemCode::HostSettings,
                    target_path(),
                    format!("the settings of host {id} differ from those another document selects"),
                    "select the same ConfigMap and Secret, or make their keys equal",
                )))
            }
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

/// The settings of a host from its documents.
fn settings<'a, T>(
    selecting: &Document<T>,
    config_map: Option<&'a Document<KeyValues>>,
    mut secret: Option<&'a Document<KeyValues>>,
    mut pull: Option<&'a Document<KeyValues>>,
) -> Result<HostSettings, Box<Problem>> {
    if secret.is_none() {
        secret = pull.take();
    }
    let spec = |found: Option<&Document<KeyValues>>| found.map(|found| found.spec.clone());
    let both = pull.zip(secret).map(|(pull, secret)| joined(pull, secret));
    let host = HostSettings::from_keys(spec(config_map).as_ref(), both.or(spec(secret)).as_ref());
    let described = config_map.or(secret);
    let labels = described.map(|document| document.meta.labels.clone());
    let labelled = host.map(|host| HostSettings {
        labels: labels.unwrap_or_default(),
        ..host
    });
    labelled.map_err(|error| {
        // Of two Secrets, report the one that has the key.
        let holds = |holder: &&Document<KeyValues>| holder.spec.0.contains_key(error.key);
        let secret = [secret, pull].into_iter().flatten().find(holds).or(secret);
        Box::new(unusable(error, config_map, secret, selecting))
    })
}

/// The documents of the same namespace that the selector matches.
fn matching<'a, T>(
    document: &Document<T>,
    selector: &LabelSelector,
    candidates: &'a [Document<KeyValues>],
) -> Vec<&'a Document<KeyValues>> {
    let fits = |candidate: &&Document<KeyValues>| {
        candidate.meta.namespace == document.meta.namespace
            && selector.matches(&candidate.meta.labels)
    };
    candidates.iter().filter(fits).collect()
}

/// The Secrets for the host of a `ConfigMap`: those with the same name, else those whose labels are all
/// labels of the `ConfigMap`.
fn secrets_of<'a>(
    map: &Document<KeyValues>,
    secrets: &[&'a Document<KeyValues>],
) -> Vec<&'a Document<KeyValues>> {
    let named = |secret: &&&Document<KeyValues>| secret.meta.name == map.meta.name;
    let own: Vec<_> = secrets.iter().filter(named).copied().collect();
    if own.iter().any(|secret| !opens_images_only(&secret.spec)) {
        return own;
    }
    let has = |(key, value): (&String, &String)| map.meta.labels.get(key) == Some(value);
    let about = |secret: &&&Document<KeyValues>| secret.meta.labels.iter().all(has);
    secrets.iter().filter(about).copied().collect()
}

/// The settings of all hosts that a document's target selector matches; empty if some are invalid.
pub fn hosts_of(documents: &Documents, document: &Document<VsiSpec>) -> Vec<HostSettings> {
    let targets = TargetHosts::new(documents, None);
    let found = targets.select_all(document, document.spec.target_selector.as_ref());
    found.unwrap_or_default()
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

/// A host's Secret merged with a Secret for image access; the host's own keys take precedence.
fn joined(pull: &Document<KeyValues>, secret: &Document<KeyValues>) -> KeyValues {
    let mut all = pull.spec.0.clone();
    let own = secret.spec.0.iter();
    all.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    KeyValues(all)
}

/// The only document of its kind that matches; several are refused, because the order of merging would
/// be arbitrary.
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

/// The problem of invalid settings, at the key if it exists, else at the data that lacks it.
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
const MAX: usize = 5;

/// Joins names for people; a long list is cut.
pub(super) fn list(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
