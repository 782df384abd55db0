//! The `contract` commands: contracts are checked and encrypted without a state directory or a host.

use std::process::Command;

use serde_json::Value;
use vsiflow_tests::{Vsi, Vsiflow};

const PLAIN: &str = "workload: |\n  type: workload\n  confidential-containers: {}\nenv: |\n  type: env\n  logging: very-secret-word\n";

fn openssl(vsiflow: &Vsiflow, arguments: &str) {
    let ran = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(vsiflow.folder())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

#[test]
fn a_contract_is_checked_encrypted_and_checked_again() {
    let vsiflow = Vsiflow::simulated();
    openssl(
        &vsiflow,
        "req -new -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=a -days 365 -out crt.pem",
    );
    vsiflow.write("plain.yaml", PLAIN);
    let sealed = vsiflow
        .run(&[
            "contract",
            "encrypt",
            "plain.yaml",
            "--cert",
            "crt.pem",
            "--private-key",
            "key.pem",
        ])
        .exits(0)
        .keeps_quiet_about("very-secret");
    vsiflow.write("sealed.yaml", &sealed.stdout);
    vsiflow
        .run(&["contract", "check", "sealed.yaml", "--cert", "crt.pem"])
        .exits(0)
        .says("signature valid")
        .says("days left")
        .says("nothing to complain of");
    let cut = sealed.stdout.replace("U2FsdGVkX1", "U2FsdGVk");
    vsiflow.write("cut.yaml", &cut);
    let report = vsiflow
        .run(&["contract", "check", "cut.yaml", "-o", "json"])
        .exits(1)
        .json();
    assert_eq!(report["ok"], false);
    assert_eq!(report["findings"][0]["code"], "VSI0406");
    assert_eq!(report["findings"][0]["severity"], "error");
    assert!(report["findings"][0]["line"].is_u64());
    assert!(!vsiflow.state().exists(), "it needs no state");
}

#[test]
fn doubts_exit_0_and_errors_exit_1_without_a_word_of_the_contract() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.write(
        "a.yaml",
        "workload: very-secret-word\nenv: very-secret-word\n",
    );
    vsiflow
        .run(&["contract", "check", "a.yaml"])
        .exits(0)
        .says("a.yaml:1: warning[VSI0412]")
        .keeps_quiet_about("very-secret");
    vsiflow.write(
        "b.yaml",
        "workload: very-secret-word\nenv: [very-secret-word]\n",
    );
    vsiflow
        .run(&["contract", "check", "b.yaml"])
        .exits(1)
        .says("b.yaml:2: error[VSI0404]")
        .says("1 error")
        .keeps_quiet_about("very-secret");
    vsiflow
        .run(&["contract", "check", "missing.yaml"])
        .exits(2)
        .says("VSI0805");
    vsiflow
        .run(&["contract", "check", "a.yaml", "--key", "a.yaml"])
        .exits(2)
        .says("VSI0411");
    let quiet: Value = vsiflow
        .run(&["contract", "check", "a.yaml", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(quiet["signature"], "none");
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of_at_the_desk_and_before_the_boot() {
    let vsiflow = Vsiflow::simulated();
    openssl(
        &vsiflow,
        "req -new -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=a -days 10 -out crt.pem",
    );
    let certificate = std::fs::read_to_string(vsiflow.folder().join("crt.pem")).unwrap();
    let indented = certificate.trim_end().replace('\n', "\n    ");
    let contract = format!("{PLAIN}  signingKey: |\n    {indented}\n");
    vsiflow.write("soon.yaml", &contract);
    vsiflow
        .run(&["contract", "check", "soon.yaml"])
        .exits(0)
        .says("soon.yaml:7: warning[VSI0408]")
        .says("days left");
    vsiflow
        .apply(Vsi::named("soon").contract(&contract), &["--wait"])
        .exits(0)
        .says("VSI0408")
        .says("days left (line 7)");
}

#[test]
fn the_contracts_of_manifests_are_checked_as_those_of_files_are() {
    let vsiflow = Vsiflow::simulated();
    let good = Vsi::named("web").to_string();
    let bad = good
        .replace("name: web", "name: bad")
        .replace("workload", "wrkload");
    vsiflow.write("web.yaml", &good);
    vsiflow
        .run(&["contract", "check", "web.yaml"])
        .exits(0)
        .says("web.yaml, contract of default/web: ")
        .keeps_quiet_about("VSI0402");
    vsiflow.write("both.yaml", &format!("{good}---\n{bad}"));
    vsiflow
        .run(&["contract", "check", "both.yaml"])
        .exits(1)
        .says("both.yaml, contract of default/bad: error[VSI0402]");
    let both = vsiflow.run(&["contract", "check", "both.yaml", "-o", "json"]);
    let both = both.exits(1).json();
    let oks: Vec<_> = [0, 1].map(|at| both["items"][at]["ok"].clone()).into();
    assert_eq!(oks, [true, false]);
    vsiflow.write(
        "host.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    );
    vsiflow
        .run(&["contract", "check", "host.yaml"])
        .exits(2)
        .says("VSI0808")
        .says("none of them has a contract")
        .says("HyperProtectContainerRuntimeOnPrem");
    vsiflow.write("typo.yaml", &good.replace("imageURL", "imageUrl"));
    vsiflow
        .run(&["contract", "check", "typo.yaml"])
        .exits(2)
        .says("imageURL");
}

#[test]
fn a_contract_of_a_folder_is_the_same_twice_signed_encrypted_and_has_nothing_wrong() {
    let vsiflow = Vsiflow::simulated();
    openssl(
        &vsiflow,
        "req -new -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=a -days 365 -out crt.pem",
    );
    std::fs::create_dir_all(vsiflow.folder().join("app/conf")).unwrap();
    vsiflow.write(
        "app/docker-compose.yaml",
        "services: {web: {image: example.com/web}}\n",
    );
    vsiflow.write("app/conf/web.conf", "port 80\n");
    vsiflow.write("vars", "PASSWORD=very-secret-word\n");
    let new = |more: &[&str]| {
        let fixed = ["contract", "new", "--compose", "app", "--env-file", "vars"];
        vsiflow.run(&[&fixed[..], more].concat()).exits(0)
    };
    let plain = new(&[]);
    // Other modification times and another order in the folder change nothing.
    let again = vsiflow.folder().join("app/docker-compose.yaml");
    let text = std::fs::read(&again).unwrap();
    std::fs::remove_file(&again).unwrap();
    std::fs::write(&again, text).unwrap();
    assert_eq!(plain.stdout, new(&[]).stdout);
    assert!(
        plain.stdout.contains("PASSWORD: very-secret-word"),
        "{}",
        plain.stdout
    );
    let signed = new(&["--private-key", "key.pem"]);
    assert_eq!(signed.stdout, new(&["--private-key", "key.pem"]).stdout);
    let sealed =
        new(&["--private-key", "key.pem", "--cert", "crt.pem"]).keeps_quiet_about("very-secret");
    for (name, made) in [("plain", &plain), ("signed", &signed), ("sealed", &sealed)] {
        vsiflow.write(name, &made.stdout);
        let checked = vsiflow.run(&["contract", "check", name]).exits(0);
        match name {
            "signed" => checked
                .says("signature valid")
                .says("nothing to complain of"),
            _ => checked,
        };
    }
    vsiflow
        .run(&["contract", "check", "sealed", "--cert", "crt.pem"])
        .exits(0)
        .says("signature valid");
    vsiflow
        .apply(Vsi::named("web").contract(&plain.stdout), &["--wait"])
        .exits(0);
}

#[test]
fn a_folder_that_no_guest_can_start_makes_no_contract() {
    let vsiflow = Vsiflow::simulated();
    std::fs::create_dir_all(vsiflow.folder().join("app")).unwrap();
    let new =
        |env: &[&str]| vsiflow.run(&[&["contract", "new", "--compose", "app"][..], env].concat());
    new(&[])
        .exits(1)
        .says("VSI0409")
        .says("docker-compose.yaml");
    vsiflow.write(
        "app/docker-compose.yaml",
        "services: {web: {image: example.com/web}}\n",
    );
    vsiflow.write("vars", "A=b\nvery-secret-word\n");
    new(&["--env-file", "vars"])
        .exits(1)
        .says("vars:2: error[VSI0404]")
        .keeps_quiet_about("very-secret");
    new(&["--env-file", "missing"]).exits(2).says("VSI0805");
    std::os::unix::fs::symlink("/etc/passwd", vsiflow.folder().join("app/users")).unwrap();
    new(&[]).exits(2).says("VSI0805").says("app/users");
    vsiflow
        .run(&["contract", "new", "--compose", "nowhere"])
        .exits(2)
        .says("VSI0805");
}
