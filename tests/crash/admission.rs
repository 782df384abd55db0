//! What is admitted of pools and groups: quotas, hosts to choose from, and sizes.

use vsiflow_engine::model::{EntityId, Failure};
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::FleetError,
    spec::{
        Resolved,
        quota::{DesiredQuota, QuotaLimits},
    },
};

use super::{
    controllers::{ControllerBench, group, pool},
    documents::{PoolDocument, VsiDocument},
    ownership,
    world::{in_virtual_time, user},
};

fn processors(cpus: u32) -> Resolved {
    let hard = QuotaLimits {
        cpus: Some(cpus),
        ..QuotaLimits::default()
    };
    Resolved {
        quotas: vec![DesiredQuota {
            namespace: "default".to_owned(),
            name: "team".to_owned(),
            hard,
        }],
        ..Resolved::default()
    }
}

fn of_replicas(mut documents: Resolved, replicas: u32) -> Resolved {
    documents.pools[0].desired.replicas = Some(replicas);
    documents
}

fn code<T: std::fmt::Debug>(done: Result<T, FleetError>) -> String {
    let failure: Failure = *done.unwrap_err().failure;
    failure.code.to_string()
}

async fn scale(bench: &ControllerBench, name: &str, replicas: i64) -> Result<EntityId, FleetError> {
    let pools = bench.fleet.pools();
    pools.scale("default", name, replicas, user()).await
}

#[test]
fn members_below_the_partition_count_with_the_template_that_they_keep() {
    in_virtual_time(async {
        let (bench, web) = (ControllerBench::new().await, ownership::pool());
        bench.fleet.apply(processors(8), user()).await.unwrap();
        bench.reaches(of_replicas(pool(4, 3), 1), &web).await;
        bench.reaches(of_replicas(pool(1, 3), 1), &web).await;
        assert_eq!(code(scale(&bench, "web", 3).await), "VSI0738");
        let more = of_replicas(pool(1, 3), 3);
        assert_eq!(code(bench.fleet.apply(more, user()).await), "VSI0738");
        scale(&bench, "web", 2).await.unwrap();
        assert_eq!(bench.cpus("web-0").await, 4);
        // Above the partition, members have the new template.
        bench.settles(&web).await;
        bench.reaches(of_replicas(pool(1, 1), 2), &web).await;
        bench.reaches(of_replicas(pool(1, 1), 3), &web).await;
        assert_eq!(bench.cpus("web-2").await, 1);
    });
}

#[test]
fn what_a_change_of_a_group_wants_counts_before_it_is_rolled_out() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench.reaches(group(1), &group_entity).await;
        bench.fleet.apply(processors(6), user()).await.unwrap();
        // Both waves grow to two processors each, the later one after the first.
        bench.fleet.apply(group(2), user()).await.unwrap();
        let other = of_replicas(pool(1, 0), 1);
        assert_eq!(
            code(bench.fleet.apply(other.clone(), user()).await),
            "VSI0738"
        );
        bench.reaches(group(2), &group_entity).await;
        assert_eq!(code(bench.fleet.apply(other, user()).await), "VSI0738");
    });
}

/// A pool that is placed on one of these hosts.
fn placed(cpus: u32, partition: u32, replicas: u32, hosts: &[&str]) -> Resolved {
    let mut member = VsiDocument::new("web", 1, "").server(GuestType::CloudInit);
    member.cpus = cpus;
    let document = PoolDocument {
        replicas: Some(replicas),
        member,
        disk: false,
        evictable: false,
    };
    let mut resolved = document.resolved();
    let pool = &mut resolved.pools[0];
    pool.desired.strategy.partition = partition;
    let placement = serde_json::json!({"request": {}, "candidates": hosts});
    pool.template.desired.placement = serde_json::from_value(placement).unwrap();
    resolved
}

async fn host(bench: &ControllerBench, name: &str) -> String {
    let vsi = bench.fleet.vsis().get("default", name).await.unwrap();
    vsi.status.host.clone()
}

#[test]
fn new_members_are_placed_on_hosts_that_match_now_whatever_their_template_is() {
    in_virtual_time(async {
        let (bench, web) = (ControllerBench::new().await, ownership::pool());
        bench.reaches(placed(2, 0, 1, &["sim:a"]), &web).await;
        bench.reaches(placed(3, 2, 2, &["sim:b"]), &web).await;
        assert_eq!(
            (bench.cpus("web-1").await, host(&bench, "web-1").await),
            (2, "sim:b".to_owned()),
            "below the partition"
        );
        bench.reaches(placed(3, 0, 2, &["sim:b"]), &web).await;
        let rollback = bench.fleet.pools().rollback("default", "web", user());
        rollback.await.unwrap();
        bench.settles(&web).await;
        scale(&bench, "web", 3).await.unwrap();
        bench.settles(&web).await;
        assert_eq!(
            (bench.cpus("web-2").await, host(&bench, "web-2").await),
            (2, "sim:b".to_owned()),
            "after a rollback"
        );
    });
}

#[test]
fn members_that_would_have_too_much_of_their_template_are_refused() {
    in_virtual_time(async {
        let (bench, web) = (ControllerBench::new().await, ownership::pool());
        let large = |replicas| {
            let mut documents = of_replicas(pool(1, 0), replicas);
            let template = &mut documents.pools[0].template.desired;
            template.network_config = Some(format!("# {}\n", "x".repeat(400 << 10)));
            documents
        };
        assert_eq!(code(bench.fleet.apply_dry(&large(600)).await), "VSI0729");
        assert_eq!(code(bench.fleet.apply(large(600), user()).await), "VSI0729");
        bench.reaches(large(1), &web).await;
        assert_eq!(code(scale(&bench, "web", 600).await), "VSI0729");
        scale(&bench, "web", 40).await.unwrap();
        bench.settles(&web).await;
        assert!(bench.fleet.vsis().get("default", "web-39").await.is_ok());
    });
}
