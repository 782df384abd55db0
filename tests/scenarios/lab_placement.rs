//! Placement with a real host among the candidates.

use vsiflow_tests::{Lab, Vsiflow, lab::Deleted};

fn server(name: &str, image: &str, memory: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: {memory}}}\n  \
         targetSelector: {{matchExpressions: [{{key: config, operator: Exists}}]}}\n  \
         placement: {{requires: {{poolRoom: 1Gi}}}}\n"
    )
}

#[test]
fn lab_a_server_is_placed_on_the_host_that_answers_and_has_room() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-placed.qcow2"), Vsiflow::of_documents());
    let mut silent = lab.host();
    silent.label = "silent".to_owned();
    silent.hostname = "127.0.0.3".to_owned();
    silent.port = 9;
    let hosts = format!("{}{silent}", lab.host());
    let placed = server("t-placed", &image.url(), "256Mi");
    let _gone = Deleted(&vsiflow, "t-placed");
    vsiflow
        .apply(format!("{hosts}{placed}"), &["--wait"])
        .exits(0);
    let vsi = vsiflow.vsi("t-placed");
    assert_eq!(vsi["status"]["host"], lab.host_id());
    let against = vsi["status"]["placement"]["against"].to_string();
    assert!(
        against.contains("root@127.0.0.3:9") && against.contains("it does not answer"),
        "{against}"
    );
    // vsiflow reports the same capacity as the host itself.
    let room = vsiflow
        .run(&["get", "host", &lab.host_id(), "-o", "json"])
        .exits(0)
        .json();
    let room = &room["status"]["room"];
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(
        room["cpus"].as_u64().is_some_and(|has| has >= cpus),
        "{room}"
    );
    assert_eq!(room["memoryPromised"], 256 << 20, "{room}");
    let huge = server("t-huge", &image.url(), "8Ti");
    let refused = vsiflow.apply(format!("{hosts}{huge}"), &[]).exits(4).stderr;
    assert!(
        refused.contains("VSI0737") && refused.contains("it lacks 8Ti of memory"),
        "{refused}"
    );
}
