//! The targets of a command, found by the names that users gave them.

use serde::Serialize;
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::{DiskObject, FleetError, GroupObject, PoolObject, VsiObject},
    record::kind,
};

use crate::{
    args::{ObjectKind, OutputFormat},
    compose::App,
    exit::ExitProblem,
    output::{self, label, table},
};

/// An entity that a command works on, such as a VSI, a data disk or an image.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) entity: EntityId,
    pub(crate) namespace: String,
    pub(crate) name: String,
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
    pub(super) fn word(&self) -> String {
        if self.is_vsi() {
            self.label()
        } else {
            self.shown()
        }
    }

    pub(crate) fn is_vsi(&self) -> bool {
        self.entity.kind().as_str() == kind::VSI
    }

    pub(super) fn is_pool(&self) -> bool {
        self.entity.kind().as_str() == kind::POOL
    }

    pub(super) fn is_group(&self) -> bool {
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

/// The prefix of a network's name.
pub(crate) const NETWORK: &str = "network/";

/// The prefix of a quota's name.
pub(crate) const QUOTA: &str = "quota/";

/// The prefix of a host's name.
pub(crate) const HOST: &str = "host/";

/// The prefix of a type's name.
pub(crate) const TYPE: &str = "type/";

/// The error for an unknown quota.
pub(crate) fn no_quota(name: &str) -> ExitProblem {
    let message = format!("{QUOTA}{name} is not known here");
    let remedy = "`vsiflow get quotas` lists the quotas";
    ExitProblem::new(crate::exit::Exit::NotFound, "VSI0703", message, remedy)
}

/// The group with that name.
pub(crate) async fn group_named(
    app: &App,
    namespace: &str,
    name: &str,
) -> Result<Target, FleetError> {
    let entity = app.fleet.groups().find(namespace, name).await?;
    let (recorded_namespace, recorded_name) = app.fleet.groups().title(&entity).await?;
    Ok(Target {
        entity,
        namespace: recorded_namespace,
        name: recorded_name,
    })
}

/// The name of a group in `group/NAME`; `None` for other kinds.
fn group_name(name: &str) -> Option<&str> {
    let (kind, name) = name.split_once('/')?;
    (ObjectKind::named(kind) == Some(ObjectKind::Group)).then_some(name)
}

/// The name of a pool in `pool/NAME`; `None` for other kinds.
pub(crate) fn pool_name(name: &str) -> Option<&str> {
    let (kind, name) = name.split_once('/')?;
    (ObjectKind::named(kind) == Some(ObjectKind::Pool)).then_some(name)
}

/// The name of a network in `network/NAME`; `None` for other kinds.
fn network_name(name: &str) -> Option<&str> {
    let (kind, name) = name.split_once('/')?;
    (ObjectKind::named(kind) == Some(ObjectKind::Network)).then_some(name)
}

/// The network with that name, on each of its hosts.
async fn networks_named(app: &App, namespace: &str, name: &str) -> Result<Vec<Target>, FleetError> {
    let entities = app.fleet.networks().find(namespace, name).await?;
    let (namespace, name) = name.split_once('/').unwrap_or((namespace, name));
    let targets = entities.into_iter().map(|entity| Target {
        entity,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    });
    Ok(targets.collect())
}

/// The pool with that name.
pub(crate) async fn pool_named(
    app: &App,
    namespace: &str,
    name: &str,
) -> Result<Target, FleetError> {
    let entity = app.fleet.pools().find(namespace, name).await?;
    pool_of(app, &entity).await
}

/// A pool as a target.
pub(crate) async fn pool_of(app: &App, entity: &EntityId) -> Result<Target, FleetError> {
    let (namespace, name) = app.fleet.pools().title(entity).await?;
    Ok(Target {
        entity: entity.clone(),
        namespace,
        name,
    })
}

/// The VSIs, pools, groups and data disks with these names.
pub(crate) async fn targets_named(
    app: &App,
    namespace: &str,
    names: &[String],
) -> Result<Vec<Target>, ExitProblem> {
    let mut targets = Vec::new();
    for name in names {
        if let Some(pool) = pool_name(name) {
            targets.push(pool_named(app, namespace, pool).await?);
            continue;
        }
        if let Some(group) = group_name(name) {
            targets.push(group_named(app, namespace, group).await?);
            continue;
        }
        if let Some(snapshot) = name.strip_prefix(SNAPSHOT) {
            targets.push(Target {
                entity: app.fleet.snapshots().find(namespace, snapshot).await?,
                namespace: namespace.to_owned(),
                name: snapshot.to_owned(),
            });
            continue;
        }
        if let Some(network) = network_name(name) {
            targets.extend(networks_named(app, namespace, network).await?);
            continue;
        }
        let (name, entity) = match name.strip_prefix(DISK) {
            Some(name) => (
                name.to_owned(),
                app.fleet.disks().find(namespace, name).await?,
            ),
            None => {
                let name = crate::args::without_kind(name).to_owned();
                let entity = app.fleet.vsis().find(namespace, &name).await?;
                (name, entity)
            }
        };
        let (namespace, name) = match name.split_once('/') {
            Some((own_namespace, name)) => (own_namespace.to_owned(), name.to_owned()),
            None => (namespace.to_owned(), name),
        };
        targets.push(Target {
            entity,
            namespace,
            name,
        });
    }
    Ok(targets)
}

/// Targets for entities, with their names.
pub(crate) async fn targets_of(
    app: &App,
    entities: &[EntityId],
) -> Result<Vec<Target>, ExitProblem> {
    let objects = app.fleet.vsis().list(false).await?;
    let named = entities.iter().filter_map(|entity| {
        let object = objects
            .iter()
            .find(|object| object.metadata.uid == entity.id())?;
        Some(Target {
            entity: entity.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
        })
    });
    Ok(named.collect())
}

/// An object as it is printed.
#[derive(Serialize)]
#[serde(untagged)]
enum TargetObject {
    Vsi(Box<VsiObject>),
    Disk(Box<DiskObject>),
    Pool(Box<PoolObject>),
    Group(Box<GroupObject>),
}

/// Prints VSIs and data disks as objects.
pub(crate) async fn print_objects(
    app: &App,
    targets: &[Target],
    format: OutputFormat,
) -> Result<(), ExitProblem> {
    match format {
        OutputFormat::Name => targets
            .iter()
            .for_each(|target| output::line(&target.shown())),
        OutputFormat::Wide => print_tables(app, targets).await?,
        format => match objects(app, targets).await?.as_slice() {
            [one] => output::print(one, format)?,
            all => output::print(&output::list(all), format)?,
        },
    }
    Ok(())
}

async fn objects(app: &App, targets: &[Target]) -> Result<Vec<TargetObject>, ExitProblem> {
    let mut objects = Vec::new();
    for Target {
        entity,
        namespace,
        name,
    } in targets
    {
        objects.push(match entity.kind().as_str() {
            kind::POOL => {
                TargetObject::Pool(Box::new(app.fleet.pools().get(namespace, name).await?))
            }
            kind::GROUP => {
                TargetObject::Group(Box::new(app.fleet.groups().get(namespace, name).await?))
            }
            kind::DISK => {
                TargetObject::Disk(Box::new(app.fleet.disks().get(namespace, name).await?))
            }
            // `get network` contacts the host for it.
            kind::NETWORK => continue,
            _ => TargetObject::Vsi(Box::new(app.fleet.vsis().get(namespace, name).await?)),
        });
    }
    Ok(objects)
}

async fn print_tables(app: &App, targets: &[Target]) -> Result<(), ExitProblem> {
    let (mut vsis, mut disks) = (Vec::new(), Vec::new());
    let (mut pools, mut groups) = (Vec::new(), Vec::new());
    for object in objects(app, targets).await? {
        match object {
            TargetObject::Vsi(vsi) => vsis.push(*vsi),
            TargetObject::Disk(disk) => disks.push(*disk),
            TargetObject::Pool(pool) => pools.push(*pool),
            TargetObject::Group(group) => groups.push(*group),
        }
    }
    let form = table::TableForm::wide(true);
    if !vsis.is_empty() || disks.is_empty() && pools.is_empty() && groups.is_empty() {
        output::table(&table::vsis(&vsis, form), "VSIs");
    }
    if !disks.is_empty() {
        output::table(&table::disks(&disks, form), "disks");
    }
    if !pools.is_empty() {
        output::table(&table::pools(&pools, form), "pools");
    }
    if !groups.is_empty() {
        output::table(&table::groups(&groups, form), "groups");
    }
    Ok(())
}
