//! Manifests of KubeVirt and CDI as input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;

use vsiflow_file::{Input, InputText, KubevirtTarget, load_for, load_text};
use vsiflow_workflows::spec::{HostSettings, PowerState, Resolved, ResolvedVsi};

const VOLUMES: &str = r#"
apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {name: centos-dv}
spec:
  source: {http: {url: "https://images.example.com/centos.qcow2"}}
  pvc:
    accessModes: [ReadWriteOnce]
    storageClassName: local-storage
    resources: {requests: {storage: 15Gi}}
---
apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {name: data-dv}
spec:
  source: {blank: {}}
  storage: {resources: {requests: {storage: 1Gi}}}
---"#;

const MACHINE: &str = r#"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: centos-vm
  labels: {vsiflow.io/target: lab}
spec:
  running: true
  template:
    metadata: {labels: {app: centos}}
    spec:
      domain:
        cpu: {cores: 2, sockets: 2}
        memory: {guest: 2Gi}
        devices:
          disks:
            - {name: root, disk: {bus: virtio}, bootOrder: 1}
            - {name: cloudinit, cdrom: {bus: sata}}
            - {name: data, disk: {bus: virtio}}
          interfaces: [{name: default, masquerade: {}}]
      networks: [{name: default, pod: {}}]
      readinessProbe: {tcpSocket: {port: 22}, guestAgentPing: {}}
      volumes:
        - {name: root, dataVolume: {name: centos-dv}}
        - {name: data, persistentVolumeClaim: {claimName: data-dv}}
        - name: cloudinit
          cloudInitNoCloud: {userData: "SECRET #cloud-config"}
"#;

const CONFIG_MAP: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: lab, labels: {config: lab}}
data: {HOSTNAME: lab.example.com, INSECURE_SKIP_HOST_KEY: \"true\"}
";

fn resolved(text: &str) -> Resolved {
    match load_text("vm.yaml", text.as_bytes()) {
        Ok(loaded) => loaded
            .resolve(None)
            .unwrap_or_else(|wrong| panic!("{wrong}")),
        Err(wrong) => panic!("{wrong}"),
    }
}

fn guest_type(vsi: &ResolvedVsi) -> String {
    let guest = vsi.desired.guest.as_ref().unwrap();
    format!("{:?}", guest.guest_type)
}

fn refused(text: &str) -> String {
    let wrong = match load_text("vm.yaml", text.as_bytes()) {
        Ok(loaded) => loaded.resolve(None).expect_err("nothing is wrong"),
        Err(wrong) => wrong,
    };
    let words = wrong.to_string();
    assert!(!words.contains("SECRET"), "{words}");
    words
}

#[test]
fn a_machine_becomes_a_server_with_its_disks() {
    let resolved = resolved(&format!("{VOLUMES}{MACHINE}{CONFIG_MAP}"));
    let [vsi] = resolved.vsis.as_slice() else {
        panic!("{resolved:?}");
    };
    let desired = &vsi.desired;
    assert_eq!(
        (desired.name.as_str(), desired.labels["app"].as_str()),
        ("centos-vm", "centos")
    );
    assert_eq!(desired.image.url, "https://images.example.com/centos.qcow2");
    assert_eq!(
        (desired.pool.as_str(), desired.boot_disk.size),
        ("local-storage", Some(15 << 30))
    );
    let machine = &desired.machine;
    assert_eq!(
        (machine.arch.as_str(), machine.cpus, machine.memory_mib),
        ("x86_64", 4, 2048)
    );
    assert_eq!(guest_type(vsi), "CloudInit");
    assert_eq!(vsi.contract.expose(), b"SECRET #cloud-config");
    assert_eq!(desired.power_state, PowerState::Running);
    let probes: Vec<_> = desired
        .ready
        .as_ref()
        .unwrap()
        .probes
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(probes, ["tcp 22", "agent"]);
    assert_eq!(desired.networks, ["default"]);
    let disks: Vec<_> = desired
        .disks
        .iter()
        .map(|disk| disk.name.as_str())
        .collect();
    assert_eq!(disks, ["data-dv"]);
    assert_eq!(resolved.data_disks[0].size, 1 << 30);
}

#[test]
fn a_machine_has_a_screen_where_it_asks_for_one() {
    let asking = |value: &str| {
        let devices = format!("devices:\n          autoattachGraphicsDevice: {value}");
        format!("{VOLUMES}{MACHINE}{CONFIG_MAP}").replace("devices:", &devices)
    };
    for (value, has_screen) in [("true", true), ("false", false)] {
        let resolved = resolved(&asking(value));
        let graphics = resolved.vsis[0].desired.machine.graphics;
        assert_eq!(!graphics.is_none(), has_screen, "{value}");
    }
    let absent = resolved(&format!("{VOLUMES}{MACHINE}{CONFIG_MAP}"));
    assert!(absent.vsis[0].desired.machine.graphics.is_none());
    for value in ["\"yes\"", "{type: vnc}"] {
        let words = refused(&asking(value));
        assert!(words.contains("autoattachGraphicsDevice"), "{words}");
    }
}

#[test]
fn the_command_line_says_where_a_machine_runs() {
    let target = KubevirtTarget {
        target: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        pool: Some("fast".to_owned()),
    };
    let text = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}").replace("{config: lab}", "{zone: a}");
    let input = Input::Text(InputText {
        name: "vm.yaml".to_owned(),
        bytes: text.into_bytes(),
    });
    let loaded = load_for(&[input], false, &mut std::io::empty(), target).unwrap();
    let resolved = loaded.resolve(None).unwrap();
    assert_eq!(resolved.vsis[0].desired.pool, "fast");
    assert_eq!(resolved.data_disks[0].pool, "fast");
}

#[test]
fn an_instance_runs_and_takes_ignition_from_a_config_drive() {
    let text = format!("{VOLUMES}{MACHINE}")
        .replace("kind: VirtualMachine\n", "kind: VirtualMachineInstance\n")
        .replace(
            "  running: true\n  template:\n    metadata: {labels: {app: centos}}\n",
            "",
        )
        .replace("    spec:\n      domain", "      domain")
        .replace(
            "cloudInitNoCloud: {userData: \"SECRET #cloud-config\"}",
            "cloudInitConfigDrive: {userData: '{\"ignition\":{\"version\":\"3.4.0\"}}'}",
        );
    let loaded = load_text("vm.yaml", text.as_bytes()).unwrap_or_else(|wrong| panic!("{wrong}"));
    let host: HostSettings = "sim:".parse().unwrap();
    let resolved = loaded.resolve(Some(&host)).unwrap();
    let desired = &resolved.vsis[0].desired;
    assert_eq!(guest_type(&resolved.vsis[0]), "Ignition");
    assert_eq!(desired.power_state, PowerState::Running);
}

#[test]
fn a_field_that_is_not_supported_is_named_and_refused() {
    for (from, to, field) in [
        (
            "running: true",
            "running: true\n  instancetype: {name: small}",
            "spec.instancetype",
        ),
        ("running: true", "runStrategy: Manual", "spec.runStrategy"),
        (
            "      networks:",
            "      nodeSelector: {a: b}\n      networks:",
            "spec.template.spec.nodeSelector",
        ),
        (
            "pod: {}",
            "multus: {networkName: n}",
            "spec.template.spec.networks[0].multus",
        ),
        (
            "masquerade: {}",
            "sriov: {}",
            "spec.template.spec.domain.devices.interfaces[0].sriov",
        ),
        (
            "bus: virtio}, bootOrder",
            "bus: scsi}, bootOrder",
            "spec.template.spec.domain.devices.disks[0].disk.bus",
        ),
        (
            "dataVolume: {name: centos-dv}",
            "containerDisk: {image: a, path: /disk/b}",
            "spec.template.spec.volumes[0].containerDisk.path",
        ),
        (
            "memory: {guest: 2Gi}",
            "memory: {guest: 2Gi, hugepages: {pageSize: 2Mi}}",
            "spec.template.spec.domain.memory.hugepages",
        ),
        (
            "memory: {guest: 2Gi}",
            "memory: {guest: 2Gi}\n        ioThreads: {}",
            "spec.template.spec.domain.ioThreads",
        ),
        (
            "claimName: data-dv",
            "claimName: other",
            "spec.template.spec.domain.devices.disks[2]",
        ),
        (
            "http: {url: \"https://images.example.com/centos.qcow2\"}",
            "registry: {url: docker}",
            "spec.source.registry.url",
        ),
        (
            "http: {url: \"https://images.example.com/centos.qcow2\"}",
            "registry: {url: \"docker://a/b\", secretRef: s}",
            "spec.source.registry.secretRef",
        ),
        ("blank: {}", "upload: {}", "spec.source.upload"),
        (
            "accessModes: [ReadWriteOnce]",
            "accessModes: [ReadWriteMany]",
            "spec.pvc.accessModes",
        ),
        ("kubevirt.io/v1\n", "kubevirt.io/v1alpha3\n", "apiVersion"),
        (
            "kind: VirtualMachine\n",
            "kind: VirtualMachinePool\n",
            "kind",
        ),
    ] {
        let text = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}");
        assert!(text.contains(from), "{from}");
        let words = refused(&text.replacen(from, to, 1));
        assert!(words.contains(field), "{field}: {words}");
        assert!(words.contains("vm.yaml:"), "{words}");
    }
}

#[test]
fn an_image_in_a_registry_is_booted_from() {
    let all = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}");
    let of = |from: &str, to: &str| {
        assert!(all.contains(from), "{from}");
        let text = all.replacen(from, to, 1);
        let vsi = resolved(&text).vsis.remove(0).desired;
        (vsi.image.url, format!("{:?}", vsi.boot_disk.mode))
    };
    let http = "http: {url: \"https://images.example.com/centos.qcow2\"}";
    let registry = "registry: {url: \"docker://quay.example/disks/centos:7\", pullMethod: node}";
    let (url, mode) = of(http, registry);
    assert_eq!(url, "oci://quay.example/disks/centos:7?arch=x86_64");
    assert_eq!(mode, "Copy");
    let unused = all.split("---\n").skip(1).collect::<Vec<_>>().join("---\n");
    let boot = "dataVolume: {name: centos-dv}";
    for (image, expected) in [
        (
            "quay.example/disks/centos:7",
            "oci://quay.example/disks/centos:7",
        ),
        ("localhost:5000/centos", "oci://localhost:5000/centos"),
        ("disks/centos:7", "oci://docker.io/disks/centos:7"),
    ] {
        let container = format!("containerDisk: {{image: \"{image}\", imagePullPolicy: Always}}");
        let vsi = resolved(&unused.replacen(boot, &container, 1))
            .vsis
            .remove(0)
            .desired;
        assert_eq!(vsi.image.url, format!("{expected}?arch=x86_64"));
        // What a guest writes there is gone at its next start.
        assert_eq!(format!("{:?}", vsi.boot_disk.mode), "Ephemeral");
    }
}

#[test]
fn a_machine_that_runs_nowhere_is_told_how_to_say_where() {
    let text = format!("{VOLUMES}{MACHINE}").replace("labels: {vsiflow.io/target: lab}", "");
    let words = refused(&text);
    assert!(
        words.contains("vm.yaml:") && words.contains("--target"),
        "{words}"
    );
}

#[test]
fn a_volume_that_nobody_uses_is_a_disk_or_refused() {
    let text = VOLUMES.replace("---\napiVersion", "---\n\napiVersion");
    let words = refused(&text);
    assert!(
        words.contains("no virtual machine among these documents boots from it"),
        "{words}"
    );
    let (_, blank) = VOLUMES.split_once("---").unwrap();
    let loaded = load_text("dv.yaml", blank.as_bytes()).unwrap();
    assert_eq!(loaded.documents.data_disks.len(), 1);
}
