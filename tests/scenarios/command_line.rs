//! The command line: options, output formats, completions and exit codes that scripts rely on.

use serde_json::Value;
use vsiflow_tests::{DiskDocument, Running, Vsi, Vsiflow};

#[test]
fn what_is_not_understood_exits_2() {
    let vsiflow = Vsiflow::simulated();
    for wrong in [
        &["fly"][..],
        &[],
        &["apply"],
        &["apply", "-f", "x.yaml", "--timeout", "soon"],
        &["delete"],
        &["history"],
    ] {
        let ran = vsiflow.run(wrong).exits(2);
        assert!(!ran.stderr.is_empty(), "{ran:#?}");
    }
    assert!(!vsiflow.state().exists());
}

/// Runs a command whose standard output is on a full disk.
fn into_a_full_disk(vsiflow: &Vsiflow, arguments: &[&str]) {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let ran = vsiflow
        .command(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(full.unwrap())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {errors}");
    assert_eq!(
        errors.matches("error[VSI0803]").count(),
        1,
        "{arguments:?}: {errors}"
    );
}

#[test]
fn output_beyond_the_limit_of_a_files_size_is_an_error_and_not_the_end_of_the_process() {
    let vsiflow = Vsiflow::simulated();
    let command = vsiflow.command(&["openapi"]);
    let printed = vsiflow.folder().join("printed");
    let mut shell = std::process::Command::new("sh");
    // In blocks of 512 bytes.
    shell.args(["-c", "ulimit -f 2; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdout(std::fs::File::create(printed).unwrap());
    let ran = shell.stdin(std::process::Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{:?}: {errors}", ran.status);
    assert_eq!(errors.matches("error[VSI0803]").count(), 1, "{errors}");
}

#[test]
fn a_command_without_standard_output_fails_if_it_has_results() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let closed = |arguments: &[&str]| {
        let command = vsiflow.command(arguments);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&-"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let ran = shell.stdin(std::process::Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.code(), errors.contains("error[VSI0803]"))
    };
    for arguments in [
        &["get", "vsi"][..],
        &["get", "vsi", "-o", "json"],
        &["audit", "head"],
        &["crd"],
        &["--help"],
    ] {
        assert_eq!(closed(arguments), (Some(1), true), "{arguments:?}");
    }
    assert_eq!(closed(&["get", "pools"]), (Some(0), false));
    assert_eq!(vsiflow.run(&["audit", "verify"]).code, Some(0));
}

#[test]
fn results_that_cannot_be_written_fail_every_command() {
    let vsiflow = Vsiflow::simulated();
    // Also without any results.
    into_a_full_disk(&vsiflow, &["get", "vsi"]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    for arguments in [
        &["get", "vsi"][..],
        &["get", "vsi", "-o", "json"],
        &["describe", "web"],
        &["events"],
        &["events", "--watch"],
        &["history", "web"],
        &["audit", "head"],
        &["audit", "export"],
        &["crd"],
        &["--help"],
        &["--version"],
        &["stop", "web"],
    ] {
        into_a_full_disk(&vsiflow, arguments);
    }
    // The work itself was done.
    assert_eq!(vsiflow.phase("web"), "Stopped");
    let daemon = vsiflow.serve(&[]);
    for arguments in [
        &["get", "vsi"][..],
        &["history", "web", "-o", "json"],
        &["events", "--watch"],
        &["audit", "export"],
    ] {
        into_a_full_disk(&vsiflow, arguments);
    }
    daemon.kill();
}

#[test]
fn trees_are_drawn_in_ascii_where_the_locale_has_nothing_else() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let drawn = |locale: &str| {
        let mut command = vsiflow.command(&["history", "web", "--graph"]);
        Running::start(command.env("LC_ALL", locale))
            .end(60)
            .exits(0)
            .stdout
    };
    for daemon in [None, Some(vsiflow.serve(&[]))] {
        assert!(drawn("C").is_ascii(), "{}", drawn("C"));
        assert!(drawn("C").contains('*'), "{}", drawn("C"));
        assert!(drawn("C.UTF-8").contains('●'), "{}", drawn("C.UTF-8"));
        drop(daemon);
    }
}

#[test]
fn an_unknown_host_scheme_exits_2() {
    let vsiflow = Vsiflow::of_documents();
    let file = vsiflow.write("a.yaml", &vsiflow_tests::Vsi::named("a").to_string());
    let file = file.to_str().unwrap();
    vsiflow
        .run(&["--host", "tcp://h", "apply", "-f", file])
        .exits(2)
        .says("error[VSI0607]");
}

#[test]
fn names_that_are_unknown_exit_3() {
    let vsiflow = Vsiflow::simulated();
    for command in [
        "describe", "history", "logs", "delete", "resume", "retry", "cancel",
    ] {
        vsiflow
            .run(&[command, "nobody"])
            .exits(3)
            .says("error[VSI0703]")
            .says("nobody");
    }
    vsiflow
        .run(&["get", "vsi", "nobody"])
        .exits(3)
        .says("nobody");
    vsiflow.run(&["get", "image", "nothing"]).exits(3);
    vsiflow
        .run(&["delete", "nobody", "--ignore-not-found"])
        .exits(0);
}

#[test]
fn an_apply_that_prints_objects_prints_nothing_else_to_standard_output() {
    let vsiflow = Vsiflow::simulated();
    let web = Vsi::named("web").with("updatePolicy: Manual");
    let made = vsiflow.apply(&web, &["-o", "json"]).exits(0);
    assert_eq!(made.json()["status"]["phase"], "Running");
    assert!(made.stderr.contains("vsi/web is Running"), "{made:#?}");
    let waiting = vsiflow.apply(web.cpus(2), &["-o", "json"]).exits(4);
    assert_eq!(waiting.json()["status"]["phase"], "Running");
    assert!(
        waiting.stderr.contains("waits for approval"),
        "{waiting:#?}"
    );
}

#[test]
fn an_apply_prints_the_data_disks_that_it_made_beside_the_vsis() {
    let vsiflow = Vsiflow::simulated();
    let web = Vsi::named("web").choosing_disks();
    let documents = format!("{web}{}", DiskDocument::named("data"));
    let items = vsiflow.apply(&documents, &["-o", "json"]).exits(0).json()["items"].clone();
    let names = items.as_array().unwrap().iter();
    let names: Vec<_> = names.map(|item| item["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["web", "data"]);
    let named = vsiflow.apply(&documents, &["-o", "name"]).exits(0);
    assert_eq!(named.stdout, "vsi/web\ndisk/data\n");
}

#[test]
fn an_empty_state_lists_nothing() {
    let vsiflow = Vsiflow::simulated();
    for kind in ["vsi", "image", "host", "run"] {
        let list = vsiflow.run(&["get", kind, "-o", "json"]).exits(0).json();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(0), "{kind}");
    }
    vsiflow.run(&["resume"]).exits(0).says("nothing to resume");
}

/// The completions for the last of these words.
fn proposed(vsiflow: &Vsiflow, words: &[&str]) -> Vec<String> {
    let mut command = vsiflow.command(&[]);
    let typed = command.get_args().map(std::ffi::OsStr::to_owned);
    let typed: Vec<_> = typed.collect();
    let mut shell = std::process::Command::new(command.get_program());
    let index = typed.len() + words.len();
    shell
        .env("VSIFLOW_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", index.to_string());
    shell.args(["--", "vsiflow"]).args(typed).args(words);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    command.env_clear();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn completions_are_printed_for_every_shell_we_promise() {
    let vsiflow = Vsiflow::simulated();
    for shell in ["bash", "zsh", "fish"] {
        let ran = vsiflow.run(&["completions", shell]).exits(0);
        assert!(
            ran.stdout.contains("vsiflow") && ran.stdout.contains("VSIFLOW_COMPLETE"),
            "{shell}"
        );
    }
    assert_eq!(proposed(&vsiflow, &["hist"]), ["history"]);
    assert!(proposed(&vsiflow, &["stop", "w"]).is_empty());
    assert!(!vsiflow.state().exists());
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let vsiflow = Vsiflow::simulated();
    let page = vsiflow.run(&["man"]).exits(0);
    page.says(".TH vsiflow 1").says("vsiflow\\-apply");
    let folder = vsiflow.folder().join("man/man1");
    let folder_name = folder.to_str().unwrap();
    vsiflow.run(&["man", "--output-dir", folder_name]).exits(0);
    for command in ["vsiflow-apply", "vsiflow-host-drain"] {
        let command_page = std::fs::read_to_string(folder.join(format!("{command}.1"))).unwrap();
        assert!(command_page.contains(".SH SYNOPSIS"), "{command_page}");
        assert!(command_page.contains("Example"), "{command_page}");
    }
    let taken = vsiflow.write("file", "");
    vsiflow
        .run(&["man", "--output-dir", taken.to_str().unwrap()])
        .exits(1)
        .says("VSI0908");
    assert!(!vsiflow.state().exists());
}

#[test]
fn a_shell_proposes_the_names_of_what_there_is() {
    let vsiflow = Vsiflow::simulated();
    let vsi = Vsi::named("web-1").to_string();
    let vsi = vsi.replacen("metadata:\n", "metadata:\n  labels: {app: web}\n", 1);
    vsiflow.apply(&vsi, &["--wait"]).exits(0);
    let daemon = vsiflow.serve(&[]);
    let has = |words: &[&str], expected: &str| {
        let all = proposed(&vsiflow, words);
        assert!(all.iter().any(|one| one == expected), "{words:?}: {all:?}");
    };
    has(&["stop", "we"], "web-1");
    has(&["describe", ""], "web-1");
    has(&["stop", "-l", ""], "app=web");
    has(&["create", "x", "--type", "l"], "large");
    has(&["create", "x", "--on", ""], "sim");
    has(&["host", "cordon", ""], "sim");
    has(&["create", "x", "--pool", ""], "images");
    has(
        &["create", "x", "--image", "image/"],
        "image/hpcr-guest.qcow2",
    );
    assert!(proposed(&vsiflow, &["stop", "-n", "other", "we"]).is_empty());
    assert!(proposed(&vsiflow, &["create", "we"]).is_empty());
    daemon.terminate();
    daemon.end(60).exits(0);
    assert_eq!(proposed(&vsiflow, &["stop", "we"]), ["web-1"]);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let vsiflow = Vsiflow::simulated();
    let help = vsiflow.run(&["--help"]).exits(0);
    assert!(
        help.stdout.contains("apply") && help.stderr.is_empty(),
        "{help:#?}"
    );
    let version = vsiflow.run(&["--version"]).exits(0);
    assert!(version.stdout.starts_with("vsiflow "), "{version:#?}");
}

#[test]
fn a_watched_list_shows_what_changes_while_another_process_works() {
    let vsiflow = Vsiflow::simulated();
    let mut first = vsiflow.start_apply(Vsi::named("seen").doing("lab-hang"), &["--wait"]);
    assert!(first.reaches("start_domain", 30), "it ended early");
    let mut watched = vsiflow.start(&["get", "-w"]);
    assert!(watched.prints("Booting", 30));
    first.kill();
    vsiflow.apply(Vsi::named("later"), &[]).exits(0);
    assert!(watched.prints("later", 30));
    watched.interrupt();
    watched.end(30).exits(130);
}

#[test]
fn logs_in_json_are_json_to_the_last_line_and_name_run_and_step() {
    let vsiflow = Vsiflow::simulated();
    let documents = vsiflow.write("logged.yaml", &Vsi::named("logged").to_string());
    let mut apply = vsiflow.command(&["apply", "--wait", "-f", documents.to_str().unwrap()]);
    apply.env("VSIFLOW_LOG_FORMAT", "json");
    let ran = Running::start(&mut apply).end(60).exits(0);
    let lines: Vec<Value> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let define =
        |line: &&Value| line["message"] == "step_succeeded" && line["step"] == "define_domain";
    let defined = lines.iter().find(define).expect("a step in the log");
    assert!(
        defined["run"].is_string() && defined["offset"].is_u64(),
        "{defined}"
    );
    assert!(
        defined["entity"].as_str().unwrap().starts_with("vsi/"),
        "{defined}"
    );
}

#[test]
fn what_is_listed_by_name_is_that_alone_with_its_kind_before_or_beside_it() {
    let vsiflow = Vsiflow::simulated();
    let both = format!("{}---\n{}", Vsi::named("web"), Vsi::named("elsewhere"));
    vsiflow.apply(both, &[]).exits(0);
    let disks = format!(
        "{}---\n{}",
        DiskDocument::named("one"),
        DiskDocument::named("two")
    );
    vsiflow.apply(disks, &[]).exits(0);
    for words in [&["disk/one"][..], &["disk", "one"], &["disks/one"]] {
        let words = [&["get"], words].concat();
        vsiflow
            .run(&words)
            .exits(0)
            .says("one")
            .keeps_quiet_about("two");
    }
    let run = vsiflow.vsi("web")["status"]["runId"].clone();
    let run = run.as_str().unwrap();
    let runs = vsiflow.run(&["get", "run", run]).exits(0).stdout;
    assert_eq!(runs.lines().count(), 2, "{runs}");
}

#[test]
fn names_are_taken_as_messages_give_them() {
    let vsiflow = Vsiflow::simulated();
    let web = Vsi::named("web").to_string();
    let web = web.replace("name: web", "name: web\n  namespace: test");
    vsiflow
        .apply(&web, &["--timeout", "0s"])
        .exits(5)
        .says("run `vsiflow resume test/web` to continue");
    let vsi = "test/web";
    vsiflow
        .run(&["resume", vsi])
        .exits(0)
        .says("vsi/test/web is settled");
    vsiflow
        .run(&["stop", vsi])
        .exits(0)
        .says("vsi/test/web is Stopped");
    for (command, says) in [
        ("get", "web"),
        ("describe", "web"),
        ("history", "stop_domain"),
        ("logs", "HPL10001I"),
        ("retry", "vsi/test/web: nothing to retry"),
    ] {
        vsiflow.run(&[command, vsi]).exits(0).says(says);
    }
    vsiflow.run(&["delete", "vsi/test/web"]).exits(0);
    vsiflow.run(&["get", vsi]).exits(3);
    for (words, lists) in [
        (["describe", "disk/none"], "vsiflow get disk -A"),
        (["adopt", "none"], "vsiflow host inventory"),
    ] {
        vsiflow.run(&words).exits(3).says(lists);
    }
}
