//! Quotas over several journals (docs/adr/0014-choices-over-journals.md). Each journal reports its
//! usage. The journal that has the quotas admits growth, and records the admission before another
//! journal takes the change. An admission counts until the object itself does.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vsiflow_engine::model::{EntityId, Failure, FailureClass, Name};

use super::{
    QuotaObject,
    count::{Count, CountedObjects, TakenUsage, Taker, UsageByTaker, of_disk, of_vsi},
    demand::Demand,
};
use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError, QuotaHandle,
        placement::over_journals::{ForDecision, OpenRecord},
    },
    placement::{OpenRequest, PromiseState},
    quota::Usage,
    record::kind,
    spec::Resolved,
};

/// The quota usage of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectUsage {
    /// Its namespace.
    pub namespace: String,
    /// The object's name, such as `vsi/default/web`.
    pub object: String,
    /// Its usage.
    pub usage: Usage,
}

/// Usage that was admitted, and may be taken at any moment. Fields are only ever added, with a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmissionRecord {
    /// The admitted usage.
    pub taken: ObjectUsage,
    /// The host; empty for an object without a host of its own.
    #[serde(default)]
    pub host: String,
    /// The requests under way that may take it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<OpenRequest>,
    /// Its state.
    #[serde(default)]
    pub state: PromiseState,
}

impl OpenRecord for AdmissionRecord {
    const KIND: &'static str = kind::ADMISSION;

    fn state(&self) -> PromiseState {
        self.state
    }

    fn requests(&self) -> &[OpenRequest] {
        &self.requests
    }

    fn object(&self) -> String {
        self.taken.object.clone()
    }

    fn host(&self) -> &str {
        &self.host
    }
}

/// Admissions to record, by object.
pub(in crate::fleet) type Admissions = BTreeMap<String, AdmissionRecord>;

/// The recorded usage of a journal's objects, by name.
#[derive(Default)]
pub struct RecordedUsage(BTreeMap<String, Usage>);

impl RecordedUsage {
    /// Whether documents need no more than is recorded, or was admitted, for each object.
    pub fn covers(&self, resolved: &Resolved, admitted: &[ObjectUsage]) -> bool {
        let mut vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
        // A VSI with a known disk size may not become one without.
        let is_sized = vsis.all(|vsi| {
            let before = self.of(&object(kind::VSI, &vsi.namespace, &vsi.name));
            vsi.boot_disk.size.is_some() || before.disk == 0
        });
        is_sized
            && usage_of(resolved).iter().all(|requested| {
                let its = admitted.iter().filter(|one| one.object == requested.object);
                let before = its.fold(self.of(&requested.object), |most, one| most.max(one.usage));
                before.max(requested.usage) == before
            })
    }

    fn of(&self, object: &str) -> Usage {
        self.0.get(object).copied().unwrap_or_default()
    }
}

/// The usage of the documents' VSIs and data disks.
pub fn usage_of(resolved: &Resolved) -> Vec<ObjectUsage> {
    usage_by_host(resolved).map(|(usage, _)| usage).collect()
}

impl QuotaHandle<'_> {
    /// The namespaces that have quotas.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn namespaces(self) -> Result<BTreeSet<String>, FleetError> {
        let quotas = self.fleet.quotas_with(&[]).await?;
        let read = quotas.read.into_iter().map(|quota| quota.namespace);
        let lost = quotas.lost.into_iter().map(|quota| quota.namespace);
        Ok(read.chain(lost).collect())
    }

    /// The recorded usage in these namespaces. Objects that cannot be read count as nothing here.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn recorded_in(
        self,
        namespaces: &BTreeSet<String>,
    ) -> Result<RecordedUsage, FleetError> {
        let count = self.fleet.count().await?;
        let all = taken_of(&count, namespaces);
        Ok(RecordedUsage(
            all.map(|one| (one.object, one.usage)).collect(),
        ))
    }

    /// All quotas, with their usage here and in other journals, as those reported it.
    ///
    /// # Errors
    /// When the journal cannot be read, or another journal reported an object whose kind or name is not
    /// valid.
    pub async fn list_beside(self, others: &[ObjectUsage]) -> Result<Vec<QuotaObject>, FleetError> {
        let quotas = self.fleet.quotas_with(&[]).await?.read;
        let mut taken = self.fleet.count().await?.taken.by_taker;
        for one in others {
            count_in(&mut taken, one)?;
        }
        self.shown(quotas, &[taken])
    }
}

impl Fleet {
    /// The documents' namespaces that have quotas.
    pub(in crate::fleet) async fn limited(
        &self,
        resolved: &Resolved,
    ) -> Result<BTreeSet<String>, FleetError> {
        let quotas = self.quotas_with(&resolved.quotas).await?;
        let all = super::namespaces(resolved).into_iter();
        let limited = all.filter(|namespace| quotas.limit(namespace));
        Ok(limited.map(str::to_owned).collect())
    }

    /// The usage in these namespaces, in this journal.
    ///
    /// # Errors
    /// `VSI0748` if something cannot be counted.
    pub(in crate::fleet) async fn taken_in(
        &self,
        namespaces: &BTreeSet<String>,
    ) -> Result<Vec<ObjectUsage>, FleetError> {
        if namespaces.is_empty() {
            return Ok(Vec::new());
        }
        let count = self.count().await?;
        for namespace in namespaces {
            if let Some(uncounted) = count.uncounted_in(namespace) {
                let entity = uncounted.entity.to_string();
                return Err(super::demand::unknown(&entity, &uncounted.failure));
            }
        }
        Ok(taken_of(&count, namespaces).collect())
    }

    /// Admits what documents ask for in namespaces with quotas, or refuses all of it. `open` are the
    /// admissions that count.
    ///
    /// # Errors
    /// `VSI0738`, `VSI0739` and `VSI0748` as with one journal.
    pub(in crate::fleet) async fn admit(
        &self,
        resolved: &Resolved,
        taken: &[ObjectUsage],
        open: Vec<AdmissionRecord>,
        of: Option<&ForDecision<'_>>,
    ) -> Result<Admissions, FleetError> {
        let limited = self.limited(resolved).await?;
        if limited.is_empty() {
            return Ok(Admissions::new());
        }
        let mut counted = Count {
            there: CountedObjects::default(),
            taken: TakenUsage::default(),
        };
        for one in taken {
            count_in(&mut counted.taken.by_taker, one)?;
        }
        for one in &open {
            count_in(&mut counted.taken.by_taker, &one.taken)?;
        }
        let quotas = self.quotas_with(&resolved.quotas).await?;
        Demand::of_singles(resolved, &counted).judge(&quotas, &counted)?;
        let mut open: BTreeMap<_, _> = open.into_iter().map(|one| (one.object(), one)).collect();
        let mut admitted = Admissions::new();
        for (usage, host) in usage_by_host(resolved) {
            let (Some(of), true) = (of, limited.contains(&usage.namespace)) else {
                continue;
            };
            let mut record = match open.remove(&usage.object) {
                Some(before) => AdmissionRecord {
                    taken: ObjectUsage {
                        usage: before.taken.usage.max(usage.usage),
                        ..usage
                    },
                    ..before
                },
                None => AdmissionRecord {
                    taken: usage,
                    host: host.clone(),
                    requests: Vec::new(),
                    state: PromiseState::Open,
                },
            };
            of.add_to(&mut record.requests, &host);
            admitted.insert(record.object(), record);
        }
        Ok(admitted)
    }
}

/// The usage in these namespaces, by object.
fn taken_of<'a>(
    count: &'a Count,
    namespaces: &'a BTreeSet<String>,
) -> impl Iterator<Item = ObjectUsage> + 'a {
    namespaces.iter().flat_map(|namespace| {
        let all = count.taken.by_taker.in_namespace(namespace);
        all.map(|(taker, usage)| ObjectUsage {
            namespace: namespace.clone(),
            object: match taker {
                Taker::Vsi(name) => object(kind::VSI, namespace, name),
                Taker::Disk(name) => object(kind::DISK, namespace, name),
                Taker::Pool(name) => object(kind::POOL, namespace, name),
                Taker::Unread(uid) => object(kind::POOL, namespace, &uid.to_string()),
            },
            usage,
        })
    })
}

/// The usage of the documents' objects, with their hosts.
fn usage_by_host(resolved: &Resolved) -> impl Iterator<Item = (ObjectUsage, String)> {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired).map(|vsi| {
        let taken = ObjectUsage {
            namespace: vsi.namespace.clone(),
            object: object(kind::VSI, &vsi.namespace, &vsi.name),
            usage: of_vsi(vsi),
        };
        (taken, vsi.host.clone())
    });
    let disks = resolved.data_disks.iter().map(|disk| {
        let taken = ObjectUsage {
            namespace: disk.namespace.clone(),
            object: object(kind::DISK, &disk.namespace, &disk.name),
            usage: of_disk(disk),
        };
        (taken, disk.host.clone())
    });
    vsis.chain(disks)
}

/// Counts the larger of an object's usage and its admission.
fn count_in(all: &mut UsageByTaker, one: &ObjectUsage) -> Result<(), FleetError> {
    let mut parts = one.object.splitn(3, '/');
    let (kind, name) = (parts.next(), parts.nth(1));
    let (Some(kind), Some(name)) = (kind, name) else {
        let why = format!("{} is not the name of an object", one.object);
        return Err(FleetError::defect(why));
    };
    let taker = match kind {
        kind::VSI => Taker::Vsi(name.to_owned()),
        kind::DISK => Taker::Disk(name.to_owned()),
        _ => Taker::Pool(name.to_owned()),
    };
    let usage = all.get(&one.namespace, &taker).max(one.usage);
    all.set(&one.namespace, taker, usage);
    Ok(())
}

fn object(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

/// The entity of an object's admission.
pub(in crate::fleet) fn admission_entity(object: &str) -> Result<EntityId, FleetError> {
    EntityId::new(Name::of(kind::ADMISSION), object).map_err(|_| {
        let failure = Failure::new(
            FailureClass::Blocked,
            "VSI0748",
            format!("{object} cannot be counted by its name"),
        )
        .with_remedy("use another name");
        FleetError::new(ErrorKind::Blocked, failure)
    })
}
