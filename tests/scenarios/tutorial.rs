//! Runs the tutorials: the commands in the pages of `docs/tutorial`.
//!
//! Each line of a `console` block is a command. The commands of a page run in one shell, and each
//! must exit with 0. A `text` block after them is the output of the commands before it. There, `…`
//! matches any text within a line, or any lines if it is alone. The number of spaces does not
//! matter. A comment before a `console` block changes that:
//!
//! - `<!-- tutorial: skip, WHY -->`: the block is not run
//! - `<!-- tutorial: lab -->`: the block runs only inside a lab
//! - `<!-- tutorial: exits 1 -->`: the last command of the block exits with 1

use std::{fmt::Write as _, fs, os::unix::fs::symlink, path::Path, process::Command};

use regex::Regex;
use vsiflow_tests::{Lab, Running, TestCluster, binary};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const FIRST_VSI: &str = "docs/tutorial/first-vsi.md";
const IN_A_CLUSTER: &str = "docs/tutorial/first-vsi-in-a-cluster.md";
/// Marks the exit code of a command in the output; no command prints this character.
const END: char = '\u{1e}';
/// In seconds; guests of the lab are emulated.
const DEADLINE: u64 = 540;

/// Commands, and what they print together.
#[derive(Debug)]
struct ConsoleBlock {
    line: usize,
    commands: Vec<String>,
    /// The exit code of the last command.
    exits: i32,
    in_lab: bool,
    prints: Option<String>,
}

/// The blocks of a page that have to be run.
fn blocks(page: &str) -> Vec<ConsoleBlock> {
    let mut found: Vec<ConsoleBlock> = Vec::new();
    let (mut mark, mut skipped) = (String::new(), false);
    let mut lines = page.lines().zip(1..);
    while let Some((text, line)) = lines.next() {
        if let Some(rest) = text.strip_prefix("<!-- tutorial: ") {
            mark = rest.strip_suffix(" -->").expect(text).to_owned();
        } else if let Some(language) = text.strip_prefix("```") {
            let inside: Vec<_> = lines
                .by_ref()
                .map(|(block_line, _)| block_line)
                .take_while(|block_line| *block_line != "```")
                .collect();
            match language {
                "console" => {
                    let mark = std::mem::take(&mut mark);
                    skipped = mark.starts_with("skip, ");
                    if !skipped {
                        found.push(block(line, &inside, &mark));
                    }
                }
                "text" if !skipped => {
                    let of = found.last_mut().expect("output without a command");
                    assert!(of.prints.is_none(), "line {line}: output without a command");
                    of.prints = Some(inside.join("\n"));
                }
                _ => {}
            }
        }
    }
    assert!(mark.is_empty(), "a mark without commands: {mark}");
    found
}

fn block(line: usize, inside: &[&str], mark: &str) -> ConsoleBlock {
    let exits = match mark.strip_prefix("exits ") {
        Some(code) => code.parse().expect(mark),
        None => 0,
    };
    let is_known = exits != 0 || mark.is_empty() || mark == "lab";
    assert!(is_known, "line {line}: what is {mark}?");
    ConsoleBlock {
        line,
        commands: inside.iter().map(|&command| command.to_owned()).collect(),
        exits,
        in_lab: mark == "lab",
        prints: None,
    }
}

impl ConsoleBlock {
    /// The commands with their expected exit codes.
    fn expected(&self) -> impl Iterator<Item = (&str, i32)> {
        let last = self.commands.len() - 1;
        let code = move |at| if at == last { self.exits } else { 0 };
        let commands = self.commands.iter().enumerate();
        commands.map(move |(at, command)| (command.as_str(), code(at)))
    }
}

/// A script that prints each command's exit code, and stops at the first unexpected one.
fn script(blocks: &[ConsoleBlock]) -> String {
    let mut script = String::from("exec 2>&1\n");
    for (command, code) in blocks.iter().flat_map(ConsoleBlock::expected) {
        writeln!(script, "{command}").unwrap();
        writeln!(
            script,
            "code=$?; printf '{END}%s\\n' $code; [ $code = {code} ] || exit"
        )
        .unwrap();
    }
    script
}

/// Runs a page's blocks in a folder that contains only `deploy` and `target`, and compares the
/// output.
fn run(page: &str, in_lab: bool) {
    let text = fs::read_to_string(Path::new(REPOSITORY).join(page)).unwrap();
    let blocks: Vec<_> = blocks(&text)
        .into_iter()
        .filter(|block| in_lab || !block.in_lab)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let deploy = fs::canonicalize(Path::new(REPOSITORY).join("deploy")).unwrap();
    symlink(deploy, folder.path().join("deploy")).unwrap();
    fs::create_dir(folder.path().join("target")).unwrap();
    let file = folder.path().join("target/script");
    // The test already runs inside the lab. On a failure, background processes must not outlive the
    // script.
    let inside = "deploy/lab/exec() { \"$@\"; }\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n";
    fs::write(&file, format!("{inside}{}", script(&blocks))).unwrap();
    let ran = Running::start(&mut shell(&file, folder.path())).end(DEADLINE);
    let mut parts = ran.stdout.split(END);
    let mut rest = parts.next().unwrap().to_owned();
    for block in &blocks {
        let mut printed = String::new();
        for (command, expected) in block.expected() {
            printed += &rest;
            let part = parts.next().unwrap_or_else(|| {
                panic!("{page}:{}: `{command}` did not end: {ran:#?}", block.line)
            });
            let (code, after) = part.split_once('\n').unwrap();
            assert!(
                code == expected.to_string(),
                "{page}:{}: `{command}` exits with {code}:\n{printed}",
                block.line
            );
            rest = after.to_owned();
        }
        if let Some(expected) = &block.prints {
            assert!(
                fits(expected, &printed),
                "{page}:{}: expected\n{expected}\n\nand it printed\n{printed}",
                block.line
            );
        }
    }
}

fn shell(script: &Path, folder: &Path) -> Command {
    let binary = binary();
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("bash");
    shell
        .arg("--norc")
        .arg(script)
        .current_dir(folder)
        .env("PATH", path.unwrap());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VSIFLOW_") {
            shell.env_remove(name);
        }
    }
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        shell.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    shell
}

/// Whether the printed text matches a page's block.
fn fits(expected: &str, printed: &str) -> bool {
    let mut pattern = String::from("^");
    for line in one_space(expected) {
        if line == "…" {
            pattern += "(?:.*\n)*?";
        } else {
            let parts: Vec<_> = line.split('…').map(regex::escape).collect();
            let _ = writeln!(pattern, "{}", parts.join(".*"));
        }
    }
    let printed: String = one_space(printed).map(|line| line + "\n").collect();
    Regex::new(&(pattern + "$")).unwrap().is_match(&printed)
}

/// Lines with single spaces, without empty ones.
fn one_space(text: &str) -> impl Iterator<Item = String> {
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty())
}

#[test]
fn the_tutorial_does_what_it_says_on_a_simulated_host() {
    run(FIRST_VSI, false);
}

/// Needs the lab exclusively: the page uses common names.
#[test]
fn lab_the_tutorial_does_what_it_says_on_a_real_host() {
    let Some(_lab) = Lab::enter_alone() else {
        return;
    };
    run(FIRST_VSI, true);
}

/// Needs the cluster exclusively, for the same reason.
#[test]
fn kube_the_tutorial_does_what_it_says_in_a_cluster() {
    let Some(_cluster) = TestCluster::enter_alone() else {
        return;
    };
    run(IN_A_CLUSTER, false);
}

#[test]
fn what_a_tutorial_prints_is_compared_but_for_what_is_left_open() {
    assert!(fits("a …\n…\nc", "a  1\nb\nb\nc\n"));
    assert!(fits("…\nc", "c\n"));
    assert!(!fits("a\nc", "a\nb\nc\n"));
    assert!(!fits("a", "a\nb\n"));
    assert!(!fits("a.c", "abc\n"));
    let page = "<!-- tutorial: exits 1 -->\n```console\ntrue\nfalse\n```\n\n```text\nx\n```\n\n<!-- tutorial: skip, so -->\n```console\nrm x\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (
            found[0].exits,
            found[0].commands.len(),
            found[0].prints.as_deref()
        ),
        (1, 2, Some("x"))
    );
}
