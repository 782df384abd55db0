//! The example that a stranger runs first.

use std::process::Command;

#[test]
fn the_example_is_killed_and_repeats_no_step_that_succeeded() {
    let test = std::env::current_exe().unwrap();
    let folders = test.ancestors().skip(1).take(2);
    let example = folders
        .map(|folder| folder.join("examples/hello_workflow"))
        .find(|path| path.is_file());
    let example = example.expect("cargo builds examples for tests");
    let output = Command::new(example).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let times = |words: &str| text.matches(words).count();
    assert_eq!(times("write_greeting runs"), 1, "{text}");
    assert_eq!(times("read_aloud runs"), 2, "{text}");
    assert_eq!(times("run_finished"), 1, "{text}");
    assert!(text.contains("\"hello, workflow\""), "{text}");
}
