//! The placement board: chooses hosts one after another, counting each choice for the next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Decision, Rejected,
    host::{Fullness, Needs, PlacedVsi, PlacementHost},
    reason::PlacementObstacle,
};
use crate::spec::{
    LabelSelector,
    placement::{PlacementSpec, Spread, SpreadOver},
};

/// What a VSI needs of a host.
#[derive(Clone, Debug, Default)]
pub struct PlacementRequest {
    /// The VSI.
    pub vsi: PlacedVsi,
    /// The rules of the placement. The members of a pool share them.
    pub placement: Arc<PlacementSpec>,
    /// The IDs of the candidate hosts.
    pub candidates: Arc<Vec<String>>,
    /// Why other matched hosts cannot be chosen, by host.
    pub excluded: Arc<Vec<(String, String)>>,
    /// The only host that can be chosen, and the reason.
    pub pinned: Option<(String, String)>,
    /// The guest's architecture.
    pub arch: String,
    /// The pool of its volumes.
    pub pool: String,
    /// The resources that it needs.
    pub needs: Needs,
}

impl PlacementRequest {
    /// What a host must have free: the larger of the VSI's needs and the placement's requirements.
    fn needs(&self) -> Needs {
        let requires = &self.placement.requires;
        let mut needs = self.needs.clone();
        needs.cpus = needs.cpus.max(requires.cpus.map_or(0, u64::from));
        let memory = requires.memory.map_or(0, |memory| memory.bytes());
        needs.memory = needs.memory.max(memory);
        if let Some(room) = requires.pool_room {
            let pool = needs.pools.entry(self.pool.clone()).or_default();
            *pool = (*pool).max(room.bytes());
        }
        needs
    }
}

/// Error: no host fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// The obstacle of each host.
    pub against: Vec<Rejected>,
}

impl std::fmt::Display for Unplaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<_> = self.against.iter().map(ToString::to_string).collect();
        match all.as_slice() {
            [] => f.write_str("no host is there to choose from"),
            all => f.write_str(&all.join("; ")),
        }
    }
}

/// A class of VSIs that are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Class {
    /// The VSIs of a namespace that the selector matches; all of them if there is none.
    Labelled(String, Option<Arc<LabelSelector>>),
    /// The members of a pool: namespace and name.
    Pool(String, String),
}

impl Class {
    fn has(&self, vsi: &PlacedVsi) -> bool {
        match self {
            Self::Labelled(namespace, selector) => {
                let fits = |its: &Arc<LabelSelector>| its.matches(&vsi.labels);
                vsi.namespace == *namespace && selector.as_ref().is_none_or(fits)
            }
            Self::Pool(namespace, pool) => {
                vsi.namespace == *namespace && vsi.pool.as_ref() == Some(pool)
            }
        }
    }
}

/// How many VSIs of a class each host has, with the name of the first.
struct ClassCounts {
    class: Class,
    hosts: Vec<u64>,
    first: BTreeMap<usize, String>,
}

/// Hosts, their promises, and the choices made so far.
pub struct PlacementBoard {
    hosts: Vec<PlacementHost>,
    at: HashMap<String, usize>,
    counted: Vec<ClassCounts>,
    /// The anti-affinity rules of VSIs on hosts: namespace, selector, and one VSI with that rule for
    /// each host.
    averse: Vec<(String, Arc<LabelSelector>, BTreeMap<usize, String>)>,
    /// The candidates of the previous request, cached because the next often has the same.
    before: (Vec<String>, Vec<usize>),
}

/// How well a host fits; a lower score is better.
type Score = (u64, u64, Fullness);

impl PlacementBoard {
    /// A board of these hosts, ordered by ID.
    pub fn new(mut hosts: Vec<PlacementHost>) -> Self {
        hosts.sort_by(|a, b| a.id.cmp(&b.id));
        let at = hosts.iter().enumerate();
        let at = at.map(|(index, host)| (host.id.clone(), index)).collect();
        let mut board = Self {
            hosts,
            at,
            counted: Vec::new(),
            averse: Vec::new(),
            before: Default::default(),
        };
        for index in 0..board.hosts.len() {
            let vsis = board.hosts.get(index).map(|host| host.vsis.clone());
            for vsi in vsis.unwrap_or_default() {
                board.note_averse(index, &vsi);
            }
        }
        board
    }

    /// Chooses a host, and counts the VSI there for the next choices.
    ///
    /// # Errors
    /// With the obstacle of each host, if none fits.
    pub fn choose(&mut self, request: &PlacementRequest) -> Result<Decision, Unplaced> {
        let candidates = self.candidates(&request.candidates);
        let spread = request.placement.spread.as_ref();
        let spread = spread.map(|spread| self.count(spread_class(spread, &request.vsi)));
        let avoided = request.vsi.anti_affinity.clone();
        let avoided = avoided.map(|selector| {
            let namespace = request.vsi.namespace.clone();
            self.count(Class::Labelled(namespace, Some(selector)))
        });
        let needs = request.needs();
        let domains = self.domains(request, spread, &candidates);
        let mut fitting = Vec::new();
        let mut against = BTreeMap::<PlacementObstacle, Vec<usize>>::new();
        for index in candidates {
            match self.judge(index, (request, &needs), avoided, (spread, &domains)) {
                Ok(score) => fitting.push((score, index)),
                Err(obstacle) => against.entry(obstacle).or_default().push(index),
            }
        }
        let Some((best, chosen)) = fitting.iter().min().copied() else {
            let against = self.explain(&against, request);
            return Err(Unplaced { against });
        };
        let others = fitting.into_iter().filter(|(_, index)| *index != chosen);
        for (score, index) in others {
            let obstacle = lost(score, best, request.placement.pack);
            against.entry(obstacle).or_default().push(index);
        }
        let against = self.explain(&against, request);
        let host = self.hosts.get(chosen).map(|host| host.id.clone());
        self.put(chosen, request);
        Ok(Decision {
            host: host.unwrap_or_default(),
            why: why(best, request),
            against,
        })
    }

    fn candidates(&mut self, ids: &[String]) -> Vec<usize> {
        if self.before.0 != ids {
            let mut found: Vec<_> = ids
                .iter()
                .filter_map(|id| self.at.get(id).copied())
                .collect();
            found.sort_unstable();
            found.dedup();
            self.before = (ids.to_vec(), found);
        }
        self.before.1.clone()
    }

    /// The obstacle of a host, or its score.
    fn judge(
        &self,
        index: usize,
        (request, needs): (&PlacementRequest, &Needs),
        avoided: Option<usize>,
        (spread, domains): (Option<usize>, &BTreeMap<&str, u64>),
    ) -> Result<Score, PlacementObstacle> {
        let Some(host) = self.hosts.get(index) else {
            return Err(PlacementObstacle::Excluded("it is not known".to_owned()));
        };
        allowed(host, request)?;
        if let Some(name) = avoided.and_then(|at| self.counted.get(at)?.first.get(&index)) {
            return Err(PlacementObstacle::Affinity(name.clone()));
        }
        for (namespace, selector, there) in &self.averse {
            let Some(name) = there.get(&index) else {
                continue;
            };
            if *namespace == request.vsi.namespace && selector.matches(&request.vsi.labels) {
                return Err(PlacementObstacle::Affinity(name.clone()));
            }
        }
        let (among, here) = self.spread_of(index, host, request, spread, domains)?;
        let fullness = host.fullness(needs)?;
        let fullness = if request.placement.pack {
            u64::MAX.saturating_sub(fullness)
        } else {
            fullness
        };
        Ok((among, here, fullness))
    }

    /// How many VSIs of the spread class are on hosts with this host's label value, and how many on
    /// this host.
    fn spread_of(
        &self,
        index: usize,
        host: &PlacementHost,
        request: &PlacementRequest,
        spread: Option<usize>,
        domains: &BTreeMap<&str, u64>,
    ) -> Result<(u64, u64), PlacementObstacle> {
        let Some(counted) = spread.and_then(|at| self.counted.get(at)) else {
            return Ok((0, 0));
        };
        let here = counted.hosts.get(index).copied().unwrap_or_default();
        let Some(label) = spread_label(request) else {
            return Ok((here, here));
        };
        let Some(value) = host.labels.get(label) else {
            return Err(PlacementObstacle::NoLabel(label.to_owned()));
        };
        let among = domains.get(value.as_str()).copied();
        Ok((among.unwrap_or_default(), here))
    }

    /// How many VSIs of the spread class there are for each label value, if they are spread over a
    /// label.
    fn domains(
        &self,
        request: &PlacementRequest,
        spread: Option<usize>,
        candidates: &[usize],
    ) -> BTreeMap<&str, u64> {
        let mut domains = BTreeMap::new();
        let (Some(label), Some(counted)) = (
            spread_label(request),
            spread.and_then(|at| self.counted.get(at)),
        ) else {
            return domains;
        };
        for index in candidates {
            let host = self.hosts.get(*index);
            if let Some(value) = host.and_then(|host| host.labels.get(label)) {
                let sum: &mut u64 = domains.entry(value.as_str()).or_default();
                let here = counted.hosts.get(*index).copied().unwrap_or_default();
                *sum = sum.saturating_add(here);
            }
        }
        domains
    }

    /// The index of a class's counts; counts the class if it is new.
    fn count(&mut self, class: Class) -> usize {
        let found = self.counted.iter().position(|one| one.class == class);
        found.unwrap_or_else(|| {
            let mut counted = ClassCounts {
                class,
                hosts: vec![0; self.hosts.len()],
                first: BTreeMap::new(),
            };
            for (index, host) in self.hosts.iter().enumerate() {
                host.vsis.iter().for_each(|vsi| counted.add(index, vsi));
            }
            self.counted.push(counted);
            self.counted.len().saturating_sub(1)
        })
    }

    fn put(&mut self, index: usize, request: &PlacementRequest) {
        for counted in &mut self.counted {
            counted.add(index, &request.vsi);
        }
        self.note_averse(index, &request.vsi);
        if let Some(host) = self.hosts.get_mut(index) {
            host.promised.add(&request.needs, false);
            host.vsis.push(request.vsi.clone());
        }
    }

    fn note_averse(&mut self, index: usize, vsi: &PlacedVsi) {
        let Some(selector) = &vsi.anti_affinity else {
            return;
        };
        let found = self.averse.iter_mut();
        let same =
            |(namespace, other, _): &&mut (String, Arc<LabelSelector>, BTreeMap<usize, String>)| {
                *namespace == vsi.namespace && other == selector
            };
        match found.into_iter().find(same) {
            Some((_, _, there)) => _ = there.entry(index).or_insert_with(|| vsi.name.clone()),
            None => {
                let there = BTreeMap::from([(index, vsi.name.clone())]);
                self.averse
                    .push((vsi.namespace.clone(), selector.clone(), there));
            }
        }
    }

    fn explain(
        &self,
        against: &BTreeMap<PlacementObstacle, Vec<usize>>,
        request: &PlacementRequest,
    ) -> Vec<Rejected> {
        let ids = |indexes: &[usize]| -> Vec<&str> {
            let found = indexes.iter().filter_map(|index| self.hosts.get(*index));
            found.map(|host| host.id.as_str()).collect()
        };
        let reasons = against
            .iter()
            .map(|(obstacle, indexes)| Rejected::new(obstacle.to_string(), &ids(indexes)));
        let excluded = request.excluded.iter();
        let excluded = excluded.map(|(host, why)| Rejected::new(why.clone(), &[host.as_str()]));
        let all_known = self.before.1.len() == request.candidates.len();
        let unknown = request.candidates.iter().filter(|_| !all_known);
        let unknown = unknown.filter(|id| !self.at.contains_key(*id));
        let unknown = unknown
            .map(|host| Rejected::new("its settings are not known".to_owned(), &[host.as_str()]));
        reasons.chain(excluded).chain(unknown).collect()
    }
}

impl ClassCounts {
    fn add(&mut self, index: usize, vsi: &PlacedVsi) {
        if !self.class.has(vsi) {
            return;
        }
        if let Some(count) = self.hosts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        self.first.entry(index).or_insert_with(|| vsi.name.clone());
    }
}

/// The obstacles that do not depend on other VSIs.
fn allowed(host: &PlacementHost, request: &PlacementRequest) -> Result<(), PlacementObstacle> {
    if let Some((only, why)) = &request.pinned
        && *only != host.id
    {
        return Err(PlacementObstacle::Excluded(why.clone()));
    }
    if let Some(why) = &host.cordoned {
        return Err(PlacementObstacle::Cordoned(why.clone()));
    }
    if let Some(why) = &host.unreachable {
        return Err(PlacementObstacle::Unreachable(why.clone()));
    }
    if host.capacity.archs.get(&request.arch) == Some(&false) {
        return Err(PlacementObstacle::NoArch(request.arch.clone()));
    }
    match &request.placement.requires.device {
        Some(device) if !host.limits.devices.contains(device) => {
            Err(PlacementObstacle::NoDevice(device.clone()))
        }
        _ => Ok(()),
    }
}

fn spread_label(request: &PlacementRequest) -> Option<&str> {
    let spread = request.placement.spread.as_ref()?;
    match spread.over {
        SpreadOver::Label => spread.label.as_deref(),
        SpreadOver::Host => None,
    }
}

fn spread_class(spread: &Spread, vsi: &PlacedVsi) -> Class {
    match (&spread.among, &vsi.pool) {
        (Some(selector), _) => {
            Class::Labelled(vsi.namespace.clone(), Some(Arc::new(selector.clone())))
        }
        (None, Some(pool)) => Class::Pool(vsi.namespace.clone(), pool.clone()),
        (None, None) => Class::Labelled(vsi.namespace.clone(), None),
    }
}

/// Why a fitting host was not chosen.
fn lost(score: Score, best: Score, pack: bool) -> PlacementObstacle {
    let (among, here, full) = score;
    match () {
        () if among != best.0 => PlacementObstacle::MoreOfThem {
            here: among,
            there: best.0,
        },
        () if here != best.1 => PlacementObstacle::MoreOfThem {
            here,
            there: best.1,
        },
        () if full != best.2 && pack => PlacementObstacle::Emptier,
        () if full != best.2 => PlacementObstacle::Fuller,
        () => PlacementObstacle::Equal,
    }
}

/// Why the chosen host was chosen.
fn why((among, here, _): Score, request: &PlacementRequest) -> String {
    if let Some((_, why)) = &request.pinned {
        return why.clone();
    }
    match (&request.placement.spread, spread_label(request)) {
        (Some(_), Some(label)) => format!(
            "it fits; the fewest of them are on hosts with its value of label {label} ({among}), then on it ({here})"
        ),
        (Some(_), None) => format!("it fits; the fewest of them are there ({here})"),
        (None, _) if request.placement.pack => "it fits; the most of it is promised".to_owned(),
        (None, _) => "it fits; the least of it is promised".to_owned(),
    }
}
