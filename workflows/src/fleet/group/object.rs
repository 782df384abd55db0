//! Groups as Kubernetes-shaped objects. The names of their keys are stable.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::fleet::{
    Condition, Fleet, FleetError, GroupHandle, Metadata, OtherJournal, PoolMember,
    group::reconcile::GroupPools,
    known::KnownGroup,
    pool::object::{disk_templates, template_json},
    unreadable::{LostEntity, UNREADABLE},
    vsi::conditions::condition,
    vsi::object::rfc3339,
};
use crate::{
    group::{self, GroupOutcome, GroupRecord, ItemRecord, ItemState, OutputValue, decide},
    record::kind,
    spec::{
        documents,
        group::{Gate, GateProbe, OutputPlace, OutputSource},
    },
};

/// A group.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Who it is.
    pub metadata: Metadata,
    /// Its desired state, without secrets.
    pub spec: Value,
    /// What is.
    pub status: GroupStatus,
}

/// What is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// `Available`, `Progressing`, `Degraded`, `Deleting`, `Deleted` or `Unreadable`.
    pub phase: &'static str,
    /// The wave that is worked on, or the last one.
    pub wave: String,
    /// How many members are to be there.
    pub replicas: u32,
    /// How many members are ready, those of a surge included.
    pub ready_replicas: u32,
    /// What keeps it from being available; empty where nothing does.
    pub message: String,
    /// The waves, in their order.
    pub waves: Vec<GroupWave>,
    /// What is read of members.
    pub outputs: Vec<GroupOutput>,
    /// What holds and what does not.
    pub conditions: Vec<Condition>,
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupWave {
    /// Its name.
    pub name: String,
    /// Whether its gate is open.
    pub open: bool,
    /// Its members and pools.
    pub items: Vec<GroupItem>,
}

/// A member or a pool of a wave.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupItem {
    /// Its name within the group.
    pub name: String,
    /// The name of its pool.
    pub pool: String,
    /// `Pending`, `Progressing`, `Available`, `Degraded`, `Deleting` or `Removed`.
    pub phase: &'static str,
    /// Whether it is as the document has it now.
    pub updated: bool,
    /// How many members are to be there.
    pub replicas: u32,
    /// Its members, by number.
    pub members: Vec<GroupMember>,
}

/// A member.
pub type GroupMember = PoolMember;

/// Something that is read of a member.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupOutput {
    /// Its name.
    pub name: String,
    /// The member, within the group.
    pub member: String,
    /// Whether it is kept as a secret.
    pub secret: bool,
    /// Whether it was read.
    pub found: bool,
    /// What was read, where it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl GroupItem {
    /// How many members are ready, those of a surge included.
    pub fn ready_members(&self) -> u32 {
        let ready = self.members.iter().filter(|member| member.ready);
        u32::try_from(ready.count()).unwrap_or(u32::MAX)
    }

    /// How many members are there or are to be there, whichever is more.
    pub(crate) fn largest_size(&self) -> u32 {
        let there = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.replicas.max(there)
    }
}

impl GroupHandle<'_> {
    /// All groups by namespace and name; with `deleted`, deleted ones too.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self, deleted: bool) -> Result<Vec<GroupObject>, FleetError> {
        Box::pin(self.list_over(deleted, &[])).await
    }

    /// All groups, with the members that are in other journals of a set.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub async fn list_over(
        self,
        deleted: bool,
        others: &[OtherJournal<'_>],
    ) -> Result<Vec<GroupObject>, FleetError> {
        let (groups, lost) = self.fleet.known_records::<GroupRecord>().await?;
        let mut objects = Vec::new();
        for group in groups.iter().filter(|group| deleted || !group.is_deleted()) {
            objects.push(Box::pin(self.fleet.group_object(group, others)).await?);
        }
        let lost = self.fleet.named(lost).await;
        objects.extend(lost.iter().map(|lost| self.fleet.lost_group(lost)));
        Ok(objects)
    }

    /// One group; a deleted one if no other has that name.
    ///
    /// # Errors
    /// When there is no group of that name, or the journal cannot be read.
    pub async fn get(self, namespace: &str, name: &str) -> Result<GroupObject, FleetError> {
        Box::pin(self.get_over(namespace, name, &[])).await
    }

    /// One group, with the members that are in other journals of a set.
    ///
    /// # Errors
    /// When there is no group of that name, or a journal cannot be read.
    pub async fn get_over(
        self,
        namespace: &str,
        name: &str,
        others: &[OtherJournal<'_>],
    ) -> Result<GroupObject, FleetError> {
        if let Some(lost) = self.fleet.lost_one(kind::GROUP, namespace, name).await? {
            return Ok(self.fleet.lost_group(&lost));
        }
        let group = self
            .fleet
            .find_record::<GroupRecord>(namespace, name, true)
            .await?;
        Box::pin(self.fleet.group_object(&group, others)).await
    }
}

impl Fleet {
    /// A group whose desired state cannot be read.
    fn lost_group(&self, lost: &LostEntity) -> GroupObject {
        let (metadata, changed) = self.lost_metadata(lost);
        GroupObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::GROUP,
            metadata,
            spec: json!({}),
            status: GroupStatus {
                phase: UNREADABLE,
                wave: String::new(),
                replicas: 0,
                ready_replicas: 0,
                message: lost.description(),
                waves: Vec::new(),
                outputs: Vec::new(),
                conditions: vec![lost.condition("Available", changed)],
            },
        }
    }

    pub(super) async fn group_object(
        &self,
        group: &KnownGroup,
        others: &[OtherJournal<'_>],
    ) -> Result<GroupObject, FleetError> {
        let partly = self.partly_lost(&group.entity, &group.state, group.place());
        if let Some(lost) = partly.await?.filter(|_| !group.is_deleted()) {
            return Ok(self.lost_group(&lost));
        }
        let found = Box::pin(self.group_pools(group, others)).await?;
        let (created, changed) = self.engine.times(&group.entity).unwrap_or_default();
        let record = &group.record;
        let outcome = decide(&found.view).outcome;
        let waves = Box::pin(self.group_waves(group, &found, others)).await?;
        let items = waves.iter().flat_map(|wave| &wave.items);
        let replicas = items.clone().map(|item| item.replicas).sum();
        let ready = items.clone().map(GroupItem::ready_members).sum();
        let members = items.map(GroupItem::largest_size);
        let phase = phase(group, outcome);
        let message = self.group_message(group, &found, outcome, (ready, members.sum()));
        let make = |name, holds| condition(name, holds, phase, &message, changed);
        let available = outcome == GroupOutcome::Available && !group.is_deleted();
        let conditions = vec![
            make("Available", available && !group.is_deleting()),
            make("Progressing", phase == "Progressing"),
            make("Degraded", phase == "Degraded"),
        ];
        Ok(GroupObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::GROUP,
            metadata: Metadata {
                name: record.name.clone(),
                namespace: record.namespace.clone(),
                uid: record.uid.to_string(),
                generation: group.generation(),
                creation_timestamp: rfc3339(created),
                labels: record.labels.clone(),
                annotations: BTreeMap::new(),
            },
            spec: spec(record),
            status: GroupStatus {
                phase,
                wave: wave_name(group, outcome),
                replicas,
                ready_replicas: ready,
                message,
                waves,
                outputs: outputs(record),
                conditions,
            },
        })
    }

    async fn group_waves(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        others: &[OtherJournal<'_>],
    ) -> Result<Vec<GroupWave>, FleetError> {
        let mut waves = Vec::new();
        for (wave, view) in group.record.waves.iter().zip(&found.view.waves) {
            let mut items = Vec::new();
            for (item, item_view) in wave.items.iter().zip(&view.items) {
                let pool = found.pools.get(&item.name);
                let members = match pool {
                    Some(pool) => Box::pin(self.pool_members(pool, others)).await?,
                    None => Vec::new(),
                };
                let replicas = pool.map_or(item.replicas.unwrap_or(1), |pool| pool.record.replicas);
                items.push(GroupItem {
                    name: item.name.clone(),
                    pool: group::pool_name(&group.record.name, &item.name),
                    phase: item_phase(item_view.state, item_view.removed),
                    updated: item_view.current,
                    replicas: if item_view.removed { 0 } else { replicas },
                    members,
                });
            }
            waves.push(GroupWave {
                name: wave.name.clone(),
                open: view.open,
                items,
            });
        }
        Ok(waves)
    }

    fn group_message(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        outcome: GroupOutcome,
        (ready, members): (u32, u32),
    ) -> String {
        let blocked = match self.verdict(&group.entity) {
            Some(
                crate::fleet::Verdict::Blocked(failure) | crate::fleet::Verdict::Failed(failure),
            ) => Some(failure.to_string()),
            _ => None,
        };
        let name = |wave: usize| group.wave_name(wave).to_owned();
        let unchecked = || {
            let is_asking = self.pools.drives(&group.entity);
            let why = if is_asking {
                "its members are being asked"
            } else {
                "it is not being checked now, as no process works on the group here"
            };
            why.to_owned()
        };
        match outcome {
            GroupOutcome::Available | GroupOutcome::Gone => String::new(),
            GroupOutcome::Gate(wave) => {
                let why = self.pools.closed_gate(&group.entity);
                let why = blocked.or(why).unwrap_or_else(unchecked);
                format!("the gate of wave {} is closed: {why}", name(wave))
            }
            GroupOutcome::Outputs(wave) => {
                let why = self.pools.closed_gate(&group.entity);
                let why = blocked.or(why).unwrap_or_else(unchecked);
                format!("wave {}: an output is not read yet: {why}", name(wave))
            }
            GroupOutcome::Progressing(wave) => blocked.unwrap_or_else(|| {
                let ready = format!("wave {}: {ready} of {members} members ready", name(wave));
                let open = group.record.waves.iter();
                let open = open.filter(|one| group.record.is_open(one));
                // What is made from them waits.
                let unread = open.flat_map(|one| group.unread(one, &found.pools));
                let unread: Vec<_> = unread.map(|output| output.name.as_str()).collect();
                match unread.as_slice() {
                    [] => ready,
                    names => format!("{ready}; not read yet: output {}", names.join(", ")),
                }
            }),
            GroupOutcome::Held => group.not_ordered().to_string(),
            GroupOutcome::Stuck(wave, item) => {
                let item = group.item_at(wave, item);
                let item = item.map(|item| item.name.as_str()).unwrap_or_default();
                let of_pool = found
                    .pools
                    .get(item)
                    .and_then(|pool| self.verdict(&pool.entity));
                let of_pool = match of_pool {
                    Some(
                        crate::fleet::Verdict::Blocked(why) | crate::fleet::Verdict::Failed(why),
                    ) => Some(why.to_string()),
                    _ => None,
                };
                let why = blocked
                    .or(of_pool)
                    .unwrap_or_else(|| "it is stuck".to_owned());
                format!("wave {}, {item}: {why}", name(wave))
            }
        }
    }
}

fn phase(group: &KnownGroup, outcome: GroupOutcome) -> &'static str {
    match outcome {
        _ if group.is_deleted() => "Deleted",
        _ if group.is_deleting() => "Deleting",
        GroupOutcome::Available => "Available",
        GroupOutcome::Progressing(_)
        | GroupOutcome::Gate(_)
        | GroupOutcome::Outputs(_)
        | GroupOutcome::Gone => "Progressing",
        GroupOutcome::Stuck(..) | GroupOutcome::Held => "Degraded",
    }
}

fn item_phase(state: ItemState, removed: bool) -> &'static str {
    match state {
        ItemState::Missing if removed => "Removed",
        ItemState::Missing => "Pending",
        ItemState::Busy => "Progressing",
        ItemState::Available => "Available",
        ItemState::Stuck => "Degraded",
        ItemState::Deleting { .. } => "Deleting",
    }
}

fn wave_name(group: &KnownGroup, outcome: GroupOutcome) -> String {
    match outcome {
        GroupOutcome::Progressing(wave)
        | GroupOutcome::Gate(wave)
        | GroupOutcome::Outputs(wave)
        | GroupOutcome::Stuck(wave, _) => group.wave_name(wave).to_owned(),
        GroupOutcome::Available => {
            let last = group.record.waves.last();
            last.map(|wave| wave.name.clone()).unwrap_or_default()
        }
        GroupOutcome::Gone | GroupOutcome::Held => String::new(),
    }
}

fn outputs(record: &GroupRecord) -> Vec<GroupOutput> {
    let outputs = record.outputs.iter().map(|output| {
        let found = record.found.get(&output.name);
        GroupOutput {
            name: output.name.clone(),
            member: format!("{}-{}", output.item, output.number),
            secret: output.secret,
            found: found.is_some(),
            value: match found {
                Some(OutputValue::Shown(text)) if !output.secret => Some(text.clone()),
                Some(OutputValue::Shown(_) | OutputValue::Secret(_)) | None => None,
            },
        }
    });
    outputs.collect()
}

fn spec(record: &GroupRecord) -> Value {
    let waves = record.waves.iter().map(|wave| {
        let (single, pools): (Vec<_>, Vec<_>) = wave.items.iter().partition(|item| item.single);
        json!({
            "name": wave.name,
            "members": single.into_iter().map(item).collect::<Vec<_>>(),
            "pools": pools.into_iter().map(item).collect::<Vec<_>>(),
            "gate": gate(&wave.gate),
        })
    });
    let mut shown = json!({"release": record.release, "waves": waves.collect::<Vec<_>>()});
    if let (false, Some(fields)) = (record.outputs.is_empty(), shown.as_object_mut()) {
        let outputs = record.outputs.iter().map(output);
        fields.insert("outputs".to_owned(), outputs.collect());
    }
    shown
}

/// A gate, as documents write it.
fn gate(gate: &Gate) -> Value {
    let probes = gate.probes.iter().map(|probe| match probe {
        GateProbe::Guest(probe) => json!(probe),
        GateProbe::Command(command) => json!({"agentCommand": command}),
    });
    let mut shown = json!({"members": gate.members});
    if let (false, Some(fields)) = (gate.probes.is_empty(), shown.as_object_mut()) {
        fields.insert("probes".to_owned(), probes.collect());
    }
    shown
}

/// An output, as documents write it.
fn output(output: &OutputSource) -> Value {
    let member = format!("{}-{}", output.item, output.number);
    let (name, secret) = (&output.name, output.secret);
    match &output.from {
        OutputPlace::File(file) => {
            json!({"name": name, "member": member, "file": file, "secret": secret})
        }
        OutputPlace::Console(console) => {
            json!({"name": name, "member": member, "console": console, "secret": secret})
        }
    }
}

fn item(item: &ItemRecord) -> Value {
    let mut shown = json!({
        "name": item.name,
        "removeAfter": item.remove_after,
        "template": template_json(&item.template),
    });
    let Some(fields) = shown.as_object_mut() else {
        return shown;
    };
    if !item.single {
        fields.insert("replicas".to_owned(), json!(item.replicas));
        fields.insert("strategy".to_owned(), json!(item.strategy));
    }
    if !item.template.disks.is_empty() {
        fields.insert("diskTemplates".to_owned(), disk_templates(&item.template));
    }
    shown
}
