//! The stories the matrix tells: every workflow, and what users do in between.

use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::record::PowerAction;

use super::{
    care, disks,
    documents::{Guest, Vsi, uuid},
    groups, networks, pools, snapshots,
    story::Act,
};

/// A story by name.
pub struct Story {
    pub name: &'static str,
    pub acts: Vec<Act>,
    /// The VSIs, and how each ends: its state, and the code of the failure where it has one.
    pub ends: &'static [End],
}

/// A VSI's name, number and end.
pub type End = (&'static str, u128, &'static str);

const WEB: u128 = 1;
const DB: u128 = 2;
const MQ: u128 = 3;
const LOG: u128 = 4;
const A: &str = "sim:a";

fn web() -> Vsi {
    Vsi::new("web", WEB, A)
}

fn story(name: &'static str, ends: &'static [End], acts: Vec<Act>) -> Story {
    Story { name, acts, ends }
}

/// Every story, or those whose names contain `VSIFLOW_CRASH_STORY`.
pub fn all() -> Vec<Story> {
    let chosen = std::env::var("VSIFLOW_CRASH_STORY").unwrap_or_default();
    let mut stories = every();
    stories.extend(care::every());
    stories.extend(pools::every());
    stories.extend(groups::every());
    stories.extend(snapshots::every());
    stories.extend(disks::every());
    stories.extend(networks::every());
    // The name of one may be the beginning of another's.
    let exact = stories.iter().any(|story| story.name == chosen);
    stories.retain(|story| {
        if exact {
            story.name == chosen
        } else {
            story.name.contains(&chosen)
        }
    });
    stories
}

fn every() -> Vec<Story> {
    vec![
        provision(),
        with_disk_and_networks(),
        overlay(),
        delete(),
        delete_under_way(),
        forget(),
        retry_after_a_failed_boot(),
        retry_after_a_slow_boot(),
        cancel_and_retry(),
        corrected(),
        corrected_while_it_boots(),
        two_on_one_image(),
        tried_again_by_itself(),
        uploaded_ahead(),
        pruned(),
        removed_by_policy(),
        applied_while_its_image_goes(),
        rebuilt(),
        restarted_for_more(),
        changed_twice(),
        taken_back(),
        rolled(),
        off_and_on(),
        paused(),
        stopped_while_it_changes(),
        approved(),
        grown(),
        adopted(),
        deleted_with_its_disk(),
        disk_waits_for_its_vsi(),
        host_restarted(),
        servers(),
        configured_anew(),
        set_up_failed(),
        ephemeral(),
        ephemeral_after_a_restart_of_the_host(),
        placed(),
    ]
}

pub fn provision() -> Story {
    let acts = vec![Act::Apply(vec![web()]), Act::Decided(uuid(WEB))];
    story("provision", &[("web", WEB, "Running")], acts)
}

/// Three servers on hosts that are chosen, one of which is changed, and stays, and one goes.
fn placed() -> Story {
    let server = |name, number| Vsi::new(name, number, "").server(GuestType::None);
    let mut larger = server("db", DB);
    larger.cpus = 3;
    let mut acts = vec![Act::Apply(vec![
        server("web", WEB).with_disk(7),
        server("db", DB),
        server("mq", MQ),
    ])];
    acts.extend([WEB, DB, MQ].map(|number| Act::Decided(uuid(number))));
    acts.extend([Act::Apply(vec![larger]), Act::Decided(uuid(DB))]);
    acts.extend([Act::Delete("mq"), Act::Decided(uuid(MQ))]);
    let ends = &[
        ("web", WEB, "Running"),
        ("db", DB, "Running"),
        ("mq", MQ, "Deleted"),
    ];
    story("placed on hosts that are chosen", ends, acts)
}

fn with_disk_and_networks() -> Story {
    let mut web = web().with_disk(7);
    web.networks = vec!["default", "second"];
    let acts = vec![Act::Apply(vec![web]), Act::Decided(uuid(WEB))];
    story(
        "provision with a data disk and two networks",
        &[("web", WEB, "Running")],
        acts,
    )
}

fn overlay() -> Story {
    let mut web = web();
    web.boot = "overlay";
    let acts = vec![Act::Apply(vec![web]), Act::Decided(uuid(WEB))];
    story("provision as an overlay", &[("web", WEB, "Running")], acts)
}

/// A virtual server of each type, and all of them gone again.
fn servers() -> Story {
    let servers = vec![
        Vsi::new("web", WEB, A).server(GuestType::CloudInit),
        Vsi::new("db", DB, A).server(GuestType::Ignition),
        Vsi::new("mq", MQ, A).server(GuestType::None),
        Vsi::new("log", LOG, A).server(GuestType::HyperProtect),
    ];
    let mut acts = vec![Act::Apply(servers)];
    acts.extend([WEB, DB, MQ, LOG].map(|number| Act::Decided(uuid(number))));
    acts.extend(["web", "db"].map(Act::Delete));
    acts.extend([WEB, DB].map(|number| Act::Decided(uuid(number))));
    let ends = &[
        ("web", WEB, "Deleted"),
        ("db", DB, "Deleted"),
        ("mq", MQ, "Running"),
        ("log", LOG, "Running"),
    ];
    story("virtual servers of each type", ends, acts)
}

/// New user-data: cloud-init takes it in by a restart, Ignition with a new boot disk.
fn configured_anew() -> Story {
    let cloud = web().server(GuestType::CloudInit);
    let core = Vsi::new("db", DB, A).server(GuestType::Ignition);
    let both = |edition| {
        vec![
            cloud.clone().edition(edition),
            core.clone().edition(edition),
        ]
    };
    let acts = vec![
        Act::Apply(both(1)),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
        Act::Apply(both(2)),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
    ];
    let ends = &[("web", WEB, "Running"), ("db", DB, "Running")];
    story("new user-data", ends, acts)
}

/// What cloud-init was asked for fails, and is corrected.
fn set_up_failed() -> Story {
    let web = || web().server(GuestType::CloudInit);
    let acts = vec![
        Act::Apply(vec![web().guest(Guest::TooSmall)]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
    ];
    story("user-data that fails, then is corrected", RUNNING, acts)
}

/// Each start has a boot disk of its own; a guest that is suspended keeps the one that it has.
fn ephemeral() -> Story {
    let mut web = web().server(GuestType::CloudInit);
    web.boot = "ephemeral";
    let power = |action, generation| Act::Power("web", uuid(WEB), action, generation);
    let mut larger = web.clone();
    larger.cpus = 3;
    let acts = vec![
        Act::Apply(vec![web]),
        power(PowerAction::Stop, 2),
        power(PowerAction::Start, 3),
        power(PowerAction::Pause, 4),
        power(PowerAction::Unpause, 5),
        power(PowerAction::Restart, 6),
        Act::Apply(vec![larger]),
    ];
    let decided = |act| [act, Act::Decided(uuid(WEB))];
    let acts = acts.into_iter().flat_map(decided).collect();
    story("an ephemeral boot disk", RUNNING, acts)
}

/// libvirt does not start it with the host: it has no boot disk yet.
fn ephemeral_after_a_restart_of_the_host() -> Story {
    let mut web = web().server(GuestType::None);
    web.boot = "ephemeral";
    let acts = vec![
        Act::Apply(vec![web]),
        Act::Decided(uuid(WEB)),
        Act::HostRestarts(A),
        Act::Look,
        Act::Decided(uuid(WEB)),
    ];
    let name = "an ephemeral boot disk, and a restart of the host";
    story(name, RUNNING, acts)
}

pub fn delete() -> Story {
    let acts = vec![
        Act::Apply(vec![web().with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::Delete("web"),
        Act::Decided(uuid(WEB)),
    ];
    story("delete", &[("web", WEB, "Deleted")], acts)
}

fn delete_under_way() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::At(uuid(WEB), "define_domain"),
        Act::Delete("web"),
        Act::Decided(uuid(WEB)),
    ];
    story("delete while it is made", &[("web", WEB, "Deleted")], acts)
}

fn forget() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Forget("web"),
        Act::Decided(uuid(WEB)),
    ];
    story("forget", &[("web", WEB, "Deleted")], acts)
}

/// The guest cannot boot; tried again it is taken down and made anew, and fails again.
pub fn retry_after_a_failed_boot() -> Story {
    let acts = vec![
        Act::Apply(vec![web().guest(Guest::TooSmall)]),
        Act::Decided(uuid(WEB)),
        Act::Retry(uuid(WEB)),
        Act::Decided(uuid(WEB)),
    ];
    story(
        "retry after a failed boot",
        &[("web", WEB, "Failed VSI0501")],
        acts,
    )
}

/// A guest that failed, then one that hangs, then one that is only watched further.
fn retry_after_a_slow_boot() -> Story {
    let acts = vec![
        Act::Apply(vec![web().guest(Guest::TooSmall)]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web().guest(Guest::Hangs)]),
        Act::Decided(uuid(WEB)),
        Act::Retry(uuid(WEB)),
        Act::Decided(uuid(WEB)),
    ];
    story(
        "retry after a slow boot",
        &[("web", WEB, "Failed VSI0502")],
        acts,
    )
}

/// The guest cannot boot, three times, and then it is deleted.
fn tried_again_by_itself() -> Story {
    let acts = vec![
        Act::Apply(vec![web().guest(Guest::TooSmall)]),
        Act::FailedBoots(uuid(WEB), 3),
        Act::Delete("web"),
        Act::Decided(uuid(WEB)),
    ];
    story("three failed boots", &[("web", WEB, "Deleted")], acts)
}

/// An image that was brought ahead of time is not sent again.
fn uploaded_ahead() -> Story {
    let acts = vec![
        Act::Upload("hpcr.qcow2"),
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
    ];
    story("upload an image ahead", &[("web", WEB, "Running")], acts)
}

fn pruned() -> Story {
    let acts = vec![Act::Upload("hpcr.qcow2"), Act::Prune];
    story("upload and prune an image", &[], acts)
}

fn removed_by_policy() -> Story {
    let acts = vec![Act::Upload("hpcr.qcow2"), Act::ImagePolicies];
    story("remove an image by its host's policy", &[], acts)
}

/// What waits for the image neither takes the removal for an upload nor waits for it in vain.
fn applied_while_its_image_goes() -> Story {
    let acts = vec![
        Act::Upload("hpcr.qcow2"),
        Act::BeginPrune,
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
    ];
    story(
        "apply while the image is removed",
        &[("web", WEB, "Running")],
        acts,
    )
}

fn cancel_and_retry() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::At(uuid(WEB), "clone_boot_disk"),
        Act::Cancel(uuid(WEB)),
        Act::Decided(uuid(WEB)),
        Act::Retry(uuid(WEB)),
        Act::Decided(uuid(WEB)),
    ];
    story("cancel and retry", &[("web", WEB, "Running")], acts)
}

fn corrected() -> Story {
    let acts = vec![
        Act::Apply(vec![web().guest(Guest::NoWorkload)]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
    ];
    story(
        "supersede by a corrected contract",
        &[("web", WEB, "Running")],
        acts,
    )
}

fn corrected_while_it_boots() -> Story {
    let acts = vec![
        Act::Apply(vec![web().guest(Guest::Hangs)]),
        Act::At(uuid(WEB), "monitor_console"),
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
    ];
    story("supersede a boot", &[("web", WEB, "Running")], acts)
}

fn two_on_one_image() -> Story {
    let acts = vec![
        Act::Apply(vec![web(), Vsi::new("db", DB, A)]),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
    ];
    story(
        "two VSIs on one image",
        &[("web", WEB, "Running"), ("db", DB, "Running")],
        acts,
    )
}

/// Another image: the boot disk is made anew, the data disk stays.
fn rebuilt() -> Story {
    let mut newer = web().with_disk(7);
    newer.image = "other.qcow2";
    let acts = vec![
        Act::Apply(vec![web().with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![newer]),
        Act::Decided(uuid(WEB)),
    ];
    story("rebuild from another image", RUNNING, acts)
}

const RUNNING: &[End] = &[("web", WEB, "Running")];

fn restarted_for_more() -> Story {
    let mut larger = web();
    larger.cpus = 4;
    larger.networks = vec!["default", "second"];
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![larger]),
        Act::Decided(uuid(WEB)),
    ];
    story("restart for more processors", RUNNING, acts)
}

fn changed_twice() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web().edition(2)]),
        Act::At(uuid(WEB), "clone_boot_disk"),
        Act::Apply(vec![web().edition(3)]),
        Act::Decided(uuid(WEB)),
    ];
    story("supersede a rebuild", RUNNING, acts)
}

/// A change after which the guest does not boot is taken back.
fn taken_back() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web().guest(Guest::TooSmall)]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
    ];
    story("take a failed change back", RUNNING, acts)
}

/// One change for two VSIs: one after the other.
fn rolled() -> Story {
    let db = || Vsi::new("db", DB, A);
    let acts = vec![
        Act::Apply(vec![web(), db()]),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
        Act::Apply(vec![web().edition(2), db().edition(2)]),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
    ];
    story(
        "roll a rebuild",
        &[("web", WEB, "Running"), ("db", DB, "Running")],
        acts,
    )
}

fn off_and_on() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Stop, 2),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Start, 3),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Restart, 4),
        Act::Decided(uuid(WEB)),
    ];
    story("stop, start and restart", RUNNING, acts)
}

fn paused() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Pause, 2),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Unpause, 3),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Pause, 4),
        Act::Decided(uuid(WEB)),
    ];
    story("pause", &[("web", WEB, "Paused")], acts)
}

/// The command waits for the change.
fn stopped_while_it_changes() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web().edition(2)]),
        Act::At(uuid(WEB), "monitor_console"),
        Act::Power("web", uuid(WEB), PowerAction::Stop, 3),
        Act::Decided(uuid(WEB)),
    ];
    story("stop while it changes", &[("web", WEB, "Stopped")], acts)
}

fn approved() -> Story {
    let mut manual = web();
    manual.manual = true;
    let acts = vec![
        Act::Apply(vec![manual.clone()]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![manual.edition(2)]),
        Act::Approve("web"),
        Act::Decided(uuid(WEB)),
    ];
    story("approve a rebuild", RUNNING, acts)
}

fn grown() -> Story {
    let mut larger = web().with_disk(7);
    larger.disk_gib = 2;
    let acts = vec![
        Act::Apply(vec![web().with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![larger]),
        Act::Decided(uuid(WEB)),
    ];
    story("grow a data disk", RUNNING, acts)
}

/// What was forgotten is taken over as it stands, and its document then changes nothing.
fn adopted() -> Story {
    let acts = vec![
        Act::Apply(vec![web().with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::Forget("web"),
        Act::Decided(uuid(WEB)),
        Act::Adopt(A, uuid(WEB)),
        Act::Decided(uuid(WEB)),
        Act::Apply(vec![web().with_disk(7)]),
        Act::Decided(uuid(WEB)),
    ];
    story("adopt what was forgotten", RUNNING, acts)
}

fn with_a_disk_that_goes() -> Vsi {
    let mut web = web().with_disk(7);
    web.disk_goes = true;
    web
}

fn deleted_with_its_disk() -> Story {
    let acts = vec![
        Act::Apply(vec![with_a_disk_that_goes()]),
        Act::Decided(uuid(WEB)),
        Act::Delete("web"),
        Act::DeleteDisk("data-7"),
        Act::Decided(uuid(WEB)),
        Act::DiskDecided(uuid(7)),
    ];
    let ends = &[("web", WEB, "Deleted")];
    story("delete a VSI and its data disk", ends, acts)
}

/// As long as the VSI has it, the disk stays.
fn disk_waits_for_its_vsi() -> Story {
    let acts = vec![
        Act::Apply(vec![with_a_disk_that_goes()]),
        Act::Decided(uuid(WEB)),
        Act::DeleteDisk("data-7"),
        Act::DiskDecided(uuid(7)),
    ];
    story("delete a data disk in use", RUNNING, acts)
}

fn host_restarted() -> Story {
    let acts = vec![
        Act::Apply(vec![web(), Vsi::new("db", DB, A)]),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
        Act::HostRestarts(A),
        Act::Look,
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
    ];
    story(
        "a restart of the host",
        &[("web", WEB, "Running"), ("db", DB, "Running")],
        acts,
    )
}
