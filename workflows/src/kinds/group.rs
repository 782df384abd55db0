//! Groups of members and pools in waves.

use serde_json::Value;
use vsiflow_engine::{executor::By, model::EntityId};

use super::{
    Cell, Column, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords, TreeNode,
};
use crate::{
    fleet::{
        DeletionMode, Fleet, FleetError, Fleets, GroupItem, GroupObject, GroupOutput, GroupWave,
    },
    phase::Phase,
};

/// How many characters of an output are shown.
const MAX_OUTPUT_LEN: usize = 80;

/// Groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupKind;

impl Kind for GroupKind {
    type Object = GroupObject;
    const WORDS: KindWords = KindWords {
        singular: "group",
        noun: "group",
        plural: "groups",
        synonyms: &["groups", "vsg", "virtualservergroup", "virtualservergroups"],
    };
    const NAMES: NameScope = NameScope::Namespace;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "virtualservergroups",
        name: "VirtualServerGroup",
    };
    const DELETION: Option<&'static str> =
        Some("Delete a group with all that was made for it, the newest wave first");
    const COLUMNS: &'static [Column<GroupObject>] = &[
        Column::new("NAME", |group| Cell::text(&group.metadata.name)),
        Column::new("PHASE", |group| Cell::text(group.status.phase)),
        Column::new("WAVE", |group| Cell::Optional(group.status.wave.clone())),
        Column::new("READY", |group| {
            let status = &group.status;
            Cell::text(format!("{}/{}", status.ready_replicas, status.replicas))
        }),
        Column::new("RELEASE", |group| Cell::list(&released_images(&group.spec))),
        Column::new("MESSAGE", |group| {
            Cell::Optional(group.status.message.clone())
        }),
        Column::since(|group| Cell::created(&group.metadata)),
        Column::wide("UID", |group| Cell::text(&group.metadata.uid)),
    ];

    fn identity(group: &GroupObject) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&group.metadata)
    }

    fn is_readable(group: &GroupObject) -> bool {
        group.status.phase != Phase::Unreadable.as_str()
    }

    fn size(group: &GroupObject) -> usize {
        let items = group.status.waves.iter().flat_map(|wave| &wave.items);
        let sizes = items.map(|item| usize::try_from(item.largest_size()).unwrap_or(usize::MAX));
        sizes.fold(0, |total, size| total.saturating_add(size.max(1)))
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let orphan = mode == DeletionMode::Orphan;
        let entity = fleet.groups().delete(namespace, name, orphan, by).await?;
        Ok(vec![entity])
    }

    fn details(group: &GroupObject) -> Vec<Detail> {
        let status = &group.status;
        let mut details = Detail::identity(&group.metadata);
        details.extend([
            Detail::field("Phase", status.phase),
            Detail::field("Wave", &status.wave),
            Detail::field(
                "Ready",
                format!("{} of {}", status.ready_replicas, status.replicas),
            ),
        ]);
        let releases = group.spec.get("release").and_then(Value::as_object);
        details.extend(releases.into_iter().flatten().map(|(name, released)| {
            let image = released.get("image").and_then(Value::as_str);
            Detail::field("Release", format!("{name}: {}", image.unwrap_or_default()))
        }));
        details.push(Detail::Tree(
            "Waves".into(),
            status.waves.iter().map(wave_tree).collect(),
        ));
        let outputs = status.outputs.iter().map(output_line);
        details.extend(Detail::lines("Outputs", outputs.collect()));
        details.extend([
            Detail::Conditions(status.conditions.clone()),
            Detail::Explanation(status.message.clone()),
        ]);
        details
    }

    async fn list(fleets: &Fleets, deleted: bool) -> Result<Vec<GroupObject>, FleetError> {
        fleets.groups(deleted).await
    }

    async fn get(fleets: &Fleets, namespace: &str, name: &str) -> Result<GroupObject, FleetError> {
        fleets.group(namespace, name).await
    }

    async fn check_exists(fleets: &Fleets, namespace: &str, name: &str) -> Result<(), FleetError> {
        let groups = fleets.decides().groups();
        groups.find(namespace, name).await.map(drop)
    }
}

/// The images of a release, by the last part of each URL.
fn released_images(spec: &Value) -> Vec<String> {
    let images = spec.get("release").and_then(Value::as_object);
    let images = images.into_iter().flatten().filter_map(|(_, release)| {
        let image = release.get("image")?.as_str()?;
        image.rsplit('/').next().map(ToOwned::to_owned)
    });
    images.collect()
}

/// A wave with its pools and their members.
fn wave_tree(wave: &GroupWave) -> TreeNode {
    let gate = if wave.open { "open" } else { "closed" };
    TreeNode {
        text: format!("{} (gate {gate})", wave.name),
        children: wave.items.iter().map(pool_tree).collect(),
    }
}

fn pool_tree(item: &GroupItem) -> TreeNode {
    let outdated = if item.updated { "" } else { ", outdated" };
    let members = item.members.iter().map(|member| {
        let ready = if member.ready { "ready" } else { "not ready" };
        TreeNode {
            text: format!("vsi/{} {}, {ready}", member.name, member.phase),
            children: Vec::new(),
        }
    });
    TreeNode {
        text: format!("pool/{} {}{outdated}", item.pool, item.phase),
        children: members.collect(),
    }
}

fn output_line(output: &GroupOutput) -> String {
    let value = match (&output.value, output.found) {
        (Some(value), _) => shortened(value).replace('\n', "\n    "),
        (None, true) => "<secret>".to_owned(),
        (None, false) => "<not read yet>".to_owned(),
    };
    format!("{} ({}): {value}", output.name, output.member)
}

/// An output, shortened: `vsiflow output` prints all of it.
fn shortened(value: &str) -> String {
    let start: String = value.chars().take(MAX_OUTPUT_LEN).collect();
    if start.len() == value.len() {
        start
    } else {
        format!("{start}… ({} bytes)", value.len())
    }
}
