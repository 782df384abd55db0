//! Checks scripts: the guest's kernel runs them by their first line.

use super::{InputProblem, joined};

/// The first word of a script that is run early in each boot. cloud-init takes it away.
pub(super) const BOOTHOOK: &str = "#cloud-boothook";
const REMEDY: &str = "begin it with a line such as `#!/bin/sh`, without anything before it";

/// The problem of a script whose first line the kernel would not take. cloud-init itself corrects the line ends of
/// Windows.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let Some(rest) = text.strip_prefix("#!") else {
        let message = if text.trim_start().starts_with("#!") {
            "white space stands before the `#!` of the script, so that no interpreter is found"
        } else {
            "the script does not begin with `#!` and an interpreter"
        };
        return Some(InputProblem::new(message, REMEDY));
    };
    let (line, _) = rest.split_once('\n').unwrap_or((rest, ""));
    let first = line
        .strip_suffix('\r')
        .filter(|_| rest.contains('\n'))
        .unwrap_or(line);
    if !first.trim_start().starts_with('/') {
        let message = "the first line of the script does not name an interpreter by its whole path";
        return Some(InputProblem::new(message, REMEDY));
    }
    if !first.contains('\r') {
        return joined::check_script(first, rest.trim_end() == first.trim_end());
    }
    let message =
        "the lines of the script end with carriage returns alone, so that no interpreter is found";
    Some(InputProblem::new(
        message,
        "save it with the line ends of Unix",
    ))
}

/// The same for a boot hook. White space after its own first word is taken away, too.
pub(super) fn check_boothook(text: &str) -> Option<InputProblem> {
    let begin = text.trim_start();
    let first_word = begin
        .get(..BOOTHOOK.len())
        .filter(|first_word| first_word.eq_ignore_ascii_case(BOOTHOOK));
    let script = first_word.map_or(text, |first_word| {
        begin.get(first_word.len()..).unwrap_or_default()
    });
    check(script.trim_start())
}
