//! The targets of a command, found by the names that users gave them.

use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{fleet::NamedObject, record::kind};

use crate::{compose::App, exit::ExitProblem, output::label};

/// An entity that a command works on, such as a VSI, a data disk or an image.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) entity: EntityId,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl From<NamedObject> for Target {
    fn from(object: NamedObject) -> Self {
        Self {
            entity: object.entity,
            namespace: object.namespace,
            name: object.name,
        }
    }
}

impl Target {
    /// An image; images have no namespace.
    pub(crate) fn image(entity: EntityId, name: String) -> Self {
        let namespace = "default".to_owned();
        Self {
            entity,
            namespace,
            name,
        }
    }

    pub(crate) fn label(&self) -> String {
        label(&self.namespace, &self.name)
    }

    /// The name with its kind, as `vsi/NAME`.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.entity.kind(), self.label())
    }

    /// The name as commands accept it: a VSI without its kind.
    pub(crate) fn word(&self) -> String {
        if self.is_vsi() {
            self.label()
        } else {
            self.shown()
        }
    }

    pub(crate) fn is_vsi(&self) -> bool {
        self.entity.kind().as_str() == kind::VSI
    }

    pub(crate) fn is_pool(&self) -> bool {
        self.entity.kind().as_str() == kind::POOL
    }

    pub(crate) fn is_group(&self) -> bool {
        self.entity.kind().as_str() == kind::GROUP
    }

    /// Whether it is a data disk or a network, of which a list shows more than a word.
    pub(super) fn is_disk(&self) -> bool {
        [kind::DISK, kind::NETWORK].contains(&self.entity.kind().as_str())
    }
}

/// The prefix of a data disk's name.
pub(crate) const DISK: &str = "disk/";

/// The prefix of a snapshot's name.
pub(crate) const SNAPSHOT: &str = "snapshot/";

/// The prefix of a pool's name.
pub(crate) const POOL: &str = "pool/";

/// The prefix of a group's name.
pub(crate) const GROUP: &str = "group/";

/// The prefix of a quota's name.
pub(crate) const QUOTA: &str = "quota/";

/// The prefix of a host's name.
pub(crate) const HOST: &str = "host/";

/// The prefix of a type's name.
pub(crate) const TYPE: &str = "type/";

/// The VSIs, pools, groups and data disks with these names, each once.
pub(crate) async fn targets_named(
    app: &App,
    namespace: &str,
    names: &[String],
) -> Result<Vec<Target>, ExitProblem> {
    let named = app.fleet.objects_named(namespace, names).await?;
    Ok(named.into_iter().map(Target::from).collect())
}

/// Targets for entities, with their names.
pub(crate) async fn targets_of(
    app: &App,
    entities: &[EntityId],
) -> Result<Vec<Target>, ExitProblem> {
    let named = app.fleet.vsis_of(entities).await?;
    Ok(named.into_iter().map(Target::from).collect())
}
