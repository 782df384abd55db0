//! Pools as Kubernetes-shaped objects. The names of their keys are stable.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_engine::model::Timestamp;

use crate::fleet::{
    Condition, Fleet, FleetError, Metadata, OtherJournal, PoolHandle, Verdict,
    known::KnownPool,
    pool::{members::PoolMembers, template},
    unreadable::{LostEntity, LostState, UNREADABLE},
    vsi::conditions::condition,
    vsi::object::rfc3339,
};
use crate::{
    group,
    phase::Phase,
    plan::Plan,
    pool::{MemberState, PoolOutcome, PoolRecord, PoolView, TemplateRecord, decide, member_name},
    record::kind,
    spec::documents,
};

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Who it is.
    pub metadata: Metadata,
    /// Its desired state, without secrets.
    pub spec: Value,
    /// What is.
    pub status: PoolStatus,
}

/// What is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// `Available`, `Progressing`, `Degraded`, `Blocked`, `Deleting`, `Deleted` or `Unreadable`.
    pub phase: &'static str,
    /// How many members there are, those of a surge and those that are being deleted included.
    pub replicas: u32,
    /// How many members are ready, those of a surge included.
    pub ready_replicas: u32,
    /// How many members are made from the current template, those of a surge included. Not those that are being
    /// deleted.
    pub updated_replicas: u32,
    /// The revision of the template that members are brought to.
    pub revision: String,
    /// The one before, which `rollback` goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_revision: Option<String>,
    /// What keeps it from being available; empty where nothing does.
    pub message: String,
    /// The revision of a template that waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposed_revision: Option<String>,
    /// What a change that waits for approval costs each member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<Plan>,
    /// The members, by number.
    pub members: Vec<PoolMember>,
    /// What holds and what does not.
    pub conditions: Vec<Condition>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolMember {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u32,
    /// Its identity.
    pub uid: String,
    /// Its phase.
    pub phase: Phase,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is made from the current template.
    pub updated: bool,
    /// Whether it is left out of rollouts.
    pub cordoned: bool,
    /// The host that it is to leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves: Option<String>,
}

impl PoolObject {
    /// The ID of the template change that waits for approval: the pool's UID and the old and new
    /// revisions.
    pub fn proposal_id(&self) -> Option<String> {
        let status = &self.status;
        let to = status.proposed_revision.as_ref()?;
        Some(format!("{}.{}.{to}", self.metadata.uid, status.revision))
    }
}

impl PoolHandle<'_> {
    /// All pools by namespace and name; with `deleted`, deleted ones too.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self, deleted: bool) -> Result<Vec<PoolObject>, FleetError> {
        let (pools, lost) = self.fleet.known_records::<PoolRecord>().await?;
        let mut objects = Vec::new();
        for pool in pools.iter().filter(|pool| deleted || !pool.is_deleted()) {
            objects.push(self.fleet.pool_object(pool).await?);
        }
        objects.extend(self.fleet.lost_pools(lost).await);
        Ok(objects)
    }

    /// One pool; a deleted one if no other has that name.
    ///
    /// # Errors
    /// When there is no pool of that name, or the journal cannot be read.
    pub async fn get(self, namespace: &str, name: &str) -> Result<PoolObject, FleetError> {
        if let Some(lost) = self.fleet.lost_one(kind::POOL, namespace, name).await? {
            return Ok(self.fleet.lost_pool(&lost));
        }
        let pool = self
            .fleet
            .find_record::<PoolRecord>(namespace, name, true)
            .await?;
        self.fleet.pool_object(&pool).await
    }
}

impl Fleet {
    /// Pools whose desired state cannot be read.
    pub(super) async fn lost_pools(&self, lost: Vec<LostState>) -> Vec<PoolObject> {
        let lost = self.named(lost).await;
        lost.iter().map(|lost| self.lost_pool(lost)).collect()
    }

    /// A pool whose desired state cannot be read.
    pub(super) fn lost_pool(&self, lost: &LostEntity) -> PoolObject {
        let (metadata, changed) = self.lost_metadata(lost);
        PoolObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::POOL,
            metadata,
            spec: json!({}),
            status: PoolStatus {
                phase: UNREADABLE,
                replicas: 0,
                ready_replicas: 0,
                updated_replicas: 0,
                revision: String::new(),
                previous_revision: None,
                message: lost.description(),
                proposed_revision: None,
                proposal: None,
                members: Vec::new(),
                conditions: vec![lost.condition("Available", changed)],
            },
        }
    }

    /// The pool, as unreadable, if a part of it cannot be read.
    pub(super) async fn partly_lost_pool(
        &self,
        pool: &KnownPool,
    ) -> Result<Option<PoolObject>, FleetError> {
        let partly = self.partly_lost(&pool.entity, &pool.state, pool.place());
        let lost = partly.await?.filter(|_| !pool.is_deleted());
        Ok(lost.map(|lost| self.lost_pool(&lost)))
    }

    async fn pool_object(&self, pool: &KnownPool) -> Result<PoolObject, FleetError> {
        if let Some(lost) = self.partly_lost_pool(pool).await? {
            return Ok(lost);
        }
        if let Some(report) = self.pools.report(&pool.entity) {
            let blocked = match self.pools.verdict(&pool.entity, pool.generation()) {
                Some(Verdict::Blocked(failure)) => Some(failure.to_string()),
                _ => None,
            };
            return Ok(self.pool_object_with(pool, &report.counted(pool, blocked)));
        }
        let found = self.members(pool).await?;
        Ok(self.pool_object_of(pool, &found, &BTreeMap::new()))
    }

    /// A pool with these members; `obstacles` are those of members of other journals, by number.
    pub(super) fn pool_object_of(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        obstacles: &BTreeMap<u32, String>,
    ) -> PoolObject {
        let counted = self.counted_members(&pool.record, found, obstacles);
        self.pool_object_with(pool, &counted)
    }

    fn pool_object_with(&self, pool: &KnownPool, counted: &CountedMembers) -> PoolObject {
        let (created, changed) = self.engine.times(&pool.entity).unwrap_or_default();
        let record = &pool.record;
        PoolObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::POOL,
            metadata: Metadata {
                name: record.name.clone(),
                namespace: record.namespace.clone(),
                uid: record.uid.to_string(),
                generation: pool.generation(),
                creation_timestamp: rfc3339(created),
                labels: record.labels.clone(),
                annotations: annotations(record),
            },
            spec: spec(record),
            status: pool_status(pool, counted, changed),
        }
    }

    /// The members of a pool: read from `others` if given, else from the last report.
    pub(in crate::fleet) async fn pool_members(
        &self,
        pool: &KnownPool,
        others: &[OtherJournal<'_>],
    ) -> Result<Vec<PoolMember>, FleetError> {
        if others.is_empty()
            && let Some(report) = self.pools.report(&pool.entity)
        {
            return Ok(report.counted(pool, None).members);
        }
        let (found, _) = Box::pin(self.members_over(pool, others)).await?;
        Ok(member_objects(&pool.record, &found))
    }

    fn counted_members(
        &self,
        record: &PoolRecord,
        found: &PoolMembers,
        obstacles: &BTreeMap<u32, String>,
    ) -> CountedMembers {
        let mut obstacles = obstacles.clone();
        let outcome = decide(&found.view).outcome;
        if let PoolOutcome::Stuck(number) = outcome
            && let Some(known) = found.members.get(&number)
        {
            let own = self.obstacle(&known.entity);
            let own = own.map(|failure| failure.to_string());
            let recorded = known.state.state.as_ref();
            let recorded = recorded.map(|(_, detail)| detail.to_string());
            let why = own.or_else(|| obstacles.remove(&number)).or(recorded);
            obstacles.extend(why.map(|why| (number, why)));
        }
        let progresses = outcome == PoolOutcome::Progressing;
        let paused = self.global_pause().filter(|_| progresses);
        CountedMembers {
            view: found.view.clone(),
            members: member_objects(record, found),
            obstacles,
            blocked: paused.map(|why| why.to_string()),
        }
    }
}

/// The members of a pool, and their obstacles.
pub(in crate::fleet::pool) struct CountedMembers {
    pub(super) view: PoolView,
    /// Existing members.
    pub(super) members: Vec<PoolMember>,
    /// Why some do not reach their desired state, by number.
    pub(super) obstacles: BTreeMap<u32, String>,
    /// Why the pool itself is blocked.
    pub(super) blocked: Option<String>,
}

fn pool_status(pool: &KnownPool, found: &CountedMembers, changed: Timestamp) -> PoolStatus {
    let record = &pool.record;
    let outcome = decide(&found.view).outcome;
    let phase = phase(pool, outcome);
    let blocked = found.blocked.clone();
    let message = blocked.unwrap_or_else(|| pool_message(pool, found, outcome));
    let make = |name, holds| condition(name, holds, phase, &message, changed);
    let mut conditions = vec![
        make(
            "Available",
            outcome == PoolOutcome::Available && !pool.is_deleted(),
        ),
        make("Progressing", outcome == PoolOutcome::Progressing),
        make(
            "Degraded",
            matches!(outcome, PoolOutcome::Stuck(_) | PoolOutcome::Off(_)),
        ),
    ];
    if record.proposed.is_some() {
        let approval = "a change of the template waits for `vsiflow approve`";
        let reason = "AwaitingApproval";
        conditions.push(condition(
            "UpdateApproved",
            false,
            reason,
            approval,
            changed,
        ));
    }
    PoolStatus {
        phase,
        replicas: u32::try_from(found.members.len()).unwrap_or(u32::MAX),
        ready_replicas: found.view.ready_members(),
        updated_replicas: found.view.updated_members(),
        revision: record.template.revision.clone(),
        previous_revision: record.previous.as_ref().map(|one| one.revision.clone()),
        proposed_revision: record.proposed.as_ref().map(|one| one.revision.clone()),
        proposal: record
            .proposed
            .as_ref()
            .map(|proposed| template::plan(&record.template, proposed)),
        members: found.members.clone(),
        conditions,
        message,
    }
}

fn pool_message(pool: &KnownPool, found: &CountedMembers, outcome: PoolOutcome) -> String {
    let name = |number: u32| member_name(&pool.record.name, number);
    match outcome {
        PoolOutcome::Available | PoolOutcome::Gone => String::new(),
        PoolOutcome::Progressing => {
            let moving = match pool.record.evicting.len() {
                0 => String::new(),
                some => format!(", {some} on the way to other hosts"),
            };
            let (ready, updated) = (found.view.ready_members(), found.view.updated_members());
            let there = u32::try_from(found.members.len()).unwrap_or(u32::MAX);
            let members = pool.record.replicas.max(there);
            format!("{ready} of {members} ready, {updated} of {members} updated{moving}")
        }
        PoolOutcome::Off(number) => {
            format!("{} is off or suspended, as requested", name(number))
        }
        PoolOutcome::Foreign(number) => {
            format!("{} is a VSI that the pool did not make", name(number))
        }
        PoolOutcome::Held => pool.not_ordered().to_string(),
        PoolOutcome::Stuck(number) => {
            let why = found.obstacles.get(&number).map_or("", String::as_str);
            format!("{}: {why}", name(number))
        }
    }
}

/// The annotation that identifies a pool's group.
fn annotations(record: &PoolRecord) -> BTreeMap<String, String> {
    let of = record.of_group.iter();
    let uid = of.map(|of| (group::UID_ANNOTATION.to_owned(), of.uid.to_string()));
    uid.collect()
}

fn member_objects(record: &PoolRecord, found: &PoolMembers) -> Vec<PoolMember> {
    let members = found.members.iter().map(|(number, known)| {
        let view = found.view.members.get(number);
        PoolMember {
            name: known.record.vsi.name.clone(),
            number: *number,
            uid: known.entity.id().to_owned(),
            phase: known.phase(),
            ready: view.is_some_and(|view| view.state == MemberState::Ready),
            updated: view.is_some_and(|view| view.current),
            cordoned: record.cordoned.contains(number),
            leaves: record
                .evicting
                .get(&known.record.uid)
                .map(|eviction| eviction.from.clone()),
        }
    });
    members.collect()
}

fn phase(pool: &KnownPool, outcome: PoolOutcome) -> &'static str {
    match outcome {
        _ if pool.is_deleted() => "Deleted",
        _ if pool.is_deleting() => "Deleting",
        PoolOutcome::Available => "Available",
        PoolOutcome::Progressing | PoolOutcome::Gone => "Progressing",
        PoolOutcome::Stuck(_) | PoolOutcome::Off(_) => "Degraded",
        PoolOutcome::Foreign(_) | PoolOutcome::Held => "Blocked",
    }
}

fn spec(record: &PoolRecord) -> Value {
    let mut spec = json!({
        "replicas": record.replicas,
        "strategy": record.strategy,
        "updatePolicy": record.update_policy,
        "template": template_json(&record.template),
    });
    if let (false, Some(fields)) = (record.template.disks.is_empty(), spec.as_object_mut()) {
        fields.insert("diskTemplates".to_owned(), disk_templates(&record.template));
    }
    spec
}

/// The templates of the members' data disks, as documents write them.
pub(in crate::fleet) fn disk_templates(template: &TemplateRecord) -> Value {
    let disks = template.disks.iter().map(|disk| {
        let mut shown = json!({
            "metadata": {"name": disk.name, "labels": disk.labels},
            "spec": {
                "size": disk.size, "storagePool": disk.pool, "deletionPolicy": disk.deletion_policy,
            },
        });
        let fields = shown.get_mut("spec").and_then(Value::as_object_mut);
        if let (Some(source), Some(fields)) = (&disk.source, fields) {
            fields.insert("source".to_owned(), source.shown());
        }
        shown
    });
    disks.collect()
}

/// A template, shown like the spec of a VSI.
pub(in crate::fleet) fn template_json(template: &TemplateRecord) -> Value {
    let mut spec = crate::fleet::vsi::object::spec_of(&template::record(template));
    if let Some(fields) = spec.as_object_mut() {
        // Those of members are in `diskTemplates`.
        fields.remove("disks");
    }
    let guest = spec.get_mut("guest").and_then(Value::as_object_mut);
    if let (true, Some(guest)) = (template.names_guests, guest) {
        // Each member has its own.
        guest.remove("hostname");
    }
    let mut shown = json!({"metadata": {"labels": template.vsi.labels}, "spec": spec});
    if let (true, Some(fields)) = (template.evictable, shown.as_object_mut()) {
        fields.insert("evictable".to_owned(), json!(true));
    }
    shown
}
