//! The examples at the end of each command's help, for tests.

/// The examples of all commands, split into words.
///
/// # Panics
/// When a command has no examples.
pub(crate) fn examples(command: &clap::Command) -> Vec<Vec<String>> {
    let below: Vec<_> = command.get_subcommands().collect();
    if !below.is_empty() {
        return below.into_iter().flat_map(examples).collect();
    }
    let help = command.get_after_help();
    let help = help.unwrap_or_else(|| panic!("{} has no example", command.get_name()));
    let help = help.to_string();
    let lines = help.lines().filter(|line| line.starts_with("  "));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let examples: Vec<_> = lines.map(words).collect();
    assert!(
        !examples.is_empty(),
        "{} has no example",
        command.get_name()
    );
    examples
}
