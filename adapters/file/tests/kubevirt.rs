//! Manifests of KubeVirt and CDI as input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;

use vsiflow_file::{Diagnostics, Input, InputText, KubevirtTarget, load_for, load_text};
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

const MACHINE: &str = r##"
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
          cloudInitNoCloud: {userData: "#cloud-config SECRET"}
"##;

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
    assert_eq!(vsi.contract.expose(), b"#cloud-config SECRET");
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
            "cloudInitNoCloud: {userData: \"#cloud-config SECRET\"}",
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
        ("running: true", "runStrategy: Never", "spec.runStrategy"),
        (
            "      networks:",
            "      nodeSelector: {a: b}\n      networks:",
            "spec.template.spec.nodeSelector",
        ),
        (
            "pod: {}",
            "multus: {}",
            "spec.template.spec.networks[0].multus.networkName",
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
        ("kubevirt.io/v1\n", "kubevirt.io/v2\n", "apiVersion"),
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

const OLD: &str = "apiVersion: kubevirt.io/v1alpha3
kind: VirtualMachine
metadata:
  creationTimestamp: null
  name: testvm
  labels: {vsiflow.io/target: lab}
spec:
  runStrategy: Manual
  template:
    metadata:
      creationTimestamp: null
      labels: {kubevirt.io/size: small}
    spec:
      domain:
        devices:
          disks:
          - name: containerdisk
            disk: {bus: virtio}
          interfaces:
          - {name: pods, bridge: {}}
          - {name: backend, bridge: {}}
      networks:
      - {name: backend, multus: {networkName: net/backend}}
      - {name: pods, pod: {}}
      volumes:
      - name: containerdisk
        containerDisk: {image: images.example/cirros}
      - name: cloudinitdisk
        cloudInitNoCloud: {userDataBase64: SGkuXG4=}
---
apiVersion: kubevirt.io/v1alpha3
kind: VirtualMachineInstancePreset
metadata: {name: small}
spec:
  selector: {matchLabels: {kubevirt.io/size: small}}
  domain:
    resources: {requests: {memory: 64M}}
---
apiVersion: hpse.ibm.com/v1
kind: HyperProtectContainerRuntimeOnPremNetworkRef
metadata: {name: backend}
spec: {networkName: lab-backend, targetSelector: {matchLabels: {config: lab}}}
";

#[test]
fn older_manifests_with_presets_and_several_networks_are_accepted() {
    let resolved = resolved(&format!("{OLD}{CONFIG_MAP}"));
    let desired = &resolved.vsis[0].desired;
    // The preset's memory, rounded up to whole MiB.
    assert_eq!(desired.machine.memory_mib, 62);
    assert_eq!(desired.networks, ["default", "lab-backend"]);
    assert_eq!(desired.power_state, PowerState::Stopped);
    // A volume without a disk is attached, too.
    assert_eq!(resolved.vsis[0].contract.expose(), b"Hi.\\n");
    assert_eq!(resolved.doubts.len(), 1);
    let other = OLD.replace(
        "{kubevirt.io/size: small}\n    spec",
        "{kubevirt.io/size: big}\n    spec",
    );
    assert!(refused(&format!("{other}{CONFIG_MAP}")).contains("memory.guest"));
    let own = OLD.replacen(
        "      domain:\n",
        "      domain:\n        memory: {guest: 1Gi}\n",
        1,
    );
    let words = refused(&format!("{own}{CONFIG_MAP}"));
    assert!(words.contains("both given"), "{words}");
}

#[test]
fn run_strategies_say_whether_a_machine_runs() {
    for (strategy, power) in [
        ("Always", PowerState::Running),
        ("RerunOnFailure", PowerState::Running),
        ("Once", PowerState::Running),
        ("Manual", PowerState::Stopped),
        ("Halted", PowerState::Stopped),
    ] {
        let text = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}")
            .replace("running: true", &format!("runStrategy: {strategy}"));
        assert_eq!(
            resolved(&text).vsis[0].desired.power_state,
            power,
            "{strategy}"
        );
    }
}

#[test]
fn packed_user_data_is_unpacked_once() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use std::io::Write as _;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"#cloud-config\nhostname: web\n").unwrap();
    let packed = STANDARD.encode(packed.finish().unwrap());
    let text = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}").replace(
        "userData: \"#cloud-config SECRET\"",
        &format!("userDataBase64: {packed}"),
    );
    let contract = resolved(&text).vsis.remove(0).contract;
    assert_eq!(contract.expose(), b"#cloud-config\nhostname: web\n");
}

#[test]
fn the_key_of_a_secret_is_the_one_that_it_has() {
    let text = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}").replace(
        "userData: \"#cloud-config SECRET\"",
        "secretRef: {name: config}",
    );
    for key in ["userdata", "userData"] {
        let secret = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: config}}\nstringData: {{{key}: \"#cloud-config\"}}\n"
        );
        let contract = resolved(&format!("{text}{secret}")).vsis.remove(0).contract;
        assert_eq!(contract.expose(), b"#cloud-config", "{key}");
    }
}

#[test]
fn a_problem_names_the_path_of_the_manifest_and_shows_its_line() {
    let all = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}");
    for (from, to, field, line) in [
        (
            "memory: {guest: 2Gi}",
            "memory: {guest: 32Ti}",
            "spec.template.spec.domain.memory.guest",
            "32Ti",
        ),
        (
            "memory: {guest: 2Gi}",
            "memory: {guest: 0}",
            "spec.template.spec.domain.memory.guest",
            "guest",
        ),
        (
            "cores: 2,",
            "cores: 9000,",
            "spec.template.spec.domain.cpu.cores",
            "9000",
        ),
        (
            "storage: 1Gi",
            "storage: 0",
            "spec.storage.resources.requests.storage",
            "storage",
        ),
        (
            "app: centos",
            "app: \"no label\"",
            "spec.template.metadata.labels.app",
            "no label",
        ),
        ("name: centos-vm", "name: Centos", "metadata.name", "Centos"),
        (
            "port: 22",
            "port: 0",
            "spec.template.spec.readinessProbe.tcpSocket.port",
            "port",
        ),
        (
            "guestAgentPing: {}",
            "httpGet: {port: 80, path: healthz}",
            "spec.template.spec.readinessProbe.httpGet",
            "httpGet: {port: 80, path: /healthz}",
        ),
        (
            "running: true",
            "running: true\n  preference: {name: fedora}",
            "spec.preference",
            "remove it",
        ),
        (
            "userData: \"#cloud-config SECRET\"",
            "userData: \"a: SECRET\"",
            "spec.template.spec.volumes[2].cloudInitNoCloud.userData",
            "cloudInitNoCloud",
        ),
    ] {
        assert!(all.contains(from), "{from}");
        let words = refused(&all.replacen(from, to, 1));
        assert!(words.contains(field), "{field}: {words}");
        assert!(words.contains(line), "{line}: {words}");
        for ours in [
            "spec.machine",
            "spec.guest",
            "spec.bootDisk",
            "VirtualServer",
        ] {
            assert!(!words.contains(ours), "{ours}: {words}");
        }
    }
    let twice =
        format!("{all}---{MACHINE}").replace("kind: VirtualMachine\n", "kind: VirtualMachine\n");
    let words = refused(&twice);
    assert!(words.contains("VirtualMachine"), "{words}");
}

#[test]
fn defaults_of_disks_and_cards_are_accepted_and_other_values_refused() {
    let machine = |disk: &str, cdrom: &str| {
        let machine = MACHINE
            .replace("{name: data, disk: {bus: virtio}}", disk)
            .replace("cdrom: {bus: sata}", cdrom);
        format!("{VOLUMES}{machine}{CONFIG_MAP}")
    };
    let disk = "{name: data, shareable: false, dedicatedIOThread: false, disk: {bus: virtio, readonly: false}}";
    let cdrom = "cdrom: {bus: sata, readonly: true}";
    assert_eq!(resolved(&machine(disk, cdrom)).vsis.len(), 1);
    for (other_disk, other_cdrom, path) in [
        (
            disk,
            "cdrom: {bus: sata, readonly: false}",
            "cdrom.readonly",
        ),
        (
            "{name: data, disk: {bus: virtio, readonly: true}}",
            cdrom,
            "disk.readonly",
        ),
        (
            "{name: data, shareable: true, disk: {}}",
            cdrom,
            "shareable",
        ),
    ] {
        let words = refused(&machine(other_disk, other_cdrom));
        assert!(words.contains(path), "{words}");
    }
    for kind in ["", "q35"] {
        let domain = format!("domain:\n        machine: {{type: '{kind}'}}\n");
        let spelt_out = MACHINE.replace("domain:\n", &domain);
        assert!(spelt_out.contains("machine: {type"), "{spelt_out}");
        assert_eq!(
            resolved(&format!("{VOLUMES}{spelt_out}{CONFIG_MAP}"))
                .vsis
                .len(),
            1
        );
    }
    let passed_through = MACHINE.replace("masquerade: {}", "sriov: {}");
    let words = refused(&format!("{VOLUMES}{passed_through}{CONFIG_MAP}"));
    assert!(words.contains("bridge: {}"), "{words}");
}

#[test]
fn what_has_no_counterpart_is_named_once_with_its_places() {
    let machine = |name: &str| {
        MACHINE.replace("centos-vm", name).replace(
            "      networks:",
            "      nodeSelector: {a: b}\n      networks:",
        )
    };
    let words = refused(&format!(
        "{VOLUMES}{}---{}{CONFIG_MAP}",
        machine("a"),
        machine("b")
    ));
    assert_eq!(
        words.matches("nodeSelector is not supported").count(),
        1,
        "{words}"
    );
    assert!(
        words.contains("also at vm.yaml:") && words.contains("default/b"),
        "{words}"
    );
}

/// A manifest as a person wrote it, with a host that it runs on.
fn field(text: &str) -> Result<vsiflow_file::Loaded, vsiflow_file::Diagnostics> {
    let target = KubevirtTarget {
        target: BTreeMap::from([("config".to_owned(), "lab".to_owned())]),
        pool: None,
    };
    let input = Input::Text(InputText {
        name: "vm.yaml".to_owned(),
        bytes: format!("{text}{CONFIG_MAP}").into_bytes(),
    });
    load_for(&[input], false, &mut std::io::empty(), target)
}

#[test]
fn manifests_as_people_write_them_are_accepted() {
    for text in [
        include_str!("../../../tests/field/kv-datavolumetemplate-status.yaml"),
        include_str!("../../../tests/field/kv-gzip-userdata.yaml"),
        include_str!("../../../tests/field/kv-no-disks.yaml"),
    ] {
        let loaded = field(text).unwrap_or_else(|wrong| panic!("{wrong}"));
        let resolved = loaded
            .resolve(None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(resolved.vsis.len(), 1);
    }
    let wrong = field(include_str!("../../../tests/field/kv-memory-path.yaml")).unwrap_err();
    let words = wrong.to_string();
    assert!(
        words.contains("spec.template.spec.domain.memory.guest"),
        "{words}"
    );
    assert!(words.contains("bytes"), "{words}");
}

#[test]
fn objects_of_one_name_are_refused_by_kind_name_and_place() {
    let root = "- {name: root, dataVolume: {name: centos-dv}}";
    let network = "networks: [{name: default, pod: {}}";
    let disk = "- {name: data, disk: {bus: virtio}}";
    let interface = "interfaces: [{name: default, masquerade: {}}";
    for (text, again, kind, name) in [
        (
            root,
            "\n        - {name: root, dataVolume: {name: data-dv}}",
            "volumes",
            "root",
        ),
        (
            network,
            ", {name: default, multus: {networkName: other}}",
            "networks",
            "default",
        ),
        (
            disk,
            "\n            - {name: data, disk: {bus: virtio}}",
            "disks",
            "data",
        ),
        (
            interface,
            ", {name: default, bridge: {}}",
            "interfaces",
            "default",
        ),
    ] {
        let document =
            VOLUMES.to_owned() + &MACHINE.replace(text, &format!("{text}{again}")) + CONFIG_MAP;
        let words = refused(&document);
        let expected = format!("two {kind} have the name {name}: ");
        assert!(words.contains(&expected), "{words}");
        assert!(words.contains(&format!("{kind}[")), "{words}");
        assert!(!words.contains("no volume has the name"), "{words}");
    }
    let twice = VOLUMES.replace("data-dv", "centos-dv") + MACHINE + CONFIG_MAP;
    let words = refused(&twice);
    assert!(
        words.contains("two DataVolumes have the name default/centos-dv"),
        "{words}"
    );
    let template = "{metadata: {name: own}, spec: {source: {blank: {}}, \
        storage: {resources: {requests: {storage: 1Gi}}}}}";
    let templates = format!("  running: true\n  dataVolumeTemplates: [{template}, {template}]");
    let of_templates = refused(
        &(VOLUMES.to_owned() + &MACHINE.replace("  running: true", &templates) + CONFIG_MAP),
    );
    assert!(
        of_templates.contains("two dataVolumeTemplates have the name own"),
        "{of_templates}"
    );
}

/// What a manifest is refused for: each problem once, at its own place.
#[test]
fn a_problem_has_no_others_that_follow_from_it() {
    let machine = |volumes: &str, more: &str| {
        let disks = "{disks: [{name: root, disk: {bus: virtio}}]}";
        format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {{name: a, labels: {{vsiflow.io/target: lab}}}}\n\
             spec:\n  running: true\n  template:\n    spec:\n      domain: {{memory: {{guest: 1Gi}}, devices: {disks}}}\n      \
             volumes: {volumes}\n{more}\n{CONFIG_MAP}"
        )
    };
    let with_source = |source: &str| {
        let volume = format!(
            "---\napiVersion: cdi.kubevirt.io/v1beta1\nkind: DataVolume\nmetadata: {{name: dv}}\nspec:\n  {source}\n  \
             storage: {{resources: {{requests: {{storage: 1Gi}}}}}}"
        );
        machine("[{name: root, dataVolume: {name: dv}}]", &volume)
    };
    let root = "{name: root, containerDisk: {image: quay.io/a/b}}";
    let sources = "spec.template.spec.volumes[0]";
    for (text, place, remedy) in [
        (
            with_source("sourceRef: {kind: DataSource, name: fedora}"),
            "(spec.sourceRef of DataVolume",
            "`http: {url: …}`",
        ),
        (
            with_source("source: {upload: {}}"),
            "(spec.source.upload of DataVolume",
            "`http: {url: …}`",
        ),
        (
            with_source("source: {pvc: {name: p, namespace: n}}"),
            "(spec.source.pvc of DataVolume",
            "`http: {url: …}`",
        ),
        (
            with_source("source: {snapshot: {name: p}}"),
            "(spec.source.snapshot of DataVolume",
            "`http: {url: …}`",
        ),
        (
            with_source("source: {}"),
            "(spec.source of DataVolume",
            "write http: {url: …}",
        ),
        (
            with_source("source: {blank: {}, http: {url: \"https://a.example/b\"}}"),
            "(spec.source.http of DataVolume",
            "write http, registry or blank",
        ),
        (
            machine(&format!("[{root}]"), "      hostname: web"),
            "(spec.template.spec.hostname of",
            "cloudInitNoCloud",
        ),
        (
            machine(
                "[{name: root, containerDisk: {image: \"http://a.example/b.qcow2\"}}]",
                "",
            ),
            &format!("({sources}.containerDisk.image of"),
            "source: {http: {url: …}}",
        ),
        (
            machine(
                "[{name: root, containerDisk: {image: a/b}, dataVolume: {name: dv}}]",
                "",
            ),
            &format!("({sources}.dataVolume of"),
            "a volume of its own",
        ),
        (
            machine("[{name: root}]", ""),
            &format!("({sources} of"),
            "write name and dataVolume",
        ),
        (
            machine("[{name: root, emptyDisk: {capacity: 1Gi}}]", ""),
            &format!("({sources}.emptyDisk of"),
            "remove it",
        ),
    ] {
        let answer = refused(&text);
        assert_eq!(answer.matches("error[").count(), 1, "{answer}");
        assert!(
            answer.contains(place) && answer.contains(remedy),
            "{answer}"
        );
        assert!(!answer.contains("guest."), "{answer}");
    }
}

#[test]
fn a_missing_secret_is_named_where_the_manifest_names_it() {
    let from = "cloudInitNoCloud: {secretRef: {name: gone}}";
    let text = format!("{VOLUMES}{MACHINE}{CONFIG_MAP}").replace(
        "cloudInitNoCloud: {userData: \"#cloud-config SECRET\"}",
        from,
    );
    let loaded = load_text("vm.yaml", text.as_bytes()).unwrap();
    let resolved = loaded
        .resolve(None)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    let warnings = Diagnostics(loaded.warn_of(&resolved.unresolved_refs)).to_string();
    assert!(
        warnings.contains("(spec.template.spec.volumes[2].cloudInitNoCloud.secretRef"),
        "{warnings}"
    );
}

#[test]
fn volumes_without_disks_are_attached_as_they_are_listed() {
    let disks =
        MACHINE.find("          disks:").unwrap()..MACHINE.find("          interfaces").unwrap();
    let mut machine = MACHINE.to_owned();
    machine.replace_range(disks, "");
    // By name, the empty disk would be the first.
    let resolved = resolved(&format!("{VOLUMES}{machine}{CONFIG_MAP}"));
    let desired = &resolved.vsis[0].desired;
    assert_eq!(desired.image.url, "https://images.example.com/centos.qcow2");
    assert_eq!(desired.disks.len(), 1);
}

#[test]
fn a_machine_that_opts_out_takes_no_preset() {
    let preset = "---\napiVersion: kubevirt.io/v1alpha3\nkind: VirtualMachineInstancePreset\nmetadata: {name: big}\n\
                  spec: {selector: {matchLabels: {app: centos}}, domain: {cpu: {model: host-passthrough}}}\n";
    let cpu = |annotations: &str| {
        let labels = "{labels: {app: centos}";
        let machine = MACHINE.replacen(labels, &format!("{labels}{annotations}"), 1);
        let resolved = resolved(&format!("{VOLUMES}{machine}{preset}{CONFIG_MAP}"));
        resolved.vsis[0].desired.machine.cpu.clone()
    };
    let own = cpu(
        ", annotations: {virtualmachineinstancepresets.admission.kubevirt.io/exclude: \"true\"}",
    );
    assert_ne!(cpu(""), own);
    assert_eq!(
        cpu(", annotations: {virtualmachinepresets.admission.kubevirt.io/exclude: \"True\"}"),
        own
    );
    assert_eq!(
        cpu(", annotations: {virtualmachinepresets.admission.kubevirt.io/exclude: \"false\"}"),
        cpu("")
    );
    let other = MACHINE.replacen("{labels: {app", "{annotations: {a: b}, labels: {app", 1);
    let words = refused(&format!("{VOLUMES}{other}{CONFIG_MAP}"));
    let expected = "spec.template.metadata.annotations is not supported";
    assert!(words.contains(expected), "{words}");
}

#[test]
fn a_name_that_no_label_holds_selects_its_disks() {
    let name = "production-database-primary-replica-set-zone-a-rack-17-slot-003-";
    let named = |end: &str| MACHINE.replace("centos-vm", &format!("{name}{end}"));
    let machine = named("a");
    let document = format!("{VOLUMES}{machine}{CONFIG_MAP}").replace(
        "      readinessProbe",
        "      hostname: web\n      readinessProbe",
    );
    let resolved = resolved(&document);
    assert_eq!(resolved.vsis[0].desired.disks.len(), 1);
}

#[test]
fn presets_that_contradict_each_other_are_refused() {
    let preset = |name: &str, memory: &str, cores: u32| {
        format!(
            "---\napiVersion: kubevirt.io/v1alpha3\nkind: VirtualMachineInstancePreset\nmetadata: {{name: {name}}}\n\
             spec: {{selector: {{matchLabels: {{app: centos}}}}, \
             domain: {{memory: {{guest: {memory}}}, cpu: {{cores: {cores}}}}}}}\n"
        )
    };
    let machine = MACHINE.replace("        memory: {guest: 2Gi}\n", "");
    let document = |second: String| {
        VOLUMES.to_owned() + &machine + &preset("small", "1Gi", 2) + &second + CONFIG_MAP
    };
    let words = refused(&document(preset("large", "4Gi", 2)));
    let expected = "preset small has another value of spec.domain.memory.guest";
    assert!(words.contains(expected), "{words}");
    assert_eq!(resolved(&document(preset("same", "1Gi", 2))).vsis.len(), 1);
}

#[test]
fn a_network_of_another_namespace_is_a_warning() {
    let warned = |network: &str| {
        let networks = format!("networks: [{{name: default, multus: {{networkName: {network}}}}}]");
        let machine = MACHINE.replace("networks: [{name: default, pod: {}}]", &networks);
        assert_ne!(machine, MACHINE);
        let text = VOLUMES.to_owned() + &machine + CONFIG_MAP;
        let loaded = load_text("vm.yaml", text.as_bytes()).unwrap();
        let warnings = loaded.warnings.iter();
        warnings.map(ToString::to_string).collect::<String>()
    };
    let words = warned("other/n2");
    assert!(words.contains("namespace other"), "{words}");
    let path = "spec.template.spec.networks[0].multus.networkName";
    assert!(words.contains(path), "{words}");
    for own in ["n2", "default/n2"] {
        assert_eq!(warned(own), "", "{own}");
    }
}
