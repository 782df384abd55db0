//! What the documents promise of pools, groups and quotas: one sequence of commands in each test.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_engine::model::EntityId;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{
        Change, EndedGroup, Fleet, FleetError, GuestQuestion, GuestReports, MemberJournals,
        MemberQuestions, MemberReports, MembersRequest, PoolMember, RequestStatus, Verdict,
    },
    phase::Phase,
    record::pool_entity,
    spec::{
        Resolved,
        group::{AgentCommand, GateProbe, OutputPlace, OutputSource, ResolvedGroup},
    },
};

use super::{
    documents::{self, Group, PoolDocument, VsiDocument, quota},
    gate::CrashGate,
    late::LateAnswers,
    ownership,
    world::{CrashWorld, in_virtual_time, user},
};

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// A fleet that works on pools and groups.
pub(super) struct ControllerBench {
    pub(super) fleet: Fleet,
    pub(super) world: CrashWorld,
}

impl ControllerBench {
    pub(super) async fn new() -> Self {
        Self::with(None).await
    }

    /// With hosts that answer late.
    async fn with(late: Option<Arc<LateAnswers>>) -> Self {
        let mut world = CrashWorld::new(None).await;
        world.late = late;
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        fleet.drive_all().await.unwrap();
        Self { fleet, world }
    }

    /// Applies documents, and waits until the pool or group has its desired state.
    pub(super) async fn reaches(&self, documents: Resolved, entity: &EntityId) {
        self.fleet.apply(documents, user()).await.unwrap();
        self.settles(entity).await;
    }

    pub(super) async fn settles(&self, entity: &EntityId) {
        let decided = tokio::time::timeout(A_DAY, self.fleet.decided(entity)).await;
        let decided = decided.expect("it is never decided").unwrap();
        assert_eq!(decided, Verdict::Reached);
    }

    /// The processors of a VSI.
    pub(super) async fn cpus(&self, name: &str) -> u64 {
        let vsi = self.fleet.vsis().get("default", name).await.unwrap();
        vsi.spec["machine"]["cpus"].as_u64().unwrap()
    }

    /// Deletes a member, and waits until the pool has made it again.
    async fn is_made_again(&self, name: &str) {
        let deleted = self.fleet.vsis().delete("default", name, false, user());
        let deleted = deleted.await.unwrap();
        self.fleet.decided(&deleted).await.unwrap();
        loop {
            let vsi = self.fleet.vsis().get("default", name).await;
            if vsi.is_ok_and(|vsi| vsi.metadata.uid != deleted.id()) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.settles(&ownership::pool()).await;
    }
}

/// Three members with this many processors; those below the partition are not changed.
pub(super) fn pool(cpus: u32, partition: u32) -> Resolved {
    let mut member = VsiDocument::new("web", 1, "sim:a").server(GuestType::CloudInit);
    member.cpus = cpus;
    let pool = PoolDocument {
        replicas: Some(3),
        member,
        disk: false,
        evictable: false,
    };
    let mut resolved = pool.resolved();
    let desired = &mut resolved.pools.first_mut().unwrap().desired;
    desired.strategy.partition = partition;
    resolved
}

#[test]
fn members_below_the_partition_are_made_from_the_template_that_was_rolled_out_last() {
    in_virtual_time(async {
        let (bench, web) = (ControllerBench::new().await, ownership::pool());
        bench.reaches(pool(2, 0), &web).await;
        // A canary, and back.
        bench.reaches(pool(3, 2), &web).await;
        assert_eq!(
            (bench.cpus("web-0").await, bench.cpus("web-2").await),
            (2, 3)
        );
        bench.reaches(pool(2, 2), &web).await;
        bench.is_made_again("web-0").await;
        assert_eq!(bench.cpus("web-0").await, 2);
        // Two canaries, one after the other, and `rollback`.
        bench.reaches(pool(3, 2), &web).await;
        bench.reaches(pool(4, 2), &web).await;
        bench.is_made_again("web-1").await;
        assert_eq!(bench.cpus("web-1").await, 2);
        let rollback = bench.fleet.pools().rollback("default", "web", user());
        rollback.await.unwrap();
        bench.settles(&web).await;
        bench.is_made_again("web-1").await;
        assert_eq!(bench.cpus("web-1").await, 2);
        // A rollout that reaches every member counts from then on.
        bench.reaches(pool(5, 0), &web).await;
        bench.reaches(pool(6, 1), &web).await;
        bench.is_made_again("web-0").await;
        assert_eq!(
            (bench.cpus("web-0").await, bench.cpus("web-1").await),
            (5, 6)
        );
    });
}

/// A group with one wave, whose pool replaces its four members by surge members.
fn surging_group(cpus: u32) -> Resolved {
    let mut resolved = group(cpus);
    let group = only(&mut resolved);
    group.waves.truncate(1);
    group.waves[0].items.truncate(1);
    let pool = &mut group.waves[0].items[0].pool;
    pool.desired.replicas = Some(4);
    pool.desired.strategy.max_unavailable = 0;
    pool.desired.strategy.max_surge = 2;
    resolved
}

/// As a Deployment does. What counted only members below `replicas` showed two of four ready while all four served.
#[test]
fn members_of_a_surge_count_as_ready_and_updated() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench.reaches(surging_group(2), &group_entity).await;
        bench.fleet.apply(surging_group(3), user()).await.unwrap();
        let (mut most_ready, mut most_there) = (0, 0);
        while bench.cpus("grp-a-0").await != 3 {
            let pool = bench.fleet.pools().get("default", "grp-a").await.unwrap();
            let status = pool.status;
            assert!(status.ready_replicas >= 4, "{status:?}");
            let stays = |member: &&PoolMember| member.phase != Phase::Deleting;
            let updated = status.members.iter().filter(|member| member.updated);
            assert_eq!(
                status.updated_replicas as usize,
                updated.filter(stays).count()
            );
            let group = bench.fleet.groups().get("default", "grp").await.unwrap();
            assert!(group.status.ready_replicas >= 4, "{:?}", group.status);
            most_ready = most_ready.max(status.ready_replicas);
            most_there = most_there.max(status.replicas);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!((most_ready, most_there), (6, 6));
        bench.settles(&group_entity).await;
        let status = bench
            .fleet
            .pools()
            .get("default", "grp-a")
            .await
            .unwrap()
            .status;
        let counts = (
            status.replicas,
            status.ready_replicas,
            status.updated_replicas,
        );
        assert_eq!(counts, (4, 4, 4));
    });
}

/// The group of the stories, whose members have this many processors, without outputs and removals.
pub(super) fn group(cpus: u32) -> Resolved {
    let mut member = VsiDocument::new("grp", 1, "sim:a").server(GuestType::CloudInit);
    member.cpus = cpus;
    let mut resolved = Group { member }.resolved();
    let group = only(&mut resolved);
    group.outputs.clear();
    for wave in &mut group.waves {
        for item in &mut wave.items {
            (item.remove_after, item.single) = (None, false);
            let user_data = format!("#cloud-config\n# {cpus}\n");
            item.pool.template.contract = vsiflow_engine::secret::Secret::new(user_data);
        }
    }
    resolved
}

pub(super) fn only(resolved: &mut Resolved) -> &mut ResolvedGroup {
    resolved.groups.first_mut().unwrap()
}

#[test]
fn a_wave_that_wants_no_member_does_not_hold_up_the_next() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench.reaches(group(2), &group_entity).await;
        let mut without = group(3);
        let first = &mut only(&mut without).waves[0].items[0];
        first.pool.desired.replicas = Some(0);
        bench.reaches(without, &group_entity).await;
        assert_eq!(bench.cpus("grp-b-1").await, 3);
        let group = bench.fleet.groups().get("default", "grp").await.unwrap();
        assert_eq!(
            (group.status.phase, group.status.ready_replicas),
            ("Available", 2)
        );
        assert!(group.status.waves.iter().all(|wave| wave.open));
    });
}

#[test]
fn what_a_group_removed_uses_no_quota_and_needs_no_host() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let document = || {
            let mut resolved = group(2);
            let first = &mut only(&mut resolved).waves[0].items[0];
            first.remove_after = Some("second".to_owned());
            resolved
        };
        bench.reaches(document(), &group_entity).await;
        bench.fleet.apply(quota(2), user()).await.unwrap();
        let applied = bench.fleet.apply(document(), user()).await.unwrap();
        assert!(applied.iter().all(|one| one.change == Change::Unchanged));
        // The removed member would fit on no host any more.
        let mut larger = document();
        let first = &mut only(&mut larger).waves[0].items[0];
        let template = &mut first.pool.template.desired;
        template.host.clear();
        template.machine.memory_mib = 1 << 40;
        let placement = serde_json::json!({"request": {}, "candidates": ["sim:a"]});
        template.placement = serde_json::from_value(placement).unwrap();
        bench.reaches(larger, &group_entity).await;
        let group = bench.fleet.groups().get("default", "grp").await.unwrap();
        assert_eq!((group.status.replicas, group.status.ready_replicas), (2, 2));
    });
}

/// A pool of its own may have the name of a pool that a group removed, and not while that pool still exists.
#[test]
fn the_name_of_a_removed_pool_is_free() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let mut documents = group(2);
        let first = &mut only(&mut documents).waves[0].items[0];
        first.remove_after = Some("second".to_owned());
        let mut own = pool(2, 0);
        own.pools[0].desired.name = "grp-a".to_owned();
        bench.fleet.apply(documents, user()).await.unwrap();
        let refused = bench.fleet.apply(own.clone(), user()).await.unwrap_err();
        assert_eq!(refused.failure.code.as_str(), "VSI0730");
        bench.settles(&group_entity).await;
        bench.reaches(own, &ownership::pool()).await;
        let group = bench.fleet.groups().get("default", "grp").await.unwrap();
        assert_eq!(group.status.phase, "Available");
    });
}

#[test]
fn the_pool_of_a_group_that_is_being_deleted_is_taken_over_by_no_document() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench.reaches(group(2), &group_entity).await;
        let mut own = pool(2, 0);
        own.pools[0].desired.name = "grp-a".to_owned();
        own.pools[0].desired.uid = None;
        let deleted = bench.fleet.groups().delete("default", "grp", false, user());
        deleted.await.unwrap();
        let refused = bench.fleet.apply(own, user()).await.unwrap_err();
        assert_eq!(refused.failure.code.as_str(), "VSI0730");
        bench.settles(&group_entity).await;
        let pools = bench.fleet.pools().list(false).await.unwrap();
        assert!(pools.is_empty(), "{pools:?}");
    });
}

#[test]
fn an_output_that_is_added_after_its_gate_opened_is_read() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench.reaches(group(2), &group_entity).await;
        let mut more = group(2);
        only(&mut more).outputs.push(OutputSource {
            name: "kernel".to_owned(),
            item: "a".to_owned(),
            number: 0,
            from: OutputPlace::Console("Linux version ([0-9.]+)".to_owned()),
            secret: false,
        });
        bench.reaches(more, &group_entity).await;
        let output = bench.fleet.groups().output("default", "grp", "kernel");
        assert!(!output.await.unwrap().expose().is_empty());
    });
}

/// A group with a gate whose command never ends in its guest.
pub fn silent_group() -> Resolved {
    let mut resolved = group(2);
    let command = AgentCommand {
        path: "/bin/sleep".to_owned(),
        args: Vec::new(),
    };
    let first = &mut only(&mut resolved).waves[0];
    first.gate.probes = vec![GateProbe::Command(command)];
    resolved
}

/// How long it takes until a member that was deleted is made again.
async fn time_of_replacement(bench: &ControllerBench) -> Duration {
    let begun = tokio::time::Instant::now();
    bench.is_made_again("web-0").await;
    begun.elapsed()
}

#[test]
fn a_gate_whose_guest_never_answers_holds_up_no_other_pool() {
    in_virtual_time(async {
        let (bench, web) = (ControllerBench::new().await, ownership::pool());
        bench.reaches(pool(2, 0), &web).await;
        let undisturbed = time_of_replacement(&bench).await;
        bench.fleet.apply(silent_group(), user()).await.unwrap();
        let is_closed = || async {
            let group = bench.fleet.groups().get("default", "grp").await.unwrap();
            let message = group.status.message;
            message.contains("/bin/sleep")
        };
        while !is_closed().await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for _ in 0..5 {
            let disturbed = time_of_replacement(&bench).await;
            assert_not_held_up(disturbed, undisturbed);
        }
    });
}

/// Two members that may move, on two hosts among which vsiflow chooses.
pub fn placed_pool() -> Resolved {
    let mut member = VsiDocument::new("late", 1, "").server(GuestType::None);
    member.boot = "ephemeral";
    let document = PoolDocument {
        replicas: Some(2),
        member,
        disk: false,
        evictable: false,
    };
    let mut resolved = document.resolved();
    let pool = resolved.pools.first_mut().unwrap();
    pool.desired.name = "late".to_owned();
    pool.desired.uid = Some(documents::uuid(79));
    let placement = serde_json::json!({
        "request": {"spread": {"over": "host"}}, "candidates": ["sim:b", "sim:c"],
    });
    pool.template.desired.placement = serde_json::from_value(placement).unwrap();
    resolved
}

/// A bench with two pools, one of which is placed on hosts, of which one begins to answer at the last moment; and
/// the time in which a member of the other pool is made again.
async fn late_bench() -> (ControllerBench, Duration) {
    let late = Arc::<LateAnswers>::default();
    let bench = ControllerBench::with(Some(late.clone())).await;
    bench.reaches(pool(2, 0), &ownership::pool()).await;
    let placed = pool_entity(documents::uuid(79)).unwrap();
    bench.reaches(placed_pool(), &placed).await;
    let undisturbed = time_of_replacement(&bench).await;
    late.set("sim:b", Duration::from_secs(19));
    // What the host said before is used for a while.
    tokio::time::sleep(Duration::from_secs(60)).await;
    (bench, undisturbed)
}

fn assert_not_held_up(disturbed: Duration, undisturbed: Duration) {
    assert!(
        disturbed <= undisturbed * 2 + Duration::from_secs(2),
        "{disturbed:?} instead of {undisturbed:?}"
    );
}

#[test]
fn a_host_that_answers_at_the_last_moment_holds_up_no_other_pool() {
    in_virtual_time(async {
        let (bench, undisturbed) = late_bench().await;
        let hosts = bench.fleet.hosts();
        hosts.cordon("sim:c", user()).await.unwrap();
        let gone = bench
            .fleet
            .vsis()
            .delete("default", "late-0", false, user());
        bench.fleet.decided(&gone.await.unwrap()).await.unwrap();
        for _ in 0..5 {
            assert_not_held_up(time_of_replacement(&bench).await, undisturbed);
        }
        let placed = pool_entity(documents::uuid(79)).unwrap();
        let decided = bench.fleet.decided(&placed).await.unwrap();
        let Verdict::Blocked(failure) = decided else {
            panic!("{decided:?}");
        };
        assert_eq!(failure.code.as_str(), "VSI0737");
        for _ in 0..5 {
            assert_not_held_up(time_of_replacement(&bench).await, undisturbed);
        }
    });
}

#[test]
fn a_drain_whose_other_hosts_answer_at_the_last_moment_holds_up_no_other_pool() {
    in_virtual_time(async {
        let (bench, undisturbed) = late_bench().await;
        let drain = Box::pin(bench.fleet.hosts().drain_moving("sim:c", None, user()));
        let (drained, replacement) = tokio::join!(drain, time_of_replacement(&bench));
        assert!(!drained.unwrap().0.is_empty());
        assert_not_held_up(replacement, undisturbed);
        for _ in 0..3 {
            assert_not_held_up(time_of_replacement(&bench).await, undisturbed);
        }
    });
}

const NET: &str = "default.net";

/// A VSI on a network that vsiflow makes on its host.
fn on_network(mut vsi: VsiDocument) -> VsiDocument {
    vsi.networks = vec![NET];
    vsi.made = Some((NET, None));
    vsi
}

/// The network of a removed member was deleted, and another one has its range: the unchanged document was refused
/// (VSI0747).
#[test]
fn what_a_group_removed_needs_no_network() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let template = on_network(VsiDocument::new("grp", 1, "sim:a"));
        let template = documents::resolved(&[template]).vsis.remove(0).desired;
        let mut document = group(2);
        let first = &mut only(&mut document).waves[0].items[0];
        first.remove_after = Some("second".to_owned());
        let member = &mut first.pool.template.desired;
        member.networks.clone_from(&template.networks);
        member.made_networks.clone_from(&template.made_networks);
        bench.reaches(document.clone(), &group_entity).await;
        let networks = bench.fleet.networks();
        for network in networks
            .delete("default", "net", false, user())
            .await
            .unwrap()
        {
            bench.settles(&network).await;
        }
        let mut other = VsiDocument::new("other", 90, "sim:a");
        other.networks = vec!["default.other"];
        other.made = Some(("default.other", None));
        let entity = ownership::entity(documents::uuid(90));
        bench.reaches(documents::resolved(&[other]), &entity).await;
        let again = bench.fleet.apply(document, user()).await.unwrap();
        assert!(
            again
                .iter()
                .all(|applied| applied.change == Change::Unchanged)
        );
    });
}

/// A bench whose second host does not say in time whether it has room for a network.
async fn bench_without_rooms() -> ControllerBench {
    let late = Arc::<LateAnswers>::default();
    let bench = ControllerBench::with(Some(late.clone())).await;
    bench.reaches(pool(2, 0), &ownership::pool()).await;
    late.set("sim:b", Duration::from_secs(6));
    bench
}

#[test]
fn a_host_that_does_not_say_whether_it_has_room_for_networks_holds_up_no_other_pool() {
    in_virtual_time(async {
        let bench = bench_without_rooms().await;
        let undisturbed = time_of_replacement(&bench).await;
        // Six members that are made at the same time, each of which is on such a network.
        let mut hostile = group(2);
        let template = on_network(VsiDocument::new("grp", 1, "sim:b"));
        let template = documents::resolved(&[template]).vsis.remove(0).desired;
        let first = &mut only(&mut hostile).waves[0];
        let item = first.items[0].clone();
        first.items = (0..6)
            .map(|number| {
                let mut item = item.clone();
                item.name = format!("a{number}");
                item.pool.desired.name = format!("grp-a{number}");
                let member = &mut item.pool.template.desired;
                member.host.clone_from(&template.host);
                member.networks.clone_from(&template.networks);
                member.made_networks.clone_from(&template.made_networks);
                item
            })
            .collect();
        bench.fleet.apply(hostile, user()).await.unwrap();
        for _ in 0..8 {
            assert_not_held_up(time_of_replacement(&bench).await, undisturbed);
        }
        let group = bench.fleet.groups().get("default", "grp").await.unwrap();
        assert_eq!(group.status.waves[0].items.len(), 6);
    });
}

#[test]
fn a_host_that_does_not_say_whether_it_has_room_for_networks_holds_up_no_other_choice() {
    in_virtual_time(async {
        let bench = bench_without_rooms().await;
        let fleet = bench.fleet.clone();
        let placed = |vsi: VsiDocument, host: &str| {
            let mut resolved = documents::resolved(&[vsi]);
            let placement = serde_json::json!({"request": {}, "candidates": [host]});
            resolved.vsis[0].desired.placement = serde_json::from_value(placement).unwrap();
            resolved
        };
        let hostile = placed(on_network(VsiDocument::new("slow", 90, "")), "sim:b");
        let hostile = tokio::spawn(async move { fleet.apply(hostile, user()).await });
        for number in 91..111 {
            let name: &'static str = format!("quick-{number}").leak();
            let begun = tokio::time::Instant::now();
            let honest = placed(VsiDocument::new(name, number, ""), "sim:a");
            bench.fleet.apply(honest, user()).await.unwrap();
            assert_not_held_up(begun.elapsed(), Duration::ZERO);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        hostile.await.unwrap().unwrap();
    });
}

/// Journals whose use is a defect.
struct Broken;

#[async_trait]
impl MemberJournals for Broken {
    async fn status_of(&self, _: Uuid) -> Result<RequestStatus, FleetError> {
        panic!("the test asked for it")
    }

    async fn report(&self, _: &MemberQuestions) -> Result<MemberReports, FleetError> {
        unreachable!()
    }

    async fn journal_of(&self, _: &str, _: &str) -> Result<Option<u16>, FleetError> {
        unreachable!()
    }

    async fn ask_guests(
        &self,
        _: Option<u16>,
        _: GuestQuestion,
    ) -> Result<GuestReports, FleetError> {
        unreachable!()
    }

    async fn end_networks(&self, _: &EndedGroup) -> Result<bool, FleetError> {
        unreachable!()
    }

    async fn ask(&self, _: Uuid, _: MembersRequest) -> Result<(), FleetError> {
        unreachable!()
    }
}

#[test]
fn a_controller_that_panics_ends_the_process_and_what_waits_for_it() {
    in_virtual_time(async {
        let bench = ControllerBench::new().await;
        bench.fleet.pools().reach_over(Arc::new(Broken));
        bench.fleet.apply(pool(2, 0), user()).await.unwrap();
        let web = ownership::pool();
        let decided = tokio::time::timeout(A_DAY, bench.fleet.decided(&web)).await;
        let error = decided.expect("it waits for ever").unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        let refused = bench.fleet.apply(pool(3, 0), user()).await;
        assert!(refused.is_err(), "the engine still accepts work");
    });
}
