//! The state of the display, and how keys and answers change it. Pure.

use std::time::Duration;

use vsiflow_workflows::fleet::FleetOverview;

use crate::{
    Kind,
    clean::{clean, lines},
    rates::Rates,
    rows::{self, Row},
};

/// The maximum length of typed text, in characters.
const MAX_INPUT_LEN: usize = 200;
/// The maximum number of lines of a text; of a longer one the last lines are shown.
const MAX_LINES: usize = 20_000;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPress {
    /// A character.
    Char(char),
    /// Return.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Tabulator.
    Tab,
    /// Up by one line.
    Up,
    /// Down by one line.
    Down,
    /// Up by a page.
    PageUp,
    /// Down by a page.
    PageDown,
    /// To the first line.
    Home,
    /// To the last line.
    End,
    /// `^C`.
    Interrupt,
}

/// An effect of a key outside the display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    /// End the program.
    Quit,
    /// Run a read-only command and show its output.
    Read(Vec<String>),
    /// Give the terminal to a command until it ends.
    HandOver(Vec<String>),
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerAnswer {
    /// A snapshot of the fleet, and the time since the previous one.
    Look(Box<FleetOverview>, Duration),
    /// The refresh failed, with its error.
    NoLook(String),
    /// The output of the command with these arguments.
    Text(Vec<String>, Result<String, String>),
}

/// A text over the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pager {
    pub(crate) words: Vec<String>,
    pub(crate) lines: Vec<String>,
    pub(crate) at: usize,
    pub(crate) waits: bool,
}

/// The text that is being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PromptInput {
    Filter(String),
    Goto(String),
}

/// The state of the display.
#[derive(Clone, Debug, Default)]
pub struct Top {
    pub(crate) snapshot: Option<FleetOverview>,
    pub(crate) rates: Rates,
    pub(crate) kind: Kind,
    pub(crate) filter: String,
    pub(crate) input: Option<PromptInput>,
    pub(crate) chosen: usize,
    /// Names the chosen row, so that it remains chosen when rows are added or removed.
    words: Vec<String>,
    is_vsi: bool,
    pub(crate) pager: Option<Pager>,
    pub(crate) help: bool,
    pub(crate) message: Option<String>,
    /// Why the newest refresh failed.
    pub(crate) silent: Option<String>,
    /// The number of lines that fit; set by drawing.
    pub(crate) page: usize,
}

impl Top {
    /// The rows of the current list.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or_else(Vec::new, |snapshot| {
            rows::rows(snapshot, self.kind, &self.filter)
        })
    }

    /// The offset from which the next refresh counts ended steps.
    pub fn counts_from(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.end)
    }

    /// Handles an answer.
    pub fn take(&mut self, answer: WorkerAnswer) {
        match answer {
            WorkerAnswer::Look(snapshot, passed) => {
                self.rates = Rates::between(self.snapshot.as_ref(), &snapshot, passed);
                self.snapshot = Some(*snapshot);
                self.silent = None;
                self.settle();
            }
            WorkerAnswer::NoLook(why) => self.silent = Some(clean(&why)),
            WorkerAnswer::Text(words, text) => {
                // The text was closed, or another one was requested since: this answer is too late.
                let open = self.pager.as_mut().filter(|pager| pager.words == words);
                let Some(pager) = open else { return };
                let text = text.unwrap_or_else(|why| why);
                let mut all = lines(&text);
                let extra = all.len().saturating_sub(MAX_LINES);
                all.drain(..extra);
                (pager.lines, pager.waits) = (all, false);
            }
        }
    }

    /// Shows a message in the last line.
    pub fn show_message(&mut self, text: &str) {
        self.message = Some(clean(text));
    }

    /// Keeps the chosen row selected after a change of the rows.
    fn settle(&mut self) {
        let rows = self.rows();
        let again = rows.iter().position(|row| row.words == self.words);
        self.chosen = again
            .unwrap_or(self.chosen)
            .min(rows.len().saturating_sub(1));
        self.note(&rows);
    }

    fn note(&mut self, rows: &[Row]) {
        let chosen = rows.get(self.chosen).cloned().unwrap_or_default();
        (self.words, self.is_vsi) = (chosen.words, chosen.is_vsi);
    }

    fn move_to(&mut self, to: usize) {
        let rows = self.rows();
        self.chosen = to.min(rows.len().saturating_sub(1));
        self.note(&rows);
    }

    fn show(&mut self, kind: Kind) {
        if self.kind != kind {
            (self.kind, self.chosen) = (kind, 0);
            self.filter.clear();
            self.words.clear();
        }
        self.settle();
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyPress) -> Option<KeyEffect> {
        if key == KeyPress::Interrupt {
            return Some(KeyEffect::Quit);
        }
        self.message = None;
        if self.input.is_some() {
            self.type_in(key);
            return None;
        }
        if self.help {
            self.help = false;
            return None;
        }
        if self.pager.is_some() {
            self.turn(key);
            return None;
        }
        self.command(key)
    }

    fn command(&mut self, key: KeyPress) -> Option<KeyEffect> {
        let page = self.page.max(1);
        match key {
            KeyPress::Char('q') => return Some(KeyEffect::Quit),
            KeyPress::Char('?') => self.help = true,
            KeyPress::Char('/') => self.input = Some(PromptInput::Filter(self.filter.clone())),
            KeyPress::Char(':') => self.input = Some(PromptInput::Goto(String::new())),
            KeyPress::Escape if self.filter.is_empty() => {}
            KeyPress::Escape => {
                self.filter.clear();
                self.settle();
            }
            KeyPress::Char('d') | KeyPress::Enter => return self.read(&["describe"]),
            KeyPress::Char('l') => return self.of_vsi(&["logs", "--tail", "1000"]),
            KeyPress::Char('h') => return self.read(&["history"]),
            KeyPress::Char('g') => return self.read(&["history", "--graph"]),
            KeyPress::Char('s') => return self.hand_over("ssh"),
            KeyPress::Char('c') => return self.hand_over("console"),
            KeyPress::Tab => self.show(self.kind.next()),
            KeyPress::Char(digit @ '1'..='4') => {
                let at = digit.to_digit(10).and_then(|digit| digit.checked_sub(1));
                let kind = at.and_then(|at| Kind::ALL.get(usize::try_from(at).ok()?));
                self.show(kind.copied().unwrap_or_default());
            }
            KeyPress::Down | KeyPress::Char('j') => self.move_to(self.chosen.saturating_add(1)),
            KeyPress::Up | KeyPress::Char('k') => self.move_to(self.chosen.saturating_sub(1)),
            KeyPress::PageDown => self.move_to(self.chosen.saturating_add(page)),
            KeyPress::PageUp => self.move_to(self.chosen.saturating_sub(page)),
            KeyPress::Home => self.move_to(0),
            KeyPress::End | KeyPress::Char('G') => self.move_to(usize::MAX),
            _ => {}
        }
        None
    }

    /// Scrolls the text, or closes it.
    fn turn(&mut self, key: KeyPress) {
        let page = self.page.max(1);
        let Some(pager) = &mut self.pager else { return };
        let last = pager.lines.len().saturating_sub(page);
        pager.at = match key {
            KeyPress::Char('q') | KeyPress::Escape => {
                self.pager = None;
                return;
            }
            KeyPress::Down | KeyPress::Char('j') => pager.at.saturating_add(1),
            KeyPress::Up | KeyPress::Char('k') => pager.at.saturating_sub(1),
            KeyPress::PageDown | KeyPress::Char(' ') => pager.at.saturating_add(page),
            KeyPress::PageUp => pager.at.saturating_sub(page),
            KeyPress::Home => 0,
            KeyPress::End | KeyPress::Char('G') => last,
            _ => pager.at,
        }
        .min(last);
    }

    fn type_in(&mut self, key: KeyPress) {
        let Some(input) = &mut self.input else { return };
        let (PromptInput::Filter(text) | PromptInput::Goto(text)) = input;
        match key {
            KeyPress::Char(c) if text.chars().count() < MAX_INPUT_LEN => text.push(c),
            KeyPress::Backspace if text.is_empty() => {
                self.input = None;
                return;
            }
            KeyPress::Backspace => {
                text.pop();
            }
            KeyPress::Escape => {
                if matches!(input, PromptInput::Filter(_)) {
                    self.filter.clear();
                }
                self.input = None;
            }
            KeyPress::Enter => return self.typed(),
            _ => {}
        }
        if let Some(PromptInput::Filter(filter)) = &self.input {
            self.filter.clone_from(filter);
        }
        self.settle();
    }

    fn typed(&mut self) {
        let Some(PromptInput::Goto(word)) = self.input.take() else {
            return;
        };
        match Kind::named(word.trim().to_lowercase().as_str()) {
            Some(kind) => self.show(kind),
            None if ["q", "quit"].contains(&word.trim()) => {
                self.show_message("`q` without `:` quits")
            }
            None => self.show_message(&format!(
                "no such kind: {word}; there are vsis, steps, uploads and hosts"
            )),
        }
    }

    /// The arguments of a command about the chosen object.
    fn words(&self, command: &[&str]) -> Option<Vec<String>> {
        let (name, before) = self.words.split_last()?;
        // A name that looks like an option would be parsed as one.
        let is_name = !name.is_empty() && !name.starts_with('-');
        let command = command.iter().map(|word| (*word).to_owned());
        let words = command.chain(before.iter().cloned()).chain([name.clone()]);
        is_name.then(|| words.collect())
    }

    fn read(&mut self, command: &[&str]) -> Option<KeyEffect> {
        let words = self.words(command)?;
        self.pager = Some(Pager {
            words: words.clone(),
            waits: true,
            ..Pager::default()
        });
        Some(KeyEffect::Read(words))
    }

    fn of_vsi(&mut self, command: &[&str]) -> Option<KeyEffect> {
        if self.is_vsi {
            self.read(command)
        } else {
            self.refuse(command)
        }
    }

    fn hand_over(&mut self, command: &str) -> Option<KeyEffect> {
        if self.is_vsi {
            self.words(&[command]).map(KeyEffect::HandOver)
        } else {
            self.refuse(&[command])
        }
    }

    fn refuse(&mut self, command: &[&str]) -> Option<KeyEffect> {
        let command = command.first().copied().unwrap_or_default();
        self.show_message(&format!("`{command}` is for VSIs"));
        None
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
