//! What a dry run says is what the command itself would do, the refusals of the guards included.

use vsiflow_tests::{SIMULATED_IMAGE, Vsi, Vsiflow};

const OTHER_IMAGE: &str = "http://images.test/other.qcow2";

/// A file of another program that is a layer over the volume.
fn lay_over(state: &mut serde_json::Value, volume: &str) {
    let pool = &mut state["pools"]["images"];
    let below = format!("{}/{volume}", pool["path"].as_str().unwrap());
    let mut layer = pool["volumes"][volume].clone();
    layer["backing"] = below.into();
    pool["volumes"]["foreign.qcow2"] = layer;
}

fn refused(vsiflow: &Vsiflow, words: &[&str], says: &str) {
    let events = vsiflow.run(&["events", "-o", "json"]).exits(0).stdout;
    let dry = vsiflow.run(&[words, &["--dry-run"]].concat()).exits(4);
    let dry = dry.says(says).says("VSI0210");
    dry.says("images/foreign.qcow2");
    assert_eq!(vsiflow.run(&["events", "-o", "json"]).stdout, events);
}

#[test]
fn a_file_that_is_no_disk_is_foretold_for_every_kind_that_names_it() {
    // A simulated host takes every image. This one is not asked before there is something to do on it.
    let vsiflow = Vsiflow::on("unix:/nowhere/libvirt-sock");
    let page = vsiflow.write("page.qcow2", "<!doctype html><title>Not found</title>");
    for (image, code) in [
        (format!("file://{}", page.display()), "VSI0306"),
        ("file:///no/such.qcow2".to_owned(), "VSI0302"),
    ] {
        let template = format!(
            "imageURL: \"{image}\", guest: {{type: none}}, machine: {{cpus: 1, memory: 512Mi}}"
        );
        let documents = format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec: {{{template}}}\n---\n\
             apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: many}}\n\
             spec: {{replicas: 1, template: {{spec: {{{template}}}}}}}\n---\n\
             apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDisk\n\
             metadata: {{name: store}}\nspec: {{size: 1Gi, source: {{imageURL: \"{image}\"}}}}\n"
        );
        let file = vsiflow.write("documents.yaml", &documents);
        for command in [&["apply", "--dry-run"][..], &["plan"]] {
            let words = [command, &["-f", file.to_str().unwrap()]].concat();
            let mut ran = vsiflow.run(&words).exits(4).says(code);
            for object in ["vsi/web", "pool/many", "disk/store"] {
                ran = ran.says(&format!("{object} would not be made"));
            }
        }
    }
}

#[test]
fn a_restoration_that_a_foreign_layer_forbids_is_foretold() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    vsiflow.run(&["snapshot", "create", "web"]).exits(0);
    let boot = vsiflow.sim().boot_disk("default/web");
    vsiflow.change_sim(|state| lay_over(state, &boot));
    let restore = ["snapshot", "restore", "web-1"];
    refused(&vsiflow, &restore, "vsi/web would not be put back");
    vsiflow
        .run(&[&restore[..], &["--yes"]].concat())
        .exits(4)
        .says("VSI0210");
}

#[test]
fn a_restoration_from_a_copy_that_is_gone_or_damaged_is_foretold() {
    for is_gone in [true, false] {
        let vsiflow = Vsiflow::simulated();
        vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
        vsiflow.run(&["stop", "web", "--wait"]).exits(0);
        vsiflow.run(&["snapshot", "create", "web"]).exits(0);
        let before = vsiflow.sim().volumes().len();
        vsiflow.change_sim(|state| {
            let volumes = state["pools"]["images"]["volumes"].as_object_mut();
            let volumes = volumes.unwrap();
            let is_copy = |name: &&String| {
                !["boot-", "cidata-", "console-", "."]
                    .iter()
                    .any(|own| name.starts_with(own))
                    && !SIMULATED_IMAGE.ends_with(name.as_str())
            };
            let copy = volumes.keys().find(is_copy).unwrap().clone();
            if is_gone {
                volumes.remove(&copy);
            } else {
                volumes[&copy]["content"] = serde_json::json!({"Inline": "b3RoZXI="});
            }
        });
        assert_eq!(vsiflow.sim().volumes().len(), before - usize::from(is_gone));
        let code = |word| {
            let ran = vsiflow
                .run(&["snapshot", "restore", "web-1", word])
                .exits(4);
            let (_, code) = ran.stderr.split_once("error[").unwrap();
            code[..7].to_owned()
        };
        assert_eq!(code("--dry-run"), code("--yes"), "gone: {is_gone}");
    }
}

#[test]
fn a_rebuild_that_a_foreign_layer_forbids_is_foretold() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let other = || Vsi::named("web").image(OTHER_IMAGE);
    vsiflow.apply(other(), &["--dry-run"]).exits(0);
    let boot = vsiflow.sim().boot_disk("default/web");
    vsiflow.change_sim(|state| lay_over(state, &boot));
    let dry = vsiflow.apply(other(), &["--dry-run"]).exits(4);
    dry.says("vsi/web would not be rebuilt").says("VSI0210");
    vsiflow.apply(other(), &["--wait"]).exits(4).says("VSI0210");
}

#[test]
fn a_drain_whose_member_cannot_be_deleted_is_foretold() {
    let vsiflow = Vsiflow::of_documents();
    let host = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{fleet: blue}}}}\n\
             data: {{HOSTNAME: 'sim:{name}'}}\n---\n"
        )
    };
    let pool = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: 2\n  \
         template:\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         bootDisk: {{mode: ephemeral}}\n      targetSelector: {{matchLabels: {{fleet: blue}}}}\n      \
         placement: {{spread: {{over: host}}}}\n"
    );
    let documents = host("a") + &host("b") + &pool;
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let sim = vsiflow.sim_of("a");
    let boot = sim.boot_disk(sim.domains()[0]);
    vsiflow.change_sim_of("a", |state| lay_over(state, &boot));
    let drain = ["host", "drain", "sim:a", "--move"];
    refused(&vsiflow, &drain, "would not be moved");
    let as_json = [&drain[..], &["-o", "json", "--dry-run"]].concat();
    vsiflow.run(&as_json).exits(4).json();
}

#[test]
fn a_change_of_a_pool_that_a_foreign_layer_over_a_members_disk_forbids_is_foretold() {
    let vsiflow = Vsiflow::simulated();
    let pool = |replicas: u32, image: &str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  \
             replicas: {replicas}\n  template:\n    spec: {{imageURL: '{image}', guest: {{type: none}}}}\n"
        )
    };
    vsiflow
        .apply(pool(2, SIMULATED_IMAGE), &["--wait"])
        .exits(0);
    let boot = vsiflow.sim().boot_disk("default/web-1");
    vsiflow.change_sim(|state| lay_over(state, &boot));
    for changed in [pool(1, SIMULATED_IMAGE), pool(2, OTHER_IMAGE)] {
        vsiflow
            .apply(&changed, &["--dry-run"])
            .exits(4)
            .says("pool/web would not be configured")
            .says("VSI0210");
    }
    // The member whose disk it is stays.
    vsiflow
        .apply(pool(3, SIMULATED_IMAGE), &["--dry-run"])
        .exits(0);
    vsiflow
        .apply(pool(1, SIMULATED_IMAGE), &["--wait"])
        .exits(4)
        .says("VSI0210");
}

#[test]
fn a_pruned_pool_whose_member_a_foreign_layer_keeps_is_foretold() {
    let vsiflow = Vsiflow::simulated();
    let folder = vsiflow.folder().join("documents");
    std::fs::create_dir(&folder).unwrap();
    let pool = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: 1\n  \
         template:\n    spec: {{imageURL: '{SIMULATED_IMAGE}', guest: {{type: none}}}}\n"
    );
    std::fs::write(folder.join("pool.yaml"), pool).unwrap();
    let kept = Vsi::named("kept").to_string();
    std::fs::write(folder.join("kept.yaml"), kept).unwrap();
    let path = folder.to_str().unwrap();
    vsiflow.run(&["apply", "-f", path, "--wait"]).exits(0);
    let sim = vsiflow.sim();
    let mut members = sim.domains().into_iter();
    let boot = sim.boot_disk(members.find(|name| name.contains("web")).unwrap());
    vsiflow.change_sim(|state| lay_over(state, &boot));
    std::fs::remove_file(folder.join("pool.yaml")).unwrap();
    let prune = ["apply", "-f", path, "--prune"];
    refused(&vsiflow, &prune, "would not be deleted");
    let as_json = [&prune[..], &["-o", "json"]].concat();
    refused(&vsiflow, &as_json, "would not be deleted");
    vsiflow.run(&[&as_json[..], &["--dry-run"]].concat()).json();
}

#[test]
fn what_goes_once_a_gate_has_opened_is_foretold() {
    let vsiflow = Vsiflow::simulated();
    let group = |remove_after: &str| {
        let template = format!(
            "template: {{spec: {{imageURL: \"{SIMULATED_IMAGE}\", guest: {{type: none}}, machine: {{cpus: 1, memory: 512Mi}}}}}}"
        );
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: shop}}\nspec:\n  waves:\n  \
             - name: one\n    pools:\n    - name: a\n      replicas: 2\n{remove_after}      \
             diskTemplates: [{{metadata: {{name: data}}, spec: {{size: 1Gi, deletionPolicy: Delete}}}}]\n      {template}\n  \
             - name: two\n    members: [{{name: b, {template}}}]\n"
        )
    };
    vsiflow.apply(group(""), &["--wait"]).exits(0);
    let removed = vsiflow.write("removed.yaml", &group("      removeAfter: two\n"));
    let plan = vsiflow
        .run(&["plan", "-f", removed.to_str().unwrap()])
        .says("VSI shop-a-0 with boot disk")
        .says("data disk data-shop-a-1")
        .says("a is removed once wave two has passed its gate");
    plan.exits(1);
    vsiflow
        .run(&["apply", "-f", removed.to_str().unwrap(), "--dry-run"])
        .exits(0)
        .says("data disk data-shop-a-1 is destroyed");
}
