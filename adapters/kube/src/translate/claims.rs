//! Decides which namespace's settings of a host are valid.
//!
//! A host has one set of settings. The first namespace that had it remains its owner, even after a
//! restart, because the fleet remembers it. Different settings from another namespace are refused, and
//! both namespaces are informed.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_workflows::spec::{
    self, Document, FieldPath, HostSettings, KeyValues, LabelSelector, Problem, ProblemCode,
    VsiSpec,
};

use super::{TranslationPass, TranslationRules};

/// The host settings that a document selects.
struct HostClaim {
    index: usize,
    namespace: String,
    settings: HostSettings,
}

/// The result of comparing all claims.
#[derive(Default)]
pub(super) struct Claims {
    /// Problems, by the index of their document.
    pub(super) wrong: Vec<(usize, Problem)>,
    /// Warnings to the owners of hosts, by the index of their document.
    pub(super) warnings: Vec<(usize, String)>,
    /// The namespaces whose settings are valid, by host.
    pub(super) owners: BTreeMap<String, String>,
    /// Hosts whose namespaces do not select them any more, and that other namespaces ask for.
    pub(super) stale: Vec<(String, String)>,
}

const REMEDY: &str = "make the settings equal, or name the host otherwise; it is free once that \
     namespace has nothing left on it";

impl TranslationPass {
    /// Decides which namespace owns each host.
    pub(super) fn claims(&self, rules: &TranslationRules<'_>) -> Claims {
        let mut found = Claims::default();
        if rules.host.is_some() {
            return found;
        }
        for (id, mut claims) in self.by_host() {
            claims.sort_by_key(|claim| claim.index);
            let first = claims.first().map(|claim| claim.namespace.clone());
            let Some(owner) = rules.owners.get(&id).cloned().or(first) else {
                continue;
            };
            self.compare(&id, &owner, &claims, rules, &mut found);
            found.owners.insert(id, owner);
        }
        found
    }

    fn compare(
        &self,
        id: &str,
        owner: &str,
        claims: &[HostClaim],
        rules: &TranslationRules<'_>,
        found: &mut Claims,
    ) {
        let (own, others): (Vec<_>, Vec<_>) =
            claims.iter().partition(|claim| claim.namespace == owner);
        let counting = own.first().map(|claim| claim.settings.clone());
        let counting = counting.or_else(|| (rules.known)(id));
        let differs = |claim: &&HostClaim| {
            let same = counting
                .as_ref()
                .map(|counted| counted.same_as(&claim.settings));
            !same.unwrap_or(false)
        };
        let refused: Vec<_> = others.into_iter().filter(differs).collect();
        if refused.is_empty() {
            return;
        }
        if own.is_empty() {
            found.stale.push((id.to_owned(), owner.to_owned()));
        }
        let namespaces: BTreeSet<_> = refused.iter().map(|one| one.namespace.as_str()).collect();
        let namespaces: Vec<_> = namespaces.into_iter().collect();
        let what = refused.first().map_or("settings", |one| {
            what_differs(counting.as_ref(), &one.settings)
        });
        let warning = format!(
            "namespace {} names {what} of host {id} than this one: they are not used; check who may \
             log in there",
            namespaces.join(", ")
        );
        let warnings = own.iter().map(|claim| (claim.index, warning.clone()));
        found.warnings.extend(warnings);
        for claim in refused {
            let difference = what_differs(counting.as_ref(), &claim.settings);
            let message =
                format!("namespace {owner} had host {id} first, and names {difference} of it");
            found.wrong.extend(self.problem_of(claim.index, message));
        }
    }

    fn problem_of(&self, index: usize, message: String) -> Option<(usize, Problem)> {
        let resource = self.owner(index)?;
        let path = FieldPath::of(["spec", "targetSelector"]);
        let problem = Problem {
            code: ProblemCode::OthersHost,
            document: vsiflow_workflows::spec::DocumentRef {
                index,
                source: resource.key.to_string(),
                line: None,
            },
            kind: resource.key.kind.name().to_owned(),
            object: format!("{}/{}", resource.key.namespace, resource.key.name),
            path,
            message,
            remedy: REMEDY.to_owned(),
        };
        Some((index, problem))
    }

    fn by_host(&self) -> BTreeMap<String, Vec<HostClaim>> {
        let all = &self.documents;
        let mut claims: BTreeMap<String, Vec<HostClaim>> = BTreeMap::new();
        let mut add = |index: usize, namespace: &str, settings: HostSettings| {
            let claim = HostClaim {
                index,
                namespace: namespace.to_owned(),
                settings,
            };
            claims.entry(claim.settings.id()).or_default().push(claim);
        };
        macro_rules! among {
            ($list:expr) => {
                for one in $list {
                    let (index, namespace) = (one.at.index, &one.meta.namespace);
                    let selector = one.spec.target_selector.as_ref();
                    if let Some(settings) = self.selected(namespace, selector) {
                        add(index, namespace, settings);
                    }
                }
            };
        }
        let pools = self.within_pools();
        let members = pools.iter().map(|(member, _)| member);
        for vsi in all.vsis.iter().chain(members) {
            for settings in self.selected_by(vsi) {
                add(vsi.at.index, &vsi.meta.namespace, settings);
            }
        }
        among!(&all.data_disks);
        among!(&all.data_disk_refs);
        among!(&all.network_refs);
        for (_, disks) in &pools {
            among!(disks);
        }
        claims
    }

    /// The settings that a VSI selects: all candidates, if it has a placement.
    fn selected_by(&self, vsi: &Document<VsiSpec>) -> Vec<HostSettings> {
        if vsi.spec.placement.is_some() {
            return spec::hosts_of(&self.documents, vsi);
        }
        let selector = vsi.spec.target_selector.as_ref();
        let found = self.selected(&vsi.meta.namespace, selector);
        found.into_iter().collect()
    }

    /// The settings that a selector finds, if there is at most one ConfigMap and one Secret, and they
    /// are valid.
    pub(super) fn selected(
        &self,
        namespace: &str,
        selector: Option<&LabelSelector>,
    ) -> Option<HostSettings> {
        let selector = selector?;
        let one = |all: &'_ [Document<KeyValues>]| -> Option<Option<usize>> {
            let mut fits = all.iter().enumerate().filter(|(_, one)| {
                one.meta.namespace == namespace && selector.matches(&one.meta.labels)
            });
            let first = fits.next().map(|(at, _)| at);
            fits.next().is_none().then_some(first)
        };
        let (maps, secrets) = (&self.documents.config_maps, &self.documents.secrets);
        let spec = |all: &'_ [Document<KeyValues>], at: Option<usize>| {
            at.and_then(|at| all.get(at))
                .map(|found| found.spec.clone())
        };
        let (map, secret) = (spec(maps, one(maps)?), spec(secrets, one(secrets)?));
        HostSettings::from_keys(map.as_ref(), secret.as_ref()).ok()
    }
}

/// Which part of two settings differs, without its content.
fn what_differs(one: Option<&HostSettings>, other: &HostSettings) -> &'static str {
    let Some(one) = one else {
        return "settings that are not available";
    };
    let known = |settings: &HostSettings| settings.record.known_hosts().map(str::to_owned);
    let key = |settings: &HostSettings| settings.key.as_ref().map(|key| key.expose().to_vec());
    match () {
        () if known(one) != known(other) => "other known hosts",
        () if key(one) != key(other) => "another key",
        () if one.record.socket() != other.record.socket() => "another socket",
        () if one.record.jumps() != other.record.jumps() => "another way to it (PROXY_JUMP)",
        () => "other settings",
    }
}
