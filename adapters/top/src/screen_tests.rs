use std::{env, process::Command};

use super::*;

/// The output of one of the tests below on a pseudo-terminal of `script` (util-linux), and the state of
/// the terminal behind it.
fn on_a_terminal(test: &str) -> String {
    let own = env::current_exe().unwrap();
    let line = format!(
        "'{}' --exact screen::tests::{test} --ignored --nocapture; stty -a",
        own.display()
    );
    let ran = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told_of() {
    let seen = on_a_terminal("panics_in_full_screen");
    let (before, after) = seen
        .split_once("\x1b[?1049l")
        .unwrap_or_else(|| panic!("{seen:?}"));
    assert!(before.contains("\x1b[?1049h"), "{seen:?}");
    assert!(after.contains("the test asked for it"), "{seen:?}");
    // Line mode and echo are restored.
    assert!(after.contains(" icanon"), "{after}");
    assert!(after.contains(" echo "), "{after}");
    assert!(!after.contains("\x1b[?1049"), "once only: {after:?}");
}

#[test]
#[ignore = "run by the test above"]
fn panics_in_full_screen() {
    let _full = FullScreen::begin().unwrap();
    panic!("the test asked for it");
}

#[test]
fn the_end_gives_the_terminal_back() {
    let seen = on_a_terminal("ends_in_full_screen");
    let (_, after) = seen
        .split_once("\x1b[?1049l")
        .unwrap_or_else(|| panic!("{seen:?}"));
    assert!(after.contains(" icanon"), "{after}");
}

#[test]
#[ignore = "run by the test above"]
fn ends_in_full_screen() {
    drop(FullScreen::begin().unwrap());
}
