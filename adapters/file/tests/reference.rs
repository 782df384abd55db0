//! The manifests of the operator's manual, as they are there, with their `...` filled in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use vsiflow_file::{Loaded, load_text};
use vsiflow_workflows::spec::{DiskOrigin, HostConnection};

const CONFIG_MAP: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: vpc-onprem-configmap
  labels:
    app: onpremtest
    version: 20.0.1
data:
  HOSTNAME: example.lpar.com
  KEY: |
    -----BEGIN RSA PRIVATE KEY-----
    bm8ga2V5
    -----END RSA PRIVATE KEY-----
  PORT: "22"
  KNOWN_HOSTS: |
    example.lpar.com ssh-ed25519 AAAA
    example.lpar.com ssh-rsa AAAA
  USER: root
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: onprem-sshconfig-configmap
  labels:
    config: onpremsample
data:
  HOSTNAME: example.lpar.com
  KEY: |
    -----BEGIN RSA PRIVATE KEY-----
    bm8ga2V5
    -----END RSA PRIVATE KEY-----
  PORT: "22"
  KNOWN_HOSTS: |
    example.lpar.com ssh-ed25519 AAAA
    example.lpar.com ssh-rsa AAAA
  USER: root
"#;

const IMAGE_SERVER: &str = r#"
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hpcr-qcow2-image
  labels:
    hpcr: qcow2
spec:
  replicas: 1
  selector:
    matchLabels:
      app: hpcr-qcow2-image
  template:
    metadata:
      labels:
        app: hpcr-qcow2-image
    spec:
      containers:
      - name: hpcr-qcow2-image
        image: <IMAGE REFERENCE COMES HERE>
        ports:
          - containerPort: 80
        resources:
          limits:
            memory: 512Mi
            cpu: "1"
          requests:
            memory: 256Mi
            cpu: "0.2"
---
apiVersion: v1
kind: Service
metadata:
  name: hpcr-qcow2-image
spec:
  selector:
    app: hpcr-qcow2-image
  ports:
  - port: 8080
    targetPort: 80
"#;

const VSI: &str = r#"
apiVersion: hpse.ibm.com/v1
kind: HyperProtectContainerRuntimeOnPrem
metadata:
  name: onpremsample
spec:
  contract: hyper-protect-basic.c2VjcmV0
  imageURL: http://hpcr-qcow2-image.default:8080/hpcr.qcow2
  storagePool: images
  targetSelector: 
    matchLabels:
      app: onpremtest
"#;

const DISK_SELECTOR: &str = "  diskSelector: \n    matchLabels:\n      app: hpcr\n";
const NETWORK_SELECTOR: &str = "  networkSelector: \n    matchLabels:\n      app: hpcr\n";

const DATA_DISK: &str = r#"
---
kind: HyperProtectContainerRuntimeOnPremDataDisk
apiVersion: hpse.ibm.com/v1
metadata:
  name: sampledisk
  labels:
    app: hpcr
spec:
  size: 107374182400
  storagePool: images
  targetSelector:
    matchLabels:
      config: onpremsample
"#;

const DATA_DISK_REF: &str = r#"
---
kind: HyperProtectContainerRuntimeOnPremDataDiskRef
apiVersion: hpse.ibm.com/v1
metadata:
  name: samplediskref
  labels:
    app: hpcr
spec:
  volumeName: existingName
  storagePool: images
  targetSelector:
    matchLabels:
      config: onpremsample
"#;

const NETWORK_REF: &str = r#"
---
kind: HyperProtectContainerRuntimeOnPremNetworkRef
apiVersion: hpse.ibm.com/v1
metadata:
  name: samplenetworkref
  labels:
    app: hpcr
spec:
  networkName: default
  targetSelector:
    matchLabels:
      config: onpremsample
"#;

fn load(parts: &[&str]) -> Loaded {
    match load_text("manual.yaml", parts.concat().as_bytes()) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

#[test]
fn a_vsi_without_a_data_disk() {
    let loaded = load(&[CONFIG_MAP, "---\n", VSI]);
    assert!(loaded.warnings.is_empty());
    let resolved = loaded.resolve(None).unwrap();
    let vsi = &resolved.vsis[0];
    assert_eq!(vsi.desired.full_name(), "default/onpremsample");
    assert_eq!(vsi.desired.host, "root@example.lpar.com:22");
    assert_eq!(vsi.desired.networks, ["default"]);
    assert_eq!(vsi.contract.expose(), b"hyper-protect-basic.c2VjcmV0");
    let host = &resolved.hosts["root@example.lpar.com:22"];
    let key = std::str::from_utf8(host.key.as_ref().unwrap().expose()).unwrap();
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n") && key.ends_with("-----\n"));
    let HostConnection::Ssh(ssh) = &host.record else {
        panic!("{:?}", host.record)
    };
    assert_eq!(ssh.known_hosts.as_ref().unwrap().lines().count(), 2);
}

#[test]
fn a_vsi_with_disks_and_a_network() {
    let loaded = load(&[
        CONFIG_MAP,
        DATA_DISK,
        DATA_DISK_REF,
        NETWORK_REF,
        "---\n",
        VSI,
        DISK_SELECTOR,
        NETWORK_SELECTOR,
    ]);
    let resolved = loaded.resolve(None).unwrap();
    let desired = &resolved.vsis[0].desired;
    let names: Vec<_> = desired
        .disks
        .iter()
        .map(|disk| disk.name.as_str())
        .collect();
    assert_eq!(names, ["sampledisk", "samplediskref"]);
    assert!(matches!(
        desired.disks[0].source,
        DiskOrigin::Made {
            size: 107_374_182_400,
            ..
        }
    ));
    assert_eq!(
        desired.disks[1].source,
        DiskOrigin::Existing {
            volume: "existingName".into()
        }
    );
    assert_eq!(desired.networks, ["default"]);
}

#[test]
fn what_belongs_to_others_is_skipped() {
    let loaded = load(&[CONFIG_MAP, IMAGE_SERVER, "---\n", VSI]);
    let skipped: Vec<_> = loaded.warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(
        skipped,
        [
            "kind Deployment (apps/v1) is skipped",
            "kind Service (v1) is skipped"
        ]
    );
    assert_eq!(loaded.documents.vsis.len(), 1);
}

#[test]
fn a_dump_of_a_cluster_is_read() {
    let dump = r#"{
	"apiVersion": "v1",
	"kind": "List",
	"metadata": {"resourceVersion": ""},
	"items": [
		{
			"apiVersion": "hpse.ibm.com/v1",
			"kind": "HyperProtectContainerRuntimeOnPrem",
			"metadata": {
				"annotations": {
					"kubectl.kubernetes.io/last-applied-configuration": "{\"spec\":{\"contract\":\"SECRET\"}}"
				},
				"creationTimestamp": "2023-03-17T10:18:12Z",
				"finalizers": ["onprem-hpcrs.hpse.ibm.com/finalizer"],
				"generation": 1,
				"managedFields": [{"manager": "kubectl"}],
				"name": "onpremsample",
				"namespace": "default",
				"resourceVersion": "1234",
				"uid": "6d997109-6b44-40eb-8d88-8bf7fc90bfb5"
			},
			"spec": {
				"contract": "SECRET",
				"imageURL": "http://hpcr-qcow2-image.default:8080/hpcr.qcow2",
				"storagePool": "images",
				"targetSelector": {"matchLabels": {"app": "onpremtest"}}
			},
			"status": {"status": 1, "description": "LOADPARM=[        ]\nHPL10001I", "observedGeneration": 1}
		}
	]
}"#;
    let loaded = load_text("dump.json", dump.as_bytes()).unwrap();
    let sim = "sim:".parse().unwrap();
    let resolved = loaded.resolve(Some(&sim)).unwrap();
    let uid = resolved.vsis[0].desired.uid.unwrap();
    assert_eq!(uid.to_string(), "6d997109-6b44-40eb-8d88-8bf7fc90bfb5");
    assert!(!format!("{loaded:?} {resolved:?}").contains("SECRET"));
}
