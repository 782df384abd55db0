//! What a plan says of the members of pools and groups.

use vsiflow_workflows::{
    plan::{How, Plan},
    spec::Resolved,
};

use super::{
    controllers::{ControllerBench, group, only, pool},
    ownership,
    world::in_virtual_time,
};

async fn plan(bench: &ControllerBench, resolved: &Resolved) -> Plan {
    let planned = bench.fleet.plan(resolved).await.unwrap();
    planned.first().unwrap().plan.clone()
}

#[test]
fn a_plan_says_what_the_members_that_exist_and_stay_go_through() {
    in_virtual_time(async {
        let (bench, web) = (ControllerBench::new().await, ownership::pool());
        bench.reaches(pool(2, 0), &web).await;
        let rebuilding = |partition| {
            let mut resolved = pool(2, partition);
            let template = &mut resolved.pools.first_mut().unwrap().template;
            let image = &mut template.desired.image;
            image.url = image.url.replace(&image.file_name, "other.qcow2");
            image.file_name = "other.qcow2".to_owned();
            resolved
        };
        let vsi = bench.fleet.vsis().get("default", "web-2").await.unwrap();
        let canary = plan(&bench, &rebuilding(2)).await;
        assert_eq!(canary.how(), Some(How::Rebuild));
        let destroyed: Vec<_> = canary.destroys.iter().map(|lost| &lost.object).collect();
        assert_eq!(destroyed.len(), 1, "{destroyed:?}");
        assert!(destroyed[0].contains(&vsi.metadata.uid), "{destroyed:?}");
        assert_eq!(plan(&bench, &rebuilding(0)).await.destroys.len(), 3);
        for (replicas, partition, deleted) in [(0, 0, 3), (3, 3, 0), (1, 3, 2)] {
            let mut nobody = rebuilding(partition);
            nobody.pools.first_mut().unwrap().desired.replicas = Some(replicas);
            let planned = plan(&bench, &nobody).await;
            assert_eq!(planned.how(), Some(How::Recorded), "{planned:?}");
            assert_eq!(planned.destroys.len(), deleted, "{planned:?}");
            assert!(planned.keeps.is_empty());
        }
    });
}

#[test]
fn a_plan_says_nothing_of_what_a_group_removed_or_does_not_want() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        let document = |cpus: u32| {
            let mut resolved = group(2);
            let first = &mut only(&mut resolved).waves[0].items[0];
            first.remove_after = Some("second".to_owned());
            first.pool.template.desired.machine.cpus = cpus;
            resolved
        };
        bench.reaches(document(2), &group_entity).await;
        let changes = plan(&bench, &document(3)).await;
        assert_eq!(changes.how(), Some(How::Recorded), "{changes:?}");
        let mut unwanted = document(3);
        for item in only(&mut unwanted)
            .waves
            .iter_mut()
            .flat_map(|wave| &mut wave.items)
        {
            item.pool.desired.replicas = Some(0);
        }
        let unwanted_changes = plan(&bench, &unwanted).await;
        assert_eq!(
            unwanted_changes.how(),
            Some(How::Recorded),
            "{unwanted_changes:?}"
        );
        assert!(
            !unwanted_changes.destroys.is_empty(),
            "{unwanted_changes:?}"
        );
    });
}

#[test]
fn a_plan_refuses_a_group_that_lacks_what_it_made() {
    in_virtual_time(async {
        let (bench, group_entity) = (ControllerBench::new().await, ownership::group());
        bench.reaches(group(2), &group_entity).await;
        let mut lacking = group(2);
        let left_out = only(&mut lacking).waves.pop().unwrap();
        let refused = plan(&bench, &lacking).await;
        assert_eq!(refused.how(), Some(How::Refused), "{refused:?}");
        let paths: Vec<_> = refused.refused().map(|change| &change.path).collect();
        let names: Vec<_> = left_out.items.iter().map(|item| &item.name).collect();
        assert_eq!(paths, names);
    });
}
