//! The page of all commands and options, made from clap's definitions: a test writes it to
//! `docs/reference/options.md`.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/options.md"
);
const HEAD: &str = "# Options of all commands

Drawn from the command line by a test. `vsiflow COMMAND --help` prints the same with more words, and `vsiflow man` as manual pages.
[Commands](commands.md) explains what they are for.
";

fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut page = format!("{HEAD}\n## Everywhere\n\n");
    options(&mut page, command.get_arguments(), |_| true);
    commands(&mut page, &command);
    page
}

fn commands(page: &mut String, of: &Command) {
    for command in of.get_subcommands() {
        if command.is_hide_set() || command.get_name() == "help" {
            continue;
        }
        if command.has_subcommands() {
            commands(page, command);
            continue;
        }
        let name = command.get_bin_name().unwrap_or_default();
        let about = command.get_about().map(ToString::to_string);
        let _ = write!(page, "\n## {name}\n\n{}.\n\n", about.unwrap_or_default());
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        let _ = write!(page, "```text\n{usage}\n```\n\n");
        options(page, command.get_arguments(), |option| {
            !option.is_global_set()
        });
    }
}

/// A table of those arguments that are not hidden.
fn options<'a>(
    page: &mut String,
    all: impl Iterator<Item = &'a Arg>,
    matches: impl Fn(&Arg) -> bool,
) {
    let shown = |option: &&Arg| {
        !option.is_hide_set()
            && matches(option)
            && !["help", "version"].contains(&option.get_id().as_str())
    };
    let all: Vec<_> = all.filter(shown).collect();
    if all.is_empty() {
        return;
    }
    *page += "| option | meaning |\n|---|---|\n";
    for option in all {
        let _ = writeln!(page, "| {} | {} |", in_cell(&name(option)), meaning(option));
    }
}

fn name(option: &Arg) -> String {
    let values = option.get_num_args().is_some_and(|n| n.takes_values());
    let value = option.get_value_names().unwrap_or_default().join(" ");
    if option.is_positional() {
        return format!("`{value}`");
    }
    let short = option.get_short().map(|short| format!("-{short}"));
    let long = option.get_long().map(|long| format!("--{long}"));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    let value = if values {
        format!(" {value}")
    } else {
        String::new()
    };
    format!("`{}{value}`", names.join(", "))
}

fn meaning(option: &Arg) -> String {
    let help = option.get_long_help().or_else(|| option.get_help());
    let mut text = in_cell(&help.map(ToString::to_string).unwrap_or_default());
    if !text.is_empty() && !text.ends_with('.') {
        text.push('.');
    }
    let values: Vec<_> = option.get_possible_values();
    let is_flag = !option.get_num_args().is_some_and(|n| n.takes_values());
    let names: Vec<_> = values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !is_flag && !names.is_empty() {
        let _ = write!(text, " One of {}.", names.join(", "));
    }
    let default: Vec<_> = option
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !is_flag && !default.is_empty() && !option.is_hide_default_value_set() {
        let _ = write!(text, " Default: `{}`.", default.join(" "));
    }
    if let Some(variable) = option.get_env() {
        let _ = write!(text, " Environment: `{}`.", variable.to_string_lossy());
    }
    text.trim().to_owned()
}

/// A text on one line, with the characters escaped that have a meaning in a table or a page.
fn in_cell(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut safe = String::new();
    let mut in_code = false;
    for letter in text.chars() {
        match letter {
            '`' => in_code = !in_code,
            '|' => safe.push('\\'),
            '<' | '*' | '_' | '[' if !in_code => safe.push('\\'),
            _ => {}
        }
        safe.push(letter);
    }
    safe
}

#[test]
fn the_page_of_options_is_what_the_command_line_has() {
    let page = page();
    if std::env::var_os("VSIFLOW_DRAW").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        committed == page,
        "run: VSIFLOW_DRAW=1 cargo nextest run -p vsiflow -E 'test(page_of_options)'"
    );
}
