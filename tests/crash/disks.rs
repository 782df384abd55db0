//! Stories of data disks that are filled when they are made.

use vsiflow_workflows::{
    record::PowerAction,
    spec::{DataDiskSource, DesiredImage},
};

use super::{
    documents::{Vsi, disk_name, uuid},
    stories::Story,
    story::Act,
};

const WEB: u128 = 1;
const DB: u128 = 2;
const DATA: u128 = 7;
const COPY: u128 = 8;
const SNAPSHOT: u128 = 40;
const A: &str = "sim:a";

/// The stories of data disks that are filled.
pub fn every() -> Vec<Story> {
    vec![from_an_image(), from_a_snapshot(), from_another_disk()]
}

fn image() -> DataDiskSource {
    DataDiskSource::Image {
        image: DesiredImage {
            url: "http://images.test/debian-data.qcow2".to_owned(),
            file_name: "debian-data.qcow2".to_owned(),
            checksum: None,
        },
    }
}

fn web() -> Vsi {
    let mut web = Vsi::new("web", WEB, A).with_disk(DATA).filled(image());
    web.disk_gib = 4;
    web
}

fn db(source: DataDiskSource) -> Vsi {
    let mut db = Vsi::new("db", DB, A).with_disk(COPY).filled(source);
    (db.disk_gib, db.disk_goes) = (6, true);
    db
}

/// It is filled, attached, and goes with all that is beside it.
fn from_an_image() -> Story {
    let mut web = web();
    web.disk_goes = true;
    let acts = vec![
        Act::Apply(vec![web]),
        Act::Decided(uuid(WEB)),
        Act::Prune,
        Act::Delete("web"),
        Act::Decided(uuid(WEB)),
        Act::DeleteDisk("data-7"),
        Act::DiskDecided(uuid(DATA)),
    ];
    Story {
        name: "fill a data disk from an image",
        acts,
        ends: &[("web", WEB, "Deleted")],
    }
}

fn stopped() -> Vec<Act> {
    vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Stop, 2),
        Act::Decided(uuid(WEB)),
    ]
}

fn from_a_snapshot() -> Story {
    let source = DataDiskSource::Snapshot {
        name: "first".to_owned(),
        disk: disk_name(uuid(DATA)),
    };
    let mut acts = stopped();
    acts.extend([
        Act::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![db(source)]),
        Act::Decided(uuid(DB)),
    ]);
    Story {
        name: "fill a data disk from a snapshot",
        acts,
        ends: &[("web", WEB, "Stopped"), ("db", DB, "Running")],
    }
}

/// Both at once: the copy waits until the other is made, and that one's guest goes off.
fn from_another_disk() -> Story {
    let source = DataDiskSource::Disk {
        name: disk_name(uuid(DATA)),
    };
    let mut acts = stopped();
    acts.extend([
        Act::Apply(vec![db(source)]),
        Act::Decided(uuid(DB)),
        Act::Power("web", uuid(WEB), PowerAction::Start, 3),
        Act::Decided(uuid(WEB)),
    ]);
    Story {
        name: "fill a data disk from another",
        acts,
        ends: &[("web", WEB, "Running"), ("db", DB, "Running")],
    }
}
