//! Checks the marks of a jinja template, without running it.

use super::{
    CLOUD_CONFIG, CheckBudget, InputProblem, check_config, check_form, form_of, script::BOOTHOOK,
};

/// The marks that open an expression, a statement and a comment, with those that close them.
const MARKS: [(&str, &str); 3] = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];
/// The statements that need an end.
const BLOCKS: [&str; 9] = [
    "if",
    "for",
    "macro",
    "call",
    "filter",
    "block",
    "with",
    "autoescape",
    "raw",
];
/// What a template may make.
const FORMS: [&str; 3] = ["#cloud-config", "#!", BOOTHOOK];
const REMEDY: &str = "correct the template; `cloud-init devel render FILE` renders it";

/// The problem of a template: of its second line, or of a mark that is open.
pub(super) fn check(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    if text.starts_with(char::is_whitespace) {
        let message =
            "white space is before `## template: jinja`, so that cloud-init fills in nothing";
        return Some(InputProblem::new(message, "begin with that line"));
    }
    let (_, rest) = text.split_once('\n').unwrap_or_default();
    if !matches!(form_of(rest), Some(form) if FORMS.contains(&form)) {
        let message = "the line after `## template: jinja` begins nothing that cloud-init fills in";
        let remedy = "write `#cloud-config` as the second line";
        return Some(InputProblem::new(message, remedy));
    }
    if MARKS.iter().any(|(open, _)| rest.contains(open)) {
        Template { text, at: 0 }.check()
    } else {
        let problem = check_form(rest, budget)?;
        if form_of(rest) != Some(CLOUD_CONFIG) {
            return Some(problem);
        }
        // Of the whole text, whose lines the user counts: the first one is a comment there.
        check_config(text, budget).or(Some(problem))
    }
}

/// A template, read up to a place.
struct Template<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Template<'t> {
    fn check(mut self) -> Option<InputProblem> {
        let mut blocks: Vec<(&str, usize)> = Vec::new();
        while let Some((open, close)) = self.next_mark() {
            let begin = self.at;
            self.at = begin.saturating_add(open.len());
            let Some(content) = self.content(close) else {
                let message = format!("its template has a `{open}` without `{close}`");
                return Some(self.problem(begin, &message));
            };
            if open == "{{" && content.trim().is_empty() {
                return Some(self.problem(begin, "its template has an empty `{{ }}`"));
            }
            if open != "{%" {
                continue;
            }
            let word = content
                .trim_start_matches(['-', '+'])
                .split_whitespace()
                .next();
            match word.unwrap_or_default() {
                "raw" => self.skip_raw(),
                word if BLOCKS.contains(&word) => blocks.push((word, begin)),
                // Without `=` it is a block.
                "set" if !content.contains('=') => blocks.push(("set", begin)),
                word => {
                    let Some(ended) = word.strip_prefix("end") else {
                        continue;
                    };
                    if blocks.pop().is_none_or(|(block, _)| block != ended) {
                        let message = "its template ends a block that is not open";
                        return Some(self.problem(begin, message));
                    }
                }
            }
        }
        let (block, begin) = blocks.pop()?;
        let message = format!("its template has a `{{% {block} %}}` without `{{% end{block} %}}`");
        Some(self.problem(begin, &message))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Moves to the next mark that opens something. Each byte is looked at once, however many marks there are.
    fn next_mark(&mut self) -> Option<(&'static str, &'static str)> {
        loop {
            let brace = self.rest().find('{')?;
            self.at = self.at.saturating_add(brace);
            let rest = self.rest();
            let opened = MARKS.iter().find(|(open, _)| rest.starts_with(open));
            if let Some(mark) = opened {
                return Some(*mark);
            }
            self.at = self.at.saturating_add(1);
        }
    }

    /// What is between the marks; texts in quotation marks do not close it, except in a comment.
    fn content(&mut self, close: &str) -> Option<&'t str> {
        let rest = self.rest();
        let mut quote = None;
        for (at, c) in rest.char_indices() {
            let is_end = rest.get(at..).is_some_and(|end| end.starts_with(close));
            match quote {
                None if is_end => {
                    self.at = self.at.saturating_add(at).saturating_add(close.len());
                    return rest.get(..at);
                }
                None if close != "#}" && ['"', '\''].contains(&c) => quote = Some(c),
                Some(open) if open == c => quote = None,
                _ => {}
            }
        }
        None
    }

    fn skip_raw(&mut self) {
        let rest = self.rest();
        let end = rest.find("endraw").unwrap_or(rest.len());
        let remaining = rest.get(end..).unwrap_or_default();
        let close = remaining
            .find("%}")
            .map_or(remaining.len(), |end_mark| end_mark.saturating_add(2));
        self.at = self.at.saturating_add(end).saturating_add(close);
    }

    fn problem(&self, begin: usize, message: &str) -> InputProblem {
        let preceding = self.text.get(..begin).unwrap_or_default();
        let line = preceding.matches('\n').count().saturating_add(1);
        InputProblem::new(format!("{message} (line {line})"), REMEDY)
    }
}
