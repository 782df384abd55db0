//! The status of references to existing objects on hosts.

use serde_json::json;

use super::*;

const HOST: &str = "root@lpar1:22";

fn findings(generation: i64) -> StatusFindings {
    StatusFindings {
        generation,
        host: Some(HOST.to_owned()),
        ..StatusFindings::default()
    }
}

fn network(active: bool) -> ReferenceShown {
    let network = NetworkInfo {
        name: "net".to_owned(),
        active,
        xml: "<network/>".to_owned(),
        shape: Default::default(),
    };
    ReferenceShown::Network("net".to_owned(), Ok(Some(network)))
}

fn volume(found: Result<bool, String>) -> ReferenceShown {
    ReferenceShown::Volume("images/data".to_owned(), found)
}

fn silent() -> ReferenceShown {
    volume(Err("nobody there".to_owned()))
}

fn status(shown: Option<ReferenceShown>, before: &ReferenceStatus) -> ReferenceStatus {
    reference(&findings(1), None, shown, before, Timestamp::UNIX_EPOCH)
}

fn shown(status: &ReferenceStatus) -> (i32, &str, &str) {
    let ready = ready(status).unwrap();
    (
        status.status,
        status.phase.as_deref().unwrap(),
        &ready.status,
    )
}

#[test]
fn a_reference_is_ready_only_after_its_host_was_asked() {
    let nothing = ReferenceStatus::default();
    assert_eq!(shown(&status(None, &nothing)), (0, "Pending", "Unknown"));
    assert_eq!(
        shown(&status(Some(silent()), &nothing)),
        (0, "Pending", "Unknown")
    );
    assert_eq!(
        shown(&status(Some(volume(Ok(true))), &nothing)),
        (1, "Referenced", "True")
    );
    assert_eq!(
        shown(&status(Some(volume(Ok(false))), &nothing)),
        (2, "Missing", "False")
    );
    assert_eq!(
        shown(&status(Some(network(true)), &nothing)),
        (1, "Referenced", "True")
    );
    assert_eq!(
        shown(&status(Some(network(false)), &nothing)),
        (2, "Inactive", "False")
    );
    let missing = ReferenceShown::Network("net".to_owned(), Ok(None));
    assert_eq!(
        shown(&status(Some(missing), &nothing)),
        (2, "Missing", "False")
    );
}

#[test]
fn a_host_that_does_not_answer_takes_nothing_back_of_the_same_resource() {
    let nothing = ReferenceStatus::default();
    let there = status(Some(volume(Ok(true))), &nothing);
    assert_eq!(status(Some(silent()), &there), there);
    let gone = status(Some(volume(Ok(false))), &nothing);
    assert_eq!(status(Some(silent()), &gone), gone);
    // Nothing was reported about another volume yet.
    let changed = reference(
        &findings(2),
        None,
        Some(silent()),
        &there,
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(shown(&changed), (0, "Pending", "Unknown"));
    assert!(ready(&changed).unwrap().message.contains("nobody there"));
}

#[test]
fn sizes_are_told_as_documents_write_them() {
    for (given, found) in [
        (json!(107_374_182_400_u64), Some("100Gi")),
        (json!("100Gi"), Some("100Gi")),
        (json!("102400Mi"), Some("102400Mi")),
        (json!("20G"), Some("20G")),
        (json!("large"), None),
    ] {
        assert_eq!(size(&json!({"size": given})).as_deref(), found, "{given}");
    }
    assert_eq!(size(&json!({"networkName": "net"})), None);
}
