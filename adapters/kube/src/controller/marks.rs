//! Labels and annotations of the objects of pool members.
//!
//! A template's own are copied, except those by which other tools recognise what they made: Argo CD would
//! delete a member with its mark as an object that is not in the repository. For the same reason each
//! member carries Argo CD's options not to prune it and not to compare it.
//!
//! An annotation of each member names what came from its template, so that what leaves the template leaves the
//! member, and what others put on the member stays.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::template_marks::OWN_PREFIX;

/// Labels and annotations by which tools recognise what they made.
const TRACKING: [&str; 13] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/instance",
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/installation-id",
    "config.k8s.io/owning-inventory",
    "config.kubernetes.io/owning-inventory",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kustomize.toolkit.fluxcd.io/checksum",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
];

/// The same, for all names with that beginning.
const TRACKING_PREFIXES: [&str; 6] = [
    "applyset.kubernetes.io/",
    "configsync.gke.io/",
    "kapp.k14s.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
    "olm.owner",
];

/// What keeps Argo CD from deleting members, whatever label it recognises its objects by.
const ARGO_OPTIONS: [(&str, &str); 2] = [
    ("argocd.argoproj.io/sync-options", "Prune=false"),
    ("argocd.argoproj.io/compare-options", "IgnoreExtraneous"),
];

/// Labels or annotations, by their names.
pub(super) type Marks = BTreeMap<String, String>;

/// Whether a tool recognises what it made by this label or annotation.
pub(super) fn is_tracking(name: &str) -> bool {
    let mut prefixes = TRACKING_PREFIXES.iter();
    TRACKING.contains(&name) || prefixes.any(|prefix| name.starts_with(prefix))
}

/// The labels without those of other tools.
pub(super) fn labels(labels: Marks) -> Marks {
    let mut labels = labels;
    labels.retain(|name, _| !is_tracking(name));
    labels
}

/// The annotations of a member's object: those of its template, Argo CD's options, and the member's own.
pub(super) fn annotations(template: &Marks, own: Marks) -> Marks {
    let of_template = template.iter();
    let of_template = of_template
        .filter(|(name, _)| !is_tracking(name) && !name.starts_with(OWN_PREFIX))
        .map(|(name, value)| (name.clone(), value.clone()));
    let options = ARGO_OPTIONS.map(|(name, value)| {
        let others = template.get(name).map(String::as_str).unwrap_or_default();
        (name.to_owned(), merged(others, value))
    });
    of_template.chain(options).chain(own).collect()
}

/// Options of Argo CD with one more, which takes the place of the one that says otherwise.
fn merged(options: &str, option: &str) -> String {
    let is_same = |other: &str| option_name(other) == option_name(option);
    let others = options.split(',').map(str::trim);
    let others = others.filter(|other| !other.is_empty() && !is_same(other));
    others.chain([option]).collect::<Vec<_>>().join(",")
}

fn option_name(option: &str) -> &str {
    let named = option.split_once('=');
    named.map_or(option, |(name, _)| name).trim()
}

/// The annotation with the [`TemplateMarks`] of a member's object, in JSON.
const FROM_TEMPLATE: &str = "vsiflow.io/from-template";

/// The names of the labels and annotations that a member's object has from its template.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TemplateMarks {
    pub(super) labels: BTreeSet<String>,
    pub(super) annotations: BTreeSet<String>,
}

impl TemplateMarks {
    /// Notes the names of these labels and annotations among the annotations.
    pub(super) fn note(labels: &Marks, annotations: &mut Marks) {
        let names = |marks: &Marks| {
            let names = marks.keys().filter(|name| !name.starts_with(OWN_PREFIX));
            names.cloned().collect()
        };
        let of_template = Self {
            labels: names(labels),
            annotations: names(annotations),
        };
        if let Ok(text) = serde_json::to_string(&of_template) {
            annotations.insert(FROM_TEMPLATE.to_owned(), text);
        }
    }

    /// Whether these annotations note anything.
    pub(super) fn are_noted(annotations: &Marks) -> bool {
        annotations.contains_key(FROM_TEMPLATE)
    }

    /// What these annotations note; nothing if they note nothing that can be read.
    pub(super) fn noted(annotations: &Marks) -> Self {
        let noted = annotations.get(FROM_TEMPLATE);
        let noted = noted.and_then(|text| serde_json::from_str(text).ok());
        noted.unwrap_or_default()
    }
}

/// The annotations of a template in a resource.
pub(super) fn of_template(template: &Value) -> Marks {
    let annotations = template.pointer("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object);
    let texts = annotations.into_iter().flatten();
    let texts = texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(names: &[&str]) -> Marks {
        let names = names.iter();
        names
            .map(|name| ((*name).to_owned(), "x".to_owned()))
            .collect()
    }

    #[test]
    fn marks_of_other_tools_are_not_copied_and_all_others_are() {
        let foreign = [
            "app.kubernetes.io/instance",
            "argocd.argoproj.io/tracking-id",
            "meta.helm.sh/release-name",
            "kustomize.toolkit.fluxcd.io/name",
            "applyset.kubernetes.io/part-of",
        ];
        let kept = [
            "app",
            "app.kubernetes.io/name",
            "argocd.argoproj.io/sync-wave",
        ];
        let given = marks(&[&foreign[..], &kept[..]].concat());
        assert_eq!(labels(given.clone()), marks(&kept));
        let copied = annotations(&given, Marks::new());
        for name in kept {
            assert_eq!(copied[name], "x", "{name}");
        }
        assert_eq!(copied["argocd.argoproj.io/sync-options"], "Prune=false");
        assert_eq!(
            copied["argocd.argoproj.io/compare-options"],
            "IgnoreExtraneous"
        );
        assert_eq!(copied.len(), kept.len() + ARGO_OPTIONS.len());
    }

    #[test]
    fn what_came_from_a_template_is_noted_without_vsiflows_own_marks() {
        let mut annotations = marks(&["wave", "vsiflow.io/revision"]);
        TemplateMarks::note(&marks(&["app", "vsiflow.io/pool"]), &mut annotations);
        let noted = TemplateMarks::noted(&annotations);
        assert_eq!(noted.labels, ["app".to_owned()].into());
        assert_eq!(noted.annotations, ["wave".to_owned()].into());
        annotations.insert(FROM_TEMPLATE.to_owned(), "{\"labels\": 7}".to_owned());
        assert_eq!(TemplateMarks::noted(&annotations), TemplateMarks::default());
    }

    #[test]
    fn a_template_asks_for_nothing_of_an_object_and_takes_no_option_away() {
        let mut template = marks(&["vsiflow.io/orphan", "vsiflow.io/adopt"]);
        let (option, _) = ARGO_OPTIONS[0];
        template.insert(option.to_owned(), "Prune=true".to_owned());
        let copied = annotations(&template, marks(&["vsiflow.io/pool-uid"]));
        assert_eq!(copied[option], "Prune=false");
        let own: Vec<_> = copied
            .keys()
            .filter(|name| name.starts_with(OWN_PREFIX))
            .collect();
        assert_eq!(own, ["vsiflow.io/pool-uid"]);
    }

    #[test]
    fn argo_cds_options_of_a_template_stay_beside_those_of_a_member() {
        let merged_with = |sync: &str, compare: &str| {
            let template = [
                ("argocd.argoproj.io/sync-options", sync),
                ("argocd.argoproj.io/compare-options", compare),
            ];
            let template = template.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let copied = annotations(&template.into(), Marks::new());
            ARGO_OPTIONS.map(|(name, _)| copied[name].clone())
        };
        assert_eq!(
            merged_with(
                "SkipDryRunOnMissingResource=true, Prune=true,ServerSideApply=true",
                "ServerSideDiff=true,IgnoreExtraneous"
            ),
            [
                "SkipDryRunOnMissingResource=true,ServerSideApply=true,Prune=false",
                "ServerSideDiff=true,IgnoreExtraneous",
            ]
        );
        assert_eq!(merged_with("", ","), ["Prune=false", "IgnoreExtraneous"]);
    }
}
