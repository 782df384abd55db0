//! Server types: the built-in ones, and those from documents.
//!
//! A virtual server retains the values that its type had when it was made. So a type may be changed and
//! deleted at any time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Name, Precedence},
};

use super::{
    Fleet, FleetError, ServerTypeHandle,
    apply::{Applied, Change},
    store::DesiredUpdates,
    unreadable::{DesiredReading, LostEntity, UNREADABLE},
};
use crate::{
    plan::{self, How},
    record::kind,
    spec::server_type::{DesiredServerType, SERVER_TYPES, ServerTypeSpec, TypeGuest},
};

/// A server type in the journal; without a spec, a deleted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TypeRecord {
    #[serde(default)]
    spec: Option<ServerTypeSpec>,
}

/// A server type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTypeObject {
    /// Its name.
    pub name: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory, as documents write it.
    pub memory: String,
    /// The size of the boot disk, as documents write it; if absent, the size of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_disk: Option<String>,
    /// The guest settings that apply if a document gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<TypeGuest>,
    /// Whether it is built in.
    pub built_in: bool,
    /// `Unreadable` if its record cannot be read; then its name alone is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<&'static str>,
    /// Why it cannot be read, and what can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ServerTypeObject {
    fn lost(lost: &LostEntity) -> Self {
        let (_, name) = lost.place();
        Self {
            name,
            cpus: 0,
            memory: String::new(),
            boot_disk: None,
            guest: None,
            built_in: false,
            phase: Some(UNREADABLE),
            message: Some(lost.description()),
        }
    }

    fn of(name: &str, spec: ServerTypeSpec) -> Result<Self, FleetError> {
        let text = |value: serde_json::Result<serde_json::Value>| match value {
            Ok(serde_json::Value::String(text)) => Ok(text),
            _ => Err(FleetError::defect("a size that is no text")),
        };
        let boot_disk = spec.boot_disk.map(serde_json::to_value);
        Ok(Self {
            name: name.to_owned(),
            cpus: spec.cpus,
            memory: text(serde_json::to_value(spec.memory))?,
            boot_disk: boot_disk.map(text).transpose()?,
            guest: Some(spec.guest).filter(|guest| *guest != TypeGuest::default()),
            built_in: false,
            phase: None,
            message: None,
        })
    }
}

/// The recorded state of one type.
enum KnownType {
    None,
    Spec(ServerTypeSpec),
    /// It cannot be read; its document may be applied again.
    Lost,
}

impl KnownType {
    fn spec(&self) -> Option<&ServerTypeSpec> {
        match self {
            Self::Spec(spec) => Some(spec),
            Self::None | Self::Lost => None,
        }
    }
}

fn built_in() -> impl Iterator<Item = ServerTypeObject> {
    SERVER_TYPES.into_iter().map(|size| ServerTypeObject {
        name: size.name.to_owned(),
        cpus: size.cpus,
        memory: size.memory.to_owned(),
        boot_disk: Some(size.boot_disk.to_owned()),
        guest: None,
        built_in: true,
        phase: None,
        message: None,
    })
}

impl ServerTypeHandle<'_> {
    /// All types: the built-in ones, then those from documents by name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self) -> Result<Vec<ServerTypeObject>, FleetError> {
        let mut types: Vec<_> = built_in().collect();
        let recorded = self.fleet.read_all_whole::<TypeRecord>(kind::TYPE).await?;
        let lost = self.fleet.named(recorded.lost).await;
        let mut of_documents: Vec<_> = lost.iter().map(ServerTypeObject::lost).collect();
        for (entity, _, record) in recorded.read {
            if let Some(spec) = record.spec {
                of_documents.push(ServerTypeObject::of(entity.id(), spec)?);
            }
        }
        of_documents.sort_by(|a, b| a.name.cmp(&b.name));
        types.extend(of_documents);
        Ok(types)
    }

    /// Deletes a type. Virtual servers that were made from it stay as they are.
    ///
    /// # Errors
    /// When no document defines a type of that name, `VSI0018` when its record cannot be read, or when the journal
    /// cannot be written.
    pub async fn delete(self, name: &str, by: By) -> Result<(), FleetError> {
        self.fleet.refuse_absence(kind::TYPE, "", name).await?;
        if !self.has(name).await? {
            return Err(FleetError::not_found("type", name));
        }
        let mut updates = DesiredUpdates::default();
        record(&mut updates, name, &TypeRecord { spec: None })?;
        self.fleet.record(updates, by).await
    }

    /// Whether a document defines a type of that name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn has(self, name: &str) -> Result<bool, FleetError> {
        Ok(!matches!(
            self.fleet.server_type(name).await?,
            KnownType::None
        ))
    }
}

impl Fleet {
    async fn server_type(&self, name: &str) -> Result<KnownType, FleetError> {
        let entity = EntityId::new(Name::of(kind::TYPE), name).ok();
        let Some(entity) = entity else {
            return Ok(KnownType::None);
        };
        let Some(state) = self.engine.entity(&entity) else {
            return Ok(KnownType::None);
        };
        let read: DesiredReading<TypeRecord> = self.read_whole(&entity, &state).await?;
        Ok(match read {
            DesiredReading::Record(record) => record.spec.map_or(KnownType::None, KnownType::Spec),
            DesiredReading::Nothing => KnownType::None,
            DesiredReading::Lost(_) => KnownType::Lost,
        })
    }

    /// Drafts the change of each type's document.
    pub(super) async fn draft_types(
        &self,
        types: &[DesiredServerType],
        updates: &mut DesiredUpdates,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        for DesiredServerType { name, spec } in types {
            let before = self.server_type(name).await?;
            let change = match &before {
                KnownType::None => Change::Created,
                KnownType::Spec(before) if before == spec => Change::Unchanged,
                KnownType::Spec(_) | KnownType::Lost => Change::Configured,
            };
            // No run works on a type, so callers do not wait for it.
            let mut applied = Applied::unplanned(kind::TYPE, "default", name, None, change);
            if change == Change::Configured {
                applied.plan.changes.push(changed(before.spec(), spec)?);
            }
            if change != Change::Unchanged {
                let spec = Some(spec.clone());
                record(updates, name, &TypeRecord { spec })?;
            }
            all.push(applied);
        }
        Ok(all)
    }
}

fn changed(
    before: Option<&ServerTypeSpec>,
    after: &ServerTypeSpec,
) -> Result<plan::PlannedChange, FleetError> {
    let defect = |error: serde_json::Error| FleetError::defect(error.to_string());
    Ok(plan::PlannedChange {
        path: "spec".to_owned(),
        before: before
            .map(serde_json::to_value)
            .transpose()
            .map_err(defect)?,
        after: Some(serde_json::to_value(after).map_err(defect)?),
        how: How::Recorded,
        why: "virtual servers that were made of it stay as they are".to_owned(),
    })
}

fn record(updates: &mut DesiredUpdates, name: &str, record: &TypeRecord) -> Result<(), FleetError> {
    let entity = EntityId::new(Name::of(kind::TYPE), name);
    let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
    updates.add(entity, kind::TYPE, Precedence::Record, record, None)
}
