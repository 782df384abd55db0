//! The characters that trees and graphs are drawn with: ASCII where the reader's locale has no other.

use super::sink;

/// Whether trees are drawn in ASCII. A caller's command is drawn for its caller.
pub(crate) fn is_ascii() -> bool {
    sink::callers_ascii().unwrap_or_else(has_ascii_locale)
}

/// Whether this process's locale has an encoding other than UTF-8. A locale that is not set says nothing about
/// the terminal.
pub(crate) fn has_ascii_locale() -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    locale_is_ascii(names.map(|name| std::env::var(name).unwrap_or_default()))
}

/// The first variable that is set decides.
fn locale_is_ascii(variables: [String; 3]) -> bool {
    let locale = variables.into_iter().find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let locale = locale.to_lowercase();
        !["utf-8", "utf8"].iter().any(|name| locale.contains(name))
    })
}

/// How the branch to an item is drawn, and what is below it in the same column.
pub(crate) struct Branch {
    pub(crate) fork: &'static str,
    pub(crate) stem: &'static str,
}

/// The branch to an item of a tree.
pub(crate) fn branch(is_last: bool) -> Branch {
    branch_of(is_last, is_ascii())
}

fn branch_of(is_last: bool, ascii: bool) -> Branch {
    let (fork, stem) = match (ascii, is_last) {
        (false, true) => ("└─", "  "),
        (false, false) => ("├─", "│ "),
        (true, true) => ("`-", "  "),
        (true, false) => ("|-", "| "),
    };
    Branch { fork, stem }
}

/// The sign of a step or phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Done,
    Busy,
    Failed,
    Blocked,
    Delayed,
    Left,
    Waiting,
}

impl Sign {
    /// The character that it is drawn as.
    pub(crate) fn drawn(self, ascii: bool) -> &'static str {
        match (self, ascii) {
            (Self::Done, false) => "●",
            (Self::Busy, false) => "◉",
            (Self::Failed, false) => "✗",
            (Self::Blocked, false) => "■",
            (Self::Delayed, false) => "◌",
            (Self::Left, false) => "–",
            (Self::Waiting, false) => "○",
            (Self::Done, true) => "*",
            (Self::Busy, true) => "@",
            (Self::Failed, true) => "x",
            (Self::Blocked, true) => "#",
            (Self::Delayed, true) => "~",
            (Self::Left, true) => "-",
            (Self::Waiting, true) => "o",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_decides() {
        for (variables, ascii) in [
            (["", "", ""], false),
            (["C", "", ""], true),
            (["POSIX", "", "de_DE.UTF-8"], true),
            (["", "", "C"], true),
            (["", "", "C.UTF-8"], false),
            (["", "", "en_US.utf8"], false),
            (["", "de_DE.ISO-8859-1", "en_US.utf8"], true),
            (["C.utf8", "C", "C"], false),
        ] {
            let variables = variables.map(str::to_owned);
            assert_eq!(locale_is_ascii(variables.clone()), ascii, "{variables:?}");
        }
    }

    #[test]
    fn signs_and_branches_differ_and_are_ascii_where_they_have_to_be() {
        let signs = [
            Sign::Done,
            Sign::Busy,
            Sign::Failed,
            Sign::Blocked,
            Sign::Delayed,
            Sign::Left,
            Sign::Waiting,
        ];
        for ascii in [false, true] {
            let drawn = signs.map(|sign| sign.drawn(ascii));
            let distinct: std::collections::BTreeSet<_> = drawn.into_iter().collect();
            assert_eq!(distinct.len(), signs.len());
            let branches = [true, false].map(|is_last| branch_of(is_last, ascii));
            for Branch { fork, stem } in branches {
                assert_eq!(fork.is_ascii(), ascii, "{fork}");
                assert_eq!(fork.chars().count(), stem.chars().count());
            }
            assert_eq!(drawn.iter().all(|sign| sign.is_ascii()), ascii);
        }
    }
}
