//! Tests of plans.

use serde_json::json;
use vsiflow_engine::{
    model::{EntityState, Name, ObjectInUse, RunId},
    workflow::Situation,
};

use super::*;
use crate::{
    record::{Power, PowerAction},
    spec::{DesiredVsi, PowerState},
};

fn desired() -> DesiredVsi {
    serde_json::from_value(json!({
        "namespace": "default", "name": "a", "host": "sim", "pool": "images",
        "image": {"url": "http://a/b.qcow2", "fileName": "b.qcow2"},
        "bootDisk": {"mode": "copy"},
        "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
        "networks": ["default"],
        "disks": [{"name": "d1", "pool": "images",
                   "source": {"type": "made", "size": 10, "deletionPolicy": "Retain"}}],
        "deletionPolicy": "Delete",
    }))
    .unwrap()
}

fn record() -> VsiRecord {
    serde_json::from_value(json!({
        "uid": "01020304-0506-4708-890a-0b0c0d0e0f10", "contract": "c1", "vsi": desired(),
    }))
    .unwrap()
}

/// The plan from an earlier desired state to a new one.
fn plan(change: impl FnOnce(&mut VsiRecord)) -> Plan {
    let (before, mut after) = (record().inputs(1, true), record());
    change(&mut after);
    of(&before, &after, &Touched::default())
}

fn paths(plan: &Plan) -> Vec<(&str, How)> {
    let changes = plan.changes.iter();
    changes.map(|c| (c.path.as_str(), c.how)).collect()
}

#[test]
fn what_is_asked_for_again_changes_nothing() {
    assert!(plan(|_| ()).is_empty());
}

#[test]
fn each_field_has_its_price() {
    let one = |change: fn(&mut DesiredVsi)| plan(|record| change(&mut record.vsi));
    let of_one = |change| one(change).changes.first().map(|c| (c.path.clone(), c.how));
    type Case = (fn(&mut DesiredVsi), &'static str, How);
    let cases: [Case; 11] = [
        (
            |v| {
                v.snapshot_policy = Some(crate::spec::DesiredSnapshotPolicy {
                    schedule: "@daily".to_owned(),
                    keep: 1,
                    quiesce: false,
                });
            },
            "snapshotPolicy",
            How::Recorded,
        ),
        (
            |v| v.on_drift = crate::spec::OnDrift::Restore,
            "onDrift",
            How::Recorded,
        ),
        (|v| v.machine.cpus = 4, "machine.cpus", How::Restart),
        (|v| v.machine.memory_mib = 1, "machine.memory", How::Restart),
        (|v| v.networks = vec!["x".into()], "networks", How::Restart),
        (
            |v| v.image.url = "http://x".into(),
            "imageURL",
            How::Rebuild,
        ),
        (
            |v| v.network_config = Some("x".into()),
            "networkConfig",
            How::Rebuild,
        ),
        (
            |v| v.boot_disk.size = Some(1),
            "bootDisk.size",
            How::Rebuild,
        ),
        (|v| v.host = "other".into(), "targetSelector", How::Refused),
        (|v| v.pool = "other".into(), "storagePool", How::Refused),
        (|v| v.disks.clear(), "disks[d1]", How::Restart),
    ];
    for (change, path, how) in cases {
        assert_eq!(of_one(change), Some((path.to_owned(), how)));
    }
}

#[test]
fn a_data_disk_grows_in_place_and_never_shrinks() {
    let sized = |to: u64| {
        plan(|record| {
            let mut vsi = serde_json::to_value(&record.vsi).unwrap();
            vsi["disks"][0]["source"]["size"] = json!(to);
            record.vsi = serde_json::from_value(vsi).unwrap();
        })
    };
    assert_eq!(paths(&sized(11)), [("disks[d1].size", How::InPlace)]);
    let smaller = sized(9);
    assert_eq!(paths(&smaller), [("disks[d1].size", How::Refused)]);
    assert!(
        smaller
            .refused()
            .next()
            .unwrap()
            .why
            .contains("never shrinks")
    );
}

#[test]
fn a_rebuild_says_what_is_lost_and_what_stays() {
    let plan = plan(|record| record.contract = Name::of("c2"));
    assert_eq!(paths(&plan), [("contract", How::Rebuild)]);
    // A contract is a secret: neither side is shown.
    assert_eq!(
        (&plan.changes[0].before, &plan.changes[0].after),
        (&None, &None)
    );
    let uid = record().uid;
    assert!(
        plan.destroys[0]
            .object
            .contains(&format!("boot-{uid}.qcow2"))
    );
    assert!(plan.keeps.contains(&format!("UUID {uid}")));
    assert!(plan.keeps.contains(&"data disk d1".to_owned()));
    let restart = super::tests::plan(|record| record.vsi.machine.cpus = 4);
    assert!(restart.destroys.is_empty());
}

#[test]
fn a_power_command_counts_although_the_document_says_the_same() {
    let power = |state, action| Power {
        state,
        action,
        grace_s: 1,
        drained: None,
    };
    let stopped = plan(|w| w.power = Some(power(PowerState::Stopped, Some(PowerAction::Stop))));
    assert_eq!(paths(&stopped), [("powerState", How::InPlace)]);
    let again = plan(|w| w.power = Some(power(PowerState::Running, Some(PowerAction::Restart))));
    assert_eq!(paths(&again), [("powerState", How::InPlace)]);
    // Once the restart is done, it is not planned again.
    assert!(plan(|w| w.power = Some(power(PowerState::Running, None))).is_empty());
}

#[test]
fn the_newest_inputs_that_were_reached_are_what_a_vsi_is_made_from() {
    let mut record = record();
    record.before = vec![record.inputs(3, true), record.inputs(5, false)];
    assert_eq!(
        base(&record, &reached(3)).map(|asked| asked.generation),
        Some(3)
    );
    assert_eq!(
        base(&record, &reached(5)).map(|asked| asked.generation),
        Some(5)
    );
    record.before.clear();
    assert_eq!(base(&record, &reached(5)), None);
}

/// An entity that reached this generation.
fn reached(generation: u64) -> EntityState {
    EntityState {
        reached: generation,
        ..EntityState::default()
    }
}

#[test]
fn a_definition_in_use_is_what_a_vsi_is_made_from_although_it_was_never_ready() {
    let record = record();
    let mut state = reached(0);
    assert_eq!(base(&record, &state), None);
    state.desired = Some(vsiflow_engine::model::Desired {
        generation: 1,
        workflow: Name::of("provision_vsi"),
        precedence: vsiflow_engine::model::Precedence::Supersede,
        desired: vsiflow_engine::model::Payload::default(),
    });
    state.objects.in_use = Some(ObjectInUse {
        object: "images/boot.qcow2".into(),
        generation: 1,
    });
    let made_from = base(&record, &state).unwrap().into_owned();
    assert!(of(&made_from, &record, &Touched::default()).is_empty());
    let mut other = record.clone();
    other.vsi.image.url = "http://a/c.qcow2".to_owned();
    let plan = of(&made_from, &other, &Touched::default());
    assert_eq!(plan.how(), Some(How::Rebuild));
}

#[test]
fn runs_whose_states_were_dropped_rebuild_nothing() {
    let state = EntityState {
        runs: vec![RunId(ulid::Ulid::from_parts(1, 1))],
        ..reached(1)
    };
    let id = crate::record::vsi_entity(uuid::Uuid::from_u128(1)).unwrap();
    let at = Situation {
        id: &id,
        entity: &state,
        runs: &|_| None,
    };
    let (before, record) = (record().inputs(1, true), record());
    let plan = of(&before, &record, &Touched::of(&at));
    assert_eq!(paths(&plan), [("powerState", How::InPlace)]);
}

#[test]
fn a_rebuild_is_planned_as_long_as_its_order_is_there() {
    let (before, record) = (record().inputs(1, true), record());
    let (act, objects) = (crate::orders::REBUILD, Objects::default());
    let orders = crate::orders::for_boot_disks(&record, &objects, act, &Plan::default());
    let ordered = reached(1).with_orders(&orders);
    let id = crate::record::vsi_entity(record.uid).unwrap();
    let plan = |state: &EntityState| {
        let at = Situation {
            id: &id,
            entity: state,
            runs: &|_| None,
        };
        of(&before, &record, &Touched::of(&at))
    };
    assert_eq!(plan(&ordered).how(), Some(How::Rebuild));
    assert_eq!(
        crate::orders::missing(&record, &plan(&ordered), &ordered),
        None
    );
    assert!(plan(&reached(1)).is_empty());
}
