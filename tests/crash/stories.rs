//! The stories that the crash matrix runs: every workflow, and the commands of users in between.

use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::record::PowerAction;

use super::{
    care, disks,
    documents::{Guest, VsiDocument, uuid},
    groups, networks, pools, snapshots,
    story::StoryAct,
};

/// A story with its name and its expected end.
pub struct CrashStory {
    pub name: &'static str,
    pub acts: Vec<StoryAct>,
    /// The VSIs, and how each ends: its state, and the error code if it failed.
    pub ends: &'static [ExpectedEnd],
}

/// A VSI's name, number and expected end.
pub type ExpectedEnd = (&'static str, u128, &'static str);

const WEB: u128 = 1;
const DB: u128 = 2;
const MQ: u128 = 3;
const LOG: u128 = 4;
const A: &str = "sim:a";

fn web() -> VsiDocument {
    VsiDocument::new("web", WEB, A)
}

fn story(name: &'static str, ends: &'static [ExpectedEnd], acts: Vec<StoryAct>) -> CrashStory {
    CrashStory { name, acts, ends }
}

/// Every story, or those whose names contain `VSIFLOW_CRASH_STORY`.
pub fn all() -> Vec<CrashStory> {
    let chosen = std::env::var("VSIFLOW_CRASH_STORY").unwrap_or_default();
    let mut stories = every();
    stories.extend(care::every());
    stories.extend(pools::every());
    stories.extend(groups::every());
    stories.extend(snapshots::every());
    stories.extend(disks::every());
    stories.extend(networks::every());
    // One name may be part of another one.
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

fn every() -> Vec<CrashStory> {
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
        ephemeral_instead_of_lasting(),
        placed(),
    ]
}

pub fn provision() -> CrashStory {
    let acts = vec![StoryAct::Apply(vec![web()]), StoryAct::Decided(uuid(WEB))];
    story("provision", &[("web", WEB, "Running")], acts)
}

/// Three servers whose hosts vsiflow chooses. One is changed and stays on its host, and one is deleted.
fn placed() -> CrashStory {
    let server = |name, number| VsiDocument::new(name, number, "").server(GuestType::None);
    let mut larger = server("db", DB);
    larger.cpus = 3;
    let mut acts = vec![StoryAct::Apply(vec![
        server("web", WEB).with_disk(7),
        server("db", DB),
        server("mq", MQ),
    ])];
    acts.extend([WEB, DB, MQ].map(|number| StoryAct::Decided(uuid(number))));
    acts.extend([StoryAct::Apply(vec![larger]), StoryAct::Decided(uuid(DB))]);
    acts.extend([StoryAct::Delete("mq"), StoryAct::Decided(uuid(MQ))]);
    let ends = &[
        ("web", WEB, "Running"),
        ("db", DB, "Running"),
        ("mq", MQ, "Deleted"),
    ];
    story("placed on hosts that are chosen", ends, acts)
}

fn with_disk_and_networks() -> CrashStory {
    let mut web = web().with_disk(7);
    web.networks = vec!["default", "second"];
    let acts = vec![StoryAct::Apply(vec![web]), StoryAct::Decided(uuid(WEB))];
    story(
        "provision with a data disk and two networks",
        &[("web", WEB, "Running")],
        acts,
    )
}

fn overlay() -> CrashStory {
    let mut web = web();
    web.boot = "overlay";
    let acts = vec![StoryAct::Apply(vec![web]), StoryAct::Decided(uuid(WEB))];
    story("provision as an overlay", &[("web", WEB, "Running")], acts)
}

/// A virtual server of each type, and the deletion of all.
fn servers() -> CrashStory {
    let servers = vec![
        VsiDocument::new("web", WEB, A).server(GuestType::CloudInit),
        VsiDocument::new("db", DB, A).server(GuestType::Ignition),
        VsiDocument::new("mq", MQ, A).server(GuestType::None),
        VsiDocument::new("log", LOG, A).server(GuestType::HyperProtect),
    ];
    let mut acts = vec![StoryAct::Apply(servers)];
    acts.extend([WEB, DB, MQ, LOG].map(|number| StoryAct::Decided(uuid(number))));
    acts.extend(["web", "db"].map(StoryAct::Delete));
    acts.extend([WEB, DB].map(|number| StoryAct::Decided(uuid(number))));
    let ends = &[
        ("web", WEB, "Deleted"),
        ("db", DB, "Deleted"),
        ("mq", MQ, "Running"),
        ("log", LOG, "Running"),
    ];
    story("virtual servers of each type", ends, acts)
}

/// New user-data: cloud-init reads it after a restart, Ignition needs a new boot disk.
fn configured_anew() -> CrashStory {
    let cloud = web().server(GuestType::CloudInit);
    let core = VsiDocument::new("db", DB, A).server(GuestType::Ignition);
    let both = |edition| {
        vec![
            cloud.clone().edition(edition),
            core.clone().edition(edition),
        ]
    };
    let acts = vec![
        StoryAct::Apply(both(1)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
        StoryAct::Apply(both(2)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
    ];
    let ends = &[("web", WEB, "Running"), ("db", DB, "Running")];
    story("new user-data", ends, acts)
}

/// cloud-init fails, and its user-data is corrected.
fn set_up_failed() -> CrashStory {
    let web = || web().server(GuestType::CloudInit);
    let acts = vec![
        StoryAct::Apply(vec![web().guest(Guest::TooSmall)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("user-data that fails, then is corrected", RUNNING, acts)
}

/// Each start gets a new boot disk; a suspended guest keeps its boot disk.
fn ephemeral() -> CrashStory {
    let mut web = web().server(GuestType::CloudInit);
    web.boot = "ephemeral";
    let power = |action, generation| StoryAct::Power("web", uuid(WEB), action, generation);
    let mut larger = web.clone();
    larger.cpus = 3;
    let acts = vec![
        StoryAct::Apply(vec![web]),
        power(PowerAction::Stop, 2),
        power(PowerAction::Start, 3),
        power(PowerAction::Pause, 4),
        power(PowerAction::Unpause, 5),
        power(PowerAction::Restart, 6),
        StoryAct::Apply(vec![larger]),
    ];
    let decided = |act| [act, StoryAct::Decided(uuid(WEB))];
    let acts = acts.into_iter().flat_map(decided).collect();
    story("an ephemeral boot disk", RUNNING, acts)
}

/// libvirt does not start the guest with the host, because it has no boot disk yet.
fn ephemeral_after_a_restart_of_the_host() -> CrashStory {
    let mut web = web().server(GuestType::None);
    web.boot = "ephemeral";
    let acts = vec![
        StoryAct::Apply(vec![web]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::HostRestarts(A),
        StoryAct::Look,
        StoryAct::Decided(uuid(WEB)),
    ];
    let name = "an ephemeral boot disk, and a restart of the host";
    story(name, RUNNING, acts)
}

/// A boot disk that lasts becomes one that does not, and then lasts again.
fn ephemeral_instead_of_lasting() -> CrashStory {
    let lasting = web().server(GuestType::CloudInit);
    let mut web = lasting.clone();
    web.boot = "ephemeral";
    let mut acts = Vec::new();
    for document in [lasting.clone(), web, lasting] {
        acts.extend([
            StoryAct::Apply(vec![document]),
            StoryAct::Decided(uuid(WEB)),
        ]);
    }
    let name = "an ephemeral boot disk instead of a lasting one, and back";
    story(name, RUNNING, acts)
}

pub fn delete() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Delete("web"),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("delete", &[("web", WEB, "Deleted")], acts)
}

fn delete_under_way() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::At(uuid(WEB), "define_domain"),
        StoryAct::Delete("web"),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("delete while it is made", &[("web", WEB, "Deleted")], acts)
}

fn forget() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Forget("web"),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("forget", &[("web", WEB, "Deleted")], acts)
}

/// The guest cannot boot. A retry destroys it and makes it anew, and it fails again.
pub fn retry_after_a_failed_boot() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().guest(Guest::TooSmall)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Retry(uuid(WEB)),
        StoryAct::Decided(uuid(WEB)),
    ];
    story(
        "retry after a failed boot",
        &[("web", WEB, "Failed VSI0501")],
        acts,
    )
}

/// A guest fails, then one hangs; a retry only continues to watch it.
fn retry_after_a_slow_boot() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().guest(Guest::TooSmall)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web().guest(Guest::Hangs)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Retry(uuid(WEB)),
        StoryAct::Decided(uuid(WEB)),
    ];
    story(
        "retry after a slow boot",
        &[("web", WEB, "Failed VSI0502")],
        acts,
    )
}

/// The guest fails to boot three times with automatic retries, and then the VSI is deleted.
fn tried_again_by_itself() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().guest(Guest::TooSmall)]),
        StoryAct::FailedBoots(uuid(WEB), 3),
        StoryAct::Delete("web"),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("three failed boots", &[("web", WEB, "Deleted")], acts)
}

/// An image that was uploaded ahead of time is not uploaded again.
fn uploaded_ahead() -> CrashStory {
    let acts = vec![
        StoryAct::Upload("hpcr.qcow2"),
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("upload an image ahead", &[("web", WEB, "Running")], acts)
}

fn pruned() -> CrashStory {
    let acts = vec![StoryAct::Upload("hpcr.qcow2"), StoryAct::Prune];
    story("upload and prune an image", &[], acts)
}

fn removed_by_policy() -> CrashStory {
    let acts = vec![StoryAct::Upload("hpcr.qcow2"), StoryAct::ImagePolicies];
    story("remove an image by its host's policy", &[], acts)
}

/// A VSI is applied while its image is removed. It must neither take the removal for an upload nor wait
/// for ever.
fn applied_while_its_image_goes() -> CrashStory {
    let acts = vec![
        StoryAct::Upload("hpcr.qcow2"),
        StoryAct::BeginPrune,
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story(
        "apply while the image is removed",
        &[("web", WEB, "Running")],
        acts,
    )
}

fn cancel_and_retry() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::At(uuid(WEB), "clone_boot_disk"),
        StoryAct::Cancel(uuid(WEB)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Retry(uuid(WEB)),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("cancel and retry", &[("web", WEB, "Running")], acts)
}

fn corrected() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().guest(Guest::NoWorkload)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story(
        "supersede by a corrected contract",
        &[("web", WEB, "Running")],
        acts,
    )
}

fn corrected_while_it_boots() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().guest(Guest::Hangs)]),
        StoryAct::At(uuid(WEB), "monitor_console"),
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("supersede a boot", &[("web", WEB, "Running")], acts)
}

fn two_on_one_image() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web(), VsiDocument::new("db", DB, A)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
    ];
    story(
        "two VSIs on one image",
        &[("web", WEB, "Running"), ("db", DB, "Running")],
        acts,
    )
}

/// The VSI gets another image: its boot disk is made anew, and its data disk stays.
fn rebuilt() -> CrashStory {
    let mut newer = web().with_disk(7);
    newer.image = "other.qcow2";
    let acts = vec![
        StoryAct::Apply(vec![web().with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![newer]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("rebuild from another image", RUNNING, acts)
}

const RUNNING: &[ExpectedEnd] = &[("web", WEB, "Running")];

fn restarted_for_more() -> CrashStory {
    let mut larger = web();
    larger.cpus = 4;
    larger.networks = vec!["default", "second"];
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![larger]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("restart for more processors", RUNNING, acts)
}

fn changed_twice() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web().edition(2)]),
        StoryAct::At(uuid(WEB), "clone_boot_disk"),
        StoryAct::Apply(vec![web().edition(3)]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("supersede a rebuild", RUNNING, acts)
}

/// A change after which the guest does not boot is rolled back.
fn taken_back() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web().guest(Guest::TooSmall)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("take a failed change back", RUNNING, acts)
}

/// A rollout of one change to two VSIs: one after the other.
fn rolled() -> CrashStory {
    let db = || VsiDocument::new("db", DB, A);
    let acts = vec![
        StoryAct::Apply(vec![web(), db()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
        StoryAct::Apply(vec![web().edition(2), db().edition(2)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
    ];
    story(
        "roll a rebuild",
        &[("web", WEB, "Running"), ("db", DB, "Running")],
        acts,
    )
}

fn off_and_on() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Stop, 2),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Start, 3),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Restart, 4),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("stop, start and restart", RUNNING, acts)
}

fn paused() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Pause, 2),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Unpause, 3),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Pause, 4),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("pause", &[("web", WEB, "Paused")], acts)
}

/// A stop command during a change waits for it.
fn stopped_while_it_changes() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web().edition(2)]),
        StoryAct::At(uuid(WEB), "monitor_console"),
        StoryAct::Power("web", uuid(WEB), PowerAction::Stop, 3),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("stop while it changes", &[("web", WEB, "Stopped")], acts)
}

fn approved() -> CrashStory {
    let mut manual = web();
    manual.manual = true;
    let acts = vec![
        StoryAct::Apply(vec![manual.clone()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![manual.edition(2)]),
        StoryAct::Approve("web"),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("approve a rebuild", RUNNING, acts)
}

fn grown() -> CrashStory {
    let mut larger = web().with_disk(7);
    larger.disk_gib = 2;
    let acts = vec![
        StoryAct::Apply(vec![web().with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![larger]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("grow a data disk", RUNNING, acts)
}

/// A forgotten VSI is adopted without changes, and applying its document then changes nothing.
fn adopted() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web().with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Forget("web"),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Adopt(A, uuid(WEB)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Apply(vec![web().with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
    ];
    story("adopt what was forgotten", RUNNING, acts)
}

fn with_a_disk_that_goes() -> VsiDocument {
    let mut web = web().with_disk(7);
    web.disk_goes = true;
    web
}

fn deleted_with_its_disk() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![with_a_disk_that_goes()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Delete("web"),
        StoryAct::DeleteDisk("data-7"),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::DiskDecided(uuid(7)),
    ];
    let ends = &[("web", WEB, "Deleted")];
    story("delete a VSI and its data disk", ends, acts)
}

/// A deleted data disk stays as long as its VSI uses it.
fn disk_waits_for_its_vsi() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![with_a_disk_that_goes()]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::DeleteDisk("data-7"),
        StoryAct::DiskDecided(uuid(7)),
    ];
    story("delete a data disk in use", RUNNING, acts)
}

fn host_restarted() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web(), VsiDocument::new("db", DB, A)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
        StoryAct::HostRestarts(A),
        StoryAct::Look,
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
    ];
    story(
        "a restart of the host",
        &[("web", WEB, "Running"), ("db", DB, "Running")],
        acts,
    )
}
