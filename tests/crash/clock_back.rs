//! Tests of what was recorded while the clock was years ahead, after it was set back.

use std::time::Duration;

use vsiflow_workflows::{
    fleet::{CLOCK_SET_BACK, TokenRole, Verdict},
    record::ImageRecord,
    spec::{HostConnection, HostSettings},
};

use super::{
    documents,
    gate::CrashGate,
    world::{CrashWorld, in_virtual_time, user},
};

const YEARS_MS: i64 = 5 * 365 * 86_400_000;

#[test]
fn a_token_that_was_made_while_the_clock_was_ahead_is_refused() {
    in_virtual_time(async {
        let world = CrashWorld::new(None).await;
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        let make = || {
            let hour = Duration::from_secs(3_600);
            fleet.tokens().create(TokenRole::Viewer, hour, user())
        };
        let before = make().await.unwrap();
        world.clock.jump(YEARS_MS);
        let ahead = make().await.unwrap();
        let role_ahead = fleet
            .tokens()
            .role(&ahead.name, ahead.secret.expose_str().unwrap())
            .await;
        assert_eq!(role_ahead.unwrap(), TokenRole::Viewer);
        world.clock.jump(-YEARS_MS);
        let role = fleet
            .tokens()
            .role(&before.name, before.secret.expose_str().unwrap());
        assert_eq!(role.await.unwrap(), TokenRole::Viewer);
        let refused = fleet
            .tokens()
            .role(&ahead.name, ahead.secret.expose_str().unwrap())
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.failure.code.as_str(), "VSI0028");
        assert!(refused.to_string().contains("ahead"), "{refused}");
        let tokens = fleet.tokens().list().await.unwrap();
        let phases: Vec<_> = tokens.iter().map(|token| token.phase).collect();
        assert_eq!(phases, ["Active", CLOCK_SET_BACK]);
    });
}

fn image(file_name: &str) -> (HostSettings, ImageRecord) {
    let (_, record) = documents::image(file_name);
    let host = HostConnection::Sim {
        name: Some("a".to_owned()),
        upload_limit: None,
        image_policy: "keep=1".parse().ok(),
    };
    (host.into(), record)
}

#[test]
fn an_image_from_while_the_clock_was_ahead_is_not_the_newest_after_it() {
    in_virtual_time(async {
        let world = CrashWorld::new(None).await;
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        world.clock.jump(YEARS_MS);
        for name in ["ahead.qcow2", "after.qcow2"] {
            let (host, record) = image(name);
            let uploading = fleet.images().upload(host, &record, user()).await.unwrap();
            assert_eq!(fleet.decided(&uploading).await.unwrap(), Verdict::Reached);
            if name.starts_with("ahead") {
                world.clock.jump(-YEARS_MS);
            }
        }
        let images = fleet.images().list().await.unwrap();
        let shown = |name: &str| {
            let image = images.iter().find(|image| image.name == name).unwrap();
            image.policy.clone().unwrap()
        };
        assert_eq!(shown("after.qcow2"), "stays: one of the newest 1");
        let ahead = shown("ahead.qcow2");
        assert_eq!(
            ahead,
            "goes at the next look; it was verified while the clock was ahead"
        );
        let removed = fleet.images().apply_policies().await.unwrap();
        let removed: Vec<_> = removed
            .iter()
            .map(|(image, _)| image.name.as_str())
            .collect();
        assert_eq!(removed, ["ahead.qcow2"]);
    });
}
