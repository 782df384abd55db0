//! Contracts that the guest would refuse: they block the VSI before its guest is booted.

use vsiflow_tests::{Vsi, Vsiflow, history};

fn blocks_until_it_is_corrected(name: &str, contract: &str, code: &str, section: &str) {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named(name).contract(contract), &["--wait"])
        .exits(4)
        .says(&format!("error[{code}]"))
        .says(section)
        .keeps_quiet_about("very-secret-word");
    assert_eq!(vsiflow.phase(name), "Blocked");
    assert_eq!(vsiflow.vsi(name)["status"]["status"], 2);
    let failure = history::failure(&vsiflow.history(name), code);
    assert_eq!(failure.class, "blocked");
    assert!(
        vsiflow.sim().domains().is_empty(),
        "a domain was defined although the contract is invalid"
    );

    vsiflow
        .apply(Vsi::named(name), &["--wait"])
        .exits(0)
        .says("configured");
    assert_eq!(vsiflow.phase(name), "Running");
    vsiflow.sim().assert_one_vsi(&format!("default/{name}"));
}

#[test]
fn a_contract_without_workload_blocks_until_it_is_corrected() {
    let contract = "env: very-secret-word\n";
    blocks_until_it_is_corrected("no-workload", contract, "VSI0402", "workload");
}

#[test]
fn a_contract_without_env_blocks_until_it_is_corrected() {
    let contract = "workload: very-secret-word\n";
    blocks_until_it_is_corrected("no-env", contract, "VSI0403", "env");
}

#[test]
fn a_contract_that_no_guest_takes_costs_no_upload_and_names_its_line() {
    let vsiflow = Vsiflow::simulated();
    let token = "hyper-protect-basic.dGhpcw==.VTJGc2RHVmtYMTg=";
    let contract = format!("env: fine\nworkload: {token}\nenvWorkloadSignature: \"?\"\n");
    vsiflow
        .apply(Vsi::named("early").contract(&contract), &["--wait"])
        .exits(4)
        .says("error[VSI0406]")
        .says("line 2")
        .says("and 1 more, which `vsiflow contract check` shows")
        .says("vsiflow contract encrypt");
    assert!(vsiflow.sim().volumes().is_empty(), "something was done");
    let conditions = &vsiflow.vsi("early")["status"]["conditions"];
    let accepted = conditions.as_array().unwrap().iter();
    let accepted = accepted.filter(|one| one["type"] == "ContractAccepted");
    let accepted: Vec<_> = accepted.map(|one| &one["status"]).collect();
    assert_eq!(accepted, ["False"], "{conditions:#}");
}

#[test]
fn a_doubtful_contract_is_booted_with_a_warning() {
    let vsiflow = Vsiflow::simulated();
    let contract =
        "workload: |\n  type: workload\n  play: {}\nenv: |\n  type: env\n  env: {A: 1}\n";
    vsiflow
        .apply(Vsi::named("doubt").contract(contract), &["--wait"])
        .exits(0)
        .says("warning: vsi/doubt: VSI0412: the variable `A`")
        .says("(line 6)")
        .says("quotes");
    vsiflow
        .run(&["describe", "doubt"])
        .exits(0)
        .says("Warnings:")
        .says("VSI0412");
    let warnings = &vsiflow.vsi("doubt")["status"]["warnings"];
    assert_eq!(warnings.as_array().map(Vec::len), Some(1), "{warnings}");
}

#[test]
fn no_secret_is_in_any_file_but_those_for_secrets() {
    let vsiflow = Vsiflow::simulated();
    let document = Vsi::named("quiet").contract("env: x\nworkload: very-secret-word\n");
    vsiflow.apply(document, &["--wait"]).exits(0);
    vsiflow
        .run(&["describe", "quiet", "-o", "yaml"])
        .exits(0)
        .keeps_quiet_about("very-secret");
    vsiflow
        .run(&["history", "quiet", "-o", "json"])
        .exits(0)
        .keeps_quiet_about("very-secret");
    for part in ["log", "index", "blobs", "LOCK", "FORMAT"] {
        assert_no_word_in(&vsiflow.state().join(part));
    }
}

fn assert_no_word_in(path: &std::path::Path) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            assert_no_word_in(&entry.unwrap().path());
        }
        return;
    }
    let bytes = std::fs::read(path).unwrap();
    let found = bytes.windows(11).any(|window| window == b"very-secret");
    assert!(!found, "the contract is in {}", path.display());
}

#[test]
fn a_contract_that_was_lost_is_kept_again_from_the_document_and_touches_nobody() {
    let vsiflow = Vsiflow::simulated();
    let web = Vsi::named("web");
    vsiflow.apply(&web, &[]).exits(0);
    // As after `audit rebuild`, because exports contain no secrets.
    for secret in std::fs::read_dir(vsiflow.state().join("secrets")).unwrap() {
        std::fs::remove_file(secret.unwrap().path()).unwrap();
    }
    let path = vsiflow.write("web.yaml", &web.to_string());
    let plan = ["plan", "-f", path.to_str().unwrap()];
    vsiflow.run(&plan).exits(0).says("No changes");
    vsiflow
        .apply(&web, &[])
        .exits(0)
        .says("vsi/web unchanged")
        .says("no longer stored");
    vsiflow
        .apply(&web, &[])
        .exits(0)
        .keeps_quiet_about("no longer stored");
    // The stored contract is used for a rebuild, and a different contract is recognised as a change.
    let other = "http://images.lab.test:8080/other.qcow2";
    let rebuilt = web.image(other);
    vsiflow.apply(&rebuilt, &[]).exits(0);
    let doing = rebuilt.doing("something else");
    vsiflow
        .apply(doing, &[])
        .exits(0)
        .says("configured: contract");
}
