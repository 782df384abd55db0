//! What docs/how-to/groups.md promises of upgrades, gates and outputs: one sequence of commands in each test.

use std::time::Duration;

use vsiflow_engine::secret::{Secret, Secrets as _};
use vsiflow_workflows::{
    fleet::Fleet,
    spec::{
        Resolved,
        group::{OutputPlace, OutputSource, Quorum, ResolvedItem},
    },
};

use super::{
    controllers::{ControllerBench, group, only},
    ownership,
    world::{in_virtual_time, user},
};

/// Longer than a member is changed.
const A_WHILE: Duration = Duration::from_secs(600);

/// The edition of a template whose guests never become ready.
const BROKEN: u32 = 9;

/// The number of processors tells the edition of a template.
fn edit(item: &mut ResolvedItem, edition: u32) {
    item.pool.template.desired.machine.cpus = edition;
    let word = if edition == BROKEN {
        "lab-hang"
    } else {
        "good"
    };
    let user_data = format!("#cloud-config\n# {word}\n");
    item.pool.template.contract = Secret::new(user_data);
}

/// A group whose first wave needs one ready member of `members` in each of its pools, and has two more pools.
fn any_group(pools: &[&str], replicas: u32) -> Resolved {
    let mut resolved = group(2);
    let group = only(&mut resolved);
    let wave = &mut group.waves[0];
    wave.gate.members = Quorum::Any;
    wave.gate.probes.clear();
    let item = wave.items[0].clone();
    let named = pools.iter().map(|name| {
        let mut item = item.clone();
        item.name = (*name).to_owned();
        item.pool.desired.name = format!("grp-{name}");
        item.pool.desired.replicas = Some(replicas);
        item
    });
    wave.items = named.collect();
    group.waves[1].gate.probes.clear();
    let all_items = group.waves.iter_mut().flat_map(|each| &mut each.items);
    all_items.for_each(|edited| edit(edited, 2));
    resolved
}

async fn phase(fleet: &Fleet) -> &'static str {
    let group = fleet.groups().get("default", "grp").await.unwrap();
    group.status.phase
}

#[test]
fn an_upgrade_stops_at_a_pool_that_fails_where_one_member_opens_the_gate() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let document = || any_group(&["a", "c"], 1);
        bench.reaches(document(), &group_entity).await;
        let mut broken = document();
        let waves = &mut only(&mut broken).waves;
        edit(&mut waves[0].items[0], BROKEN);
        edit(&mut waves[0].items[1], 3);
        edit(&mut waves[1].items[0], 3);
        bench.fleet.apply(broken, user()).await.unwrap();
        while phase(&bench.fleet).await != "Degraded" {
            tokio::time::sleep(A_WHILE).await;
        }
        tokio::time::sleep(A_WHILE).await;
        let cpus = [bench.cpus("grp-c-0").await, bench.cpus("grp-b-0").await];
        assert_eq!(cpus, [2, 2], "what comes after the failed pool");
        bench.reaches(document(), &group_entity).await;
    });
}

#[test]
fn members_of_the_earlier_template_do_not_open_the_gate_of_a_changed_wave() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let document = || any_group(&["a"], 3);
        bench.reaches(document(), &group_entity).await;
        let mut broken = document();
        for wave in &mut only(&mut broken).waves {
            edit(&mut wave.items[0], BROKEN);
        }
        bench.fleet.apply(broken, user()).await.unwrap();
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(bench.cpus("grp-b-0").await, 2);
        let group = bench.fleet.groups().get("default", "grp").await.unwrap();
        assert!(!group.status.waves[0].open, "{:?}", group.status);
        bench.reaches(document(), &group_entity).await;
    });
}

#[test]
fn a_wave_of_which_everything_was_removed_is_shown_as_open() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let document = |quorum| {
            let mut resolved = group(2);
            let first = &mut only(&mut resolved).waves[0];
            first.gate.members = quorum;
            first.items[0].remove_after = Some("second".to_owned());
            resolved
        };
        bench.reaches(document(Quorum::All), &group_entity).await;
        bench.reaches(document(Quorum::Any), &group_entity).await;
        let group = bench.fleet.groups().get("default", "grp").await.unwrap();
        assert!(group.status.waves.iter().all(|wave| wave.open));
    });
}

/// A group with an output of its first member.
fn group_with(from: &str, secret: bool) -> Resolved {
    let mut resolved = group(2);
    only(&mut resolved).outputs = vec![OutputSource {
        name: "kernel".to_owned(),
        item: "a".to_owned(),
        number: 0,
        from: OutputPlace::Console(from.to_owned()),
        secret,
    }];
    resolved
}

const VERSION: &str = "Linux version ([0-9.]+)";

async fn output(bench: &ControllerBench) -> String {
    let output = bench.fleet.groups().output("default", "grp", "kernel");
    String::from_utf8(output.await.unwrap().expose().to_vec()).unwrap()
}

/// The value that `get group` shows.
async fn shown(bench: &ControllerBench) -> Option<String> {
    let group = bench.fleet.groups().get("default", "grp").await.unwrap();
    group.status.outputs[0].value.clone()
}

#[test]
fn an_output_that_became_a_secret_is_not_shown_any_more() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench
            .reaches(group_with(VERSION, false), &group_entity)
            .await;
        let version = output(&bench).await;
        assert_eq!(shown(&bench).await.as_ref(), Some(&version));
        bench
            .reaches(group_with(VERSION, true), &group_entity)
            .await;
        assert_eq!(shown(&bench).await, None);
        assert_eq!(output(&bench).await, version);
        bench
            .reaches(group_with(VERSION, false), &group_entity)
            .await;
        assert_eq!(shown(&bench).await, Some(version));
    });
}

#[test]
fn an_output_that_is_read_from_another_place_has_another_value() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench
            .reaches(group_with(VERSION, false), &group_entity)
            .await;
        let version = output(&bench).await;
        let other = "(Linux) version";
        bench.reaches(group_with(other, false), &group_entity).await;
        assert_eq!(output(&bench).await, "Linux");
        // What refers to it waits for the new value.
        let mut changed = group_with("(Linux version)", false);
        let second = &mut only(&mut changed).waves[1].items[0].pool.template;
        second.contract = Secret::new("$(group.outputs.kernel)");
        bench.reaches(changed, &group_entity).await;
        assert_eq!(output(&bench).await, "Linux version");
        // Also when it was away in between.
        bench.reaches(group(2), &group_entity).await;
        bench
            .reaches(group_with(VERSION, false), &group_entity)
            .await;
        assert_eq!(output(&bench).await, version);
    });
}

/// The member with the output was removed, so that nothing can read it again.
#[test]
fn a_lost_secret_output_holds_up_only_what_refers_to_it() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let document = |edition| {
            let mut resolved = group_with(VERSION, true);
            let waves = &mut only(&mut resolved).waves;
            waves[0].items[0].remove_after = Some("second".to_owned());
            edit(&mut waves[1].items[0], edition);
            resolved
        };
        bench.reaches(document(2), &group_entity).await;
        let version = output(&bench).await;
        let secrets = &bench.world.secrets;
        for name in secrets.ids().await.unwrap() {
            if secrets.get(&name).await.unwrap().expose() == version.as_bytes() {
                secrets.erase(&name).await.unwrap();
            }
        }
        bench.reaches(document(3), &group_entity).await;
        assert_eq!(bench.cpus("grp-b-0").await, 3);
    });
}
