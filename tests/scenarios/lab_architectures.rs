//! Machines of other architectures than the host's, on a real host. They only reach their firmware:
//! there is no operating system for them to boot.

use vsiflow_tests::{Lab, Vsiflow, lab::Deleted};

const IGNITION: &str = r#"{"ignition":{"version":"3.4.0"}}"#;

fn server(name: &str, arch: &str, image: &str, firmware: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{arch: {arch}, cpus: 1, memory: 1Gi, graphics: vnc}}\n  \
         guest: {{type: ignition, userData: '{IGNITION}'}}\n  \
         ready: {{within: 10m, all: [{{started: {{}}}}, {{console: \"{firmware}\"}}]}}\n"
    )
}

/// The machine is defined, its firmware prints, and the host's definition matches the document.
fn starts(arch: &str, firmware: &str, emulator: &str) {
    let Some(lab) = Lab::enter() else { return };
    let (name, vsiflow) = (format!("t-{arch}"), Vsiflow::of_documents());
    let image = lab.image(&format!("{name}.qcow2"));
    let _gone = Deleted(&vsiflow, &name);
    let server = server(&name, arch, &image.url(), firmware);
    vsiflow
        .apply(format!("{}{server}", lab.host()), &["--wait"])
        .exits(0)
        .says("is Running");
    let vsi = vsiflow.vsi(&name);
    let uid = vsi["metadata"]["uid"].as_str().unwrap();
    let defined = lab.virsh(&["dumpxml", uid]);
    assert!(defined.contains(emulator), "{defined}");
    assert!(!lab.virsh(&["vncdisplay", uid]).trim().is_empty());
    let channel = "org.qemu.guest_agent.0";
    assert!(defined.contains(channel), "{defined}");
    let seen = vsiflow
        .run(&["get", &name, "--refresh", "-o", "json"])
        .exits(0)
        .json();
    let conditions = seen["status"]["conditions"].as_array().unwrap().clone();
    let drift = conditions.iter().find(|one| one["type"] == "Drift");
    assert_eq!(drift, None, "{conditions:#?}");
    vsiflow.run(&["restart", &name, "--wait"]).exits(0);
    vsiflow.run(&["delete", &name, "--wait"]).exits(0);
}

#[test]
#[ignore = "needs its emulator: tests/run --part guests"]
fn lab_arch_aarch64_starts_with_its_firmware_a_screen_and_ignition() {
    starts("aarch64", "UEFI firmware", "qemu-system-aarch64");
}

#[test]
#[ignore = "needs its emulator: tests/run --part guests"]
fn lab_arch_ppc64le_starts_with_its_firmware_a_screen_and_ignition() {
    starts("ppc64le", "SLOF", "qemu-system-ppc64");
}
