//! Stories of data disks that are filled when they are made.

use vsiflow_workflows::{
    record::PowerAction,
    spec::{DataDiskSource, DesiredImage},
};

use super::{
    documents::{VsiDocument, disk_name, uuid},
    stories::CrashStory,
    story::StoryAct,
};

const WEB: u128 = 1;
const DB: u128 = 2;
const DATA: u128 = 7;
const COPY: u128 = 8;
const SNAPSHOT: u128 = 40;
const A: &str = "sim:a";

/// The stories of data disks that are filled.
pub fn every() -> Vec<CrashStory> {
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

fn web() -> VsiDocument {
    let mut web = VsiDocument::new("web", WEB, A)
        .with_disk(DATA)
        .filled(image());
    web.disk_gib = 4;
    web
}

fn db(source: DataDiskSource) -> VsiDocument {
    let mut db = VsiDocument::new("db", DB, A).with_disk(COPY).filled(source);
    (db.disk_gib, db.disk_goes) = (6, true);
    db
}

/// The disk is filled and attached, and later deleted together with the volumes beside it.
fn from_an_image() -> CrashStory {
    let mut web = web();
    web.disk_goes = true;
    let acts = vec![
        StoryAct::Apply(vec![web]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Prune,
        StoryAct::Delete("web"),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::DeleteDisk("data-7"),
        StoryAct::DiskDecided(uuid(DATA)),
    ];
    CrashStory {
        name: "fill a data disk from an image",
        acts,
        ends: &[("web", WEB, "Deleted")],
    }
}

fn stopped() -> Vec<StoryAct> {
    vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Stop, 2),
        StoryAct::Decided(uuid(WEB)),
    ]
}

fn from_a_snapshot() -> CrashStory {
    let source = DataDiskSource::Snapshot {
        name: "first".to_owned(),
        disk: disk_name(uuid(DATA)),
    };
    let mut acts = stopped();
    acts.extend([
        StoryAct::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![db(source)]),
        StoryAct::Decided(uuid(DB)),
    ]);
    CrashStory {
        name: "fill a data disk from a snapshot",
        acts,
        ends: &[("web", WEB, "Stopped"), ("db", DB, "Running")],
    }
}

/// A disk is copied from the disk of another VSI, which is stopped for that and started again.
fn from_another_disk() -> CrashStory {
    let source = DataDiskSource::Disk {
        name: disk_name(uuid(DATA)),
    };
    let mut acts = stopped();
    acts.extend([
        StoryAct::Apply(vec![db(source)]),
        StoryAct::Decided(uuid(DB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Start, 3),
        StoryAct::Decided(uuid(WEB)),
    ]);
    CrashStory {
        name: "fill a data disk from another",
        acts,
        ends: &[("web", WEB, "Running"), ("db", DB, "Running")],
    }
}
