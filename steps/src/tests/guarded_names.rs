//! Names of any bytes before each guard: what they name is protected, and is named in the refusal.

use proptest::prelude::*;

use super::*;
use crate::{
    guards::{self, DeletionCandidate, DomainToUndefine, ReplacedDefinition},
    host_text,
    ports::{
        DeletionGround, DomainInfo, DomainState, Leftovers, VolumeFormat, VolumeInfo, VolumeSpec,
    },
    sim::Pool,
};

/// A name as a file or a domain may have it.
fn odd_name() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(vec![
        b"caf\xe9.qcow2".to_vec(),
        b"two\nlines\r".to_vec(),
        b"\x1b[2J".to_vec(),
        b"right\xe2\x80\xaeleft".to_vec(),
        b" ".to_vec(),
        b"\xf4\x8f\xb8\x80".to_vec(),
    ]);
    let random = proptest::collection::vec(1..=255_u8, 1..30);
    let name = prop_oneof![known, random].prop_map(|mut name| {
        name.iter_mut()
            .filter(|byte| **byte == b'/')
            .for_each(|byte| *byte = b'_');
        name
    });
    name.prop_filter("no file has it", |name| name != b"." && name != b"..")
}

fn shown(name: &[u8]) -> String {
    host_text::shown(&host_text::read(name)).into_owned()
}

fn run(work: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// What each guard of a deletion says about a volume that something uses.
async fn deletion_guards(
    world: &World,
    volume: &VolumeInfo,
    domain: Option<&DomainInfo>,
) -> Vec<(&'static str, Result<(), Failure>)> {
    let (cx, ports) = (world.cx("test", false), world.ports().await);
    let key = &volume.key;
    let doomed = DeletionCandidate {
        key,
        recorded: true,
        owner: None,
    };
    let undefined = DomainToUndefine {
        uuid: Uuid::from_u128(7),
        leftovers: Leftovers::Keep,
        volumes: &[doomed],
        stay: &[],
    };
    let ground = DeletionGround::Scratch;
    let keys = std::slice::from_ref(key);
    let mut said = vec![
        (
            "removable",
            guards::removable(&cx, &ports, doomed).await.map(drop),
        ),
        (
            "foresee",
            guards::foresee(&cx, &ports, keys, undefined.uuid).await,
        ),
        (
            "remove",
            guards::remove(&cx, &ports, doomed, ground).await.map(drop),
        ),
        (
            "remove_for_good",
            guards::remove_for_good(&cx, &ports, doomed, ground)
                .await
                .map(drop),
        ),
        (
            "permit_undefinition",
            guards::permit_undefinition(&cx, &ports, undefined)
                .await
                .map(drop),
        ),
    ];
    if let Some(domain) = domain {
        let foreseen = guards::foresee_undefinition(&cx, &ports, domain, undefined).await;
        said.push(("foresee_undefinition", foreseen));
    }
    said
}

fn each_names(
    said: Vec<(&'static str, Result<(), Failure>)>,
    words: &str,
) -> Result<(), TestCaseError> {
    for (guard, answer) in said {
        let Err(failure) = answer else {
            return Err(TestCaseError::fail(format!("{guard} passes {words}")));
        };
        prop_assert!(
            failure.message.as_str().contains(words),
            "{guard}: {words}: {failure:?}"
        );
        let text = format!("{failure}");
        prop_assert!(!text.contains(host_text::is_escaped), "{guard}: {text:?}");
    }
    Ok(())
}

/// A volume with a layer of this name over it, in a pool of that name.
async fn layered(world: &World, name: &[u8], pool: &[u8], is_active: bool) -> VolumeInfo {
    let storage = world.ports().await.storage;
    let base = world.key("base.img");
    super::images::foreign(world, &base, b"x").await;
    let base = storage.volume(&base).await.unwrap().unwrap();
    let layer = world.key(&host_text::read(name));
    let spec = VolumeSpec {
        key: layer.clone(),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: Some((base.path.clone(), VolumeFormat::Raw)),
    };
    storage.create(&spec).await.unwrap();
    let pool = host_text::read(pool).into_owned();
    world
        .sim()
        .await
        .with(move |state| {
            let own = state.pools.get_mut(POOL).unwrap();
            let volume = own.volumes.remove(&layer.name).unwrap();
            let other = Pool {
                active: is_active,
                path: "/other".to_owned(),
                capacity: own.capacity,
                volumes: [(layer.name.clone(), volume)].into(),
            };
            state.pools.insert(pool, other);
        })
        .await;
    base
}

/// A domain of this name that runs and has the disks of the VSI, as an administrator would define one. Both have a
/// further disk of this name.
async fn add_domain(world: &World, name: &[u8]) {
    let name = host_text::read(name).into_owned();
    let sim = world.sim().await;
    sim.with(move |state| {
        let own = state.domains.values_mut().next().unwrap();
        let mut disk = own.spec.disks[0].clone();
        disk.path = format!("/elsewhere/{name}");
        own.spec.disks.push(disk);
        let mut domain = own.clone();
        let uuid = Uuid::from_u128(9);
        domain.spec.uuid = uuid;
        domain.spec.name = name;
        domain.spec.title = String::new();
        domain.mark = None;
        domain.state = DomainState::Running;
        state.domains.insert(uuid, domain);
    })
    .await;
}

async fn own_domain(world: &World) -> DomainInfo {
    let domains = world.ports().await.domains;
    domains.domain(world.uuid).await.unwrap().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_layer_of_any_name_in_a_pool_of_any_name_stops_each_guard(
        name in odd_name(), pool in odd_name(), is_active: bool,
    ) {
        run(async {
            let world = World::new().await;
            let base = layered(&world, &name, &pool, is_active).await;
            let mut said = deletion_guards(&world, &base, None).await;
            if is_active {
                let (cx, ports) = (world.cx("test", false), world.ports().await);
                said.push(("nothing_over", guards::nothing_over(&cx, &ports, &[&base]).await));
            }
            each_names(said, &shown(&name))
        })?;
    }

    #[test]
    fn a_domain_of_any_name_stops_each_guard_of_its_disks(name in odd_name()) {
        run(async {
            let world = World::new().await;
            world.define().await.unwrap();
            add_domain(&world, &name).await;
            let storage = world.ports().await.storage;
            let boot = storage.volume(&world.boot()).await.unwrap().unwrap();
            let own = own_domain(&world).await;
            let mut said = deletion_guards(&world, &boot, Some(&own)).await;
            let (cx, ports) = (world.cx("test", false), world.ports().await);
            let started = guards::permit_start(&cx, &ports, &own, &[]).await;
            said.push(("permit_start", started.map(drop)));
            each_names(said, &shown(&name))
        })?;
    }

    #[test]
    fn a_file_of_any_name_that_a_guest_writes_to_stops_its_definition_and_its_start(name in odd_name()) {
        run(async {
            let world = World::new().await;
            world.define().await.unwrap();
            let odd = world.key(&host_text::read(&name));
            super::images::foreign(&world, &odd, b"x").await;
            let sim = world.sim().await;
            sim.with(move |state| {
                let path = format!("{}/{}", state.pools[POOL].path, odd.name);
                let domain = state.domains.values_mut().next().unwrap();
                domain.spec.disks[0].path = path;
            })
            .await;
            let own = own_domain(&world).await;
            let (cx, ports) = (world.cx("test", false), world.ports().await);
            let named = [world.boot(), world.cidata(), world.key("data-1")];
            let replaced = ReplacedDefinition {
                domain: Some(&own),
                named: &named,
                disks: &[],
            };
            let state = sim.with(|state| state.domains.values().next().unwrap().spec.clone()).await;
            let defined = guards::permit_definition(&cx, &ports, replaced, state).await;
            let started = guards::permit_start(&cx, &ports, &own, &named).await;
            let said = vec![
                ("permit_definition", defined.map(drop)),
                ("permit_start", started.map(drop)),
            ];
            each_names(said, &shown(&name))
        })?;
    }
}
