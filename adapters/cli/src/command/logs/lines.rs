//! Prints consoles line by line, with filters and the names of their VSIs.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use vsiflow_steps::{
    guest::pattern::{LinePattern, MatchBudget, matching},
    ports::ConsolePosition,
};

use super::times::LineClock;
use crate::{
    args::{Common, LogsArgs},
    command::event_lines,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::ConsoleReader,
};

/// How often a followed log is polled.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// A longer line is printed as several lines, in bytes.
const LINE_MAX: usize = 64 * 1024;
/// The same for lines that an expression is matched with.
const GREP_LINE_MAX: usize = 4 * 1024;
/// The last lines that are held back until the end is known, in bytes: a console may be of any length.
const HELD_MAX: usize = 16 * 1024 * 1024;
/// What a line needs beside its bytes.
const LINE_MEMORY: usize = size_of::<Vec<u8>>() * 2;
/// The step after which a guest runs.
const STARTS: &str = "start_domain";

/// A console, the position up to which it was read, and the filter for its lines.
pub(super) struct LogReader {
    name: String,
    log: ConsoleReader,
    at: ConsolePosition,
    lines: LineSplitter,
    since: TimeFilter,
    grep: Option<LineGrep>,
    prefix: bool,
    /// How many of the last existing lines are printed; `None` means all.
    tail: Option<usize>,
}

impl LogReader {
    /// Opens the console of a VSI. Its host is not contacted yet.
    ///
    /// # Errors
    /// When there is no such VSI, or the journal cannot be read.
    pub(super) async fn open(
        common: &Common,
        args: &LogsArgs,
        name: &str,
    ) -> Result<Self, ExitProblem> {
        let log = ConsoleReader::open(common, &args.namespace, name).await?;
        let since = args
            .since
            .and_then(|since| SignedDuration::try_from(since).ok());
        let since = since.and_then(|since| Timestamp::now().checked_sub(since).ok());
        let started = match since {
            Some(_) => started(common, &args.namespace, name).await?,
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            log,
            at: ConsolePosition::default(),
            lines: LineSplitter::of(if args.grep.is_some() {
                GREP_LINE_MAX
            } else {
                LINE_MAX
            }),
            since: TimeFilter {
                since,
                clock: LineClock::of(started),
            },
            grep: args.grep.clone().map(LineGrep::of),
            prefix: args.prefix,
            tail: args.tail,
        })
    }

    /// Prints what was written since the last call. `last` says whether a line without an end is printed too.
    async fn print(&mut self, last: bool) -> Result<(), ExitProblem> {
        let mut held = HeldLines::default();
        let tail = self.tail.take();
        loop {
            let chunk = if last {
                self.log.read(self.at).await?
            } else {
                self.log.follow(self.at).await?
            };
            self.at = chunk.next;
            let ends = chunk.bytes.is_empty();
            let mut lines = self.lines.take(&chunk.bytes);
            lines.extend((ends && last).then(|| self.lines.rest()).flatten());
            lines.retain(|line| self.since.admits(line));
            if let Some(grep) = &mut self.grep {
                lines = grep.keep(lines).await?;
            }
            for line in lines {
                held.push(line, tail.unwrap_or(usize::MAX));
                if tail.is_none() {
                    self.flush(&mut held)?;
                }
            }
            if ends {
                return self.flush(&mut held);
            }
        }
    }

    fn flush(&self, held: &mut HeldLines) -> Result<(), ExitProblem> {
        let mut text = Vec::new();
        for line in std::mem::take(held).lines {
            if self.prefix {
                text.extend_from_slice(format!("[vsi/{}] ", self.name).as_bytes());
            }
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        if text.is_empty() {
            Ok(())
        } else {
            output::console(&text)
        }
    }
}

/// Lines that are not printed yet.
#[derive(Default)]
struct HeldLines {
    lines: VecDeque<Vec<u8>>,
    /// The memory that they need.
    bytes: usize,
}

impl HeldLines {
    /// Adds a line, and drops the first ones that are more than `most` lines or [`HELD_MAX`] bytes.
    fn push(&mut self, line: Vec<u8>, most: usize) {
        let memory = |held: &Vec<u8>| held.len().saturating_add(LINE_MEMORY);
        self.bytes = self.bytes.saturating_add(memory(&line));
        self.lines.push_back(line);
        while (self.lines.len() > most || self.bytes > HELD_MAX)
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(memory(&first));
        }
    }
}

/// When a VSI was last started.
async fn started(
    common: &Common,
    namespace: &str,
    name: &str,
) -> Result<Option<Timestamp>, ExitProblem> {
    let names = [name.to_owned()];
    let histories = event_lines::whole_histories(common, namespace, &names).await?;
    let history = histories.concat();
    let is_start =
        |kind: &str, step: Option<&str>| kind == "step_succeeded" && step == Some(STARTS);
    let starts = history.iter().rev();
    let mut starts = starts.filter(|line| is_start(&line.kind, line.step.as_deref()));
    Ok(starts.next().and_then(|line| line.time.parse().ok()))
}

/// Prints the consoles one after another, or follows them. A host that cannot be reached does not
/// stop the others.
pub(super) async fn print(mut readers: Vec<LogReader>, follow: bool) -> CommandOutcome {
    let mut exit = Exit::Done;
    loop {
        for reader in &mut readers {
            let done = reader.print(!follow).await;
            match done {
                Ok(()) => {}
                Err(problem) if readers_fail_alone(&problem) => {
                    output::problem(&problem);
                    exit = Exit::Failed;
                }
                Err(problem) => return Err(problem),
            }
        }
        if !follow {
            return Ok(exit);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a problem concerns one console only.
fn readers_fail_alone(problem: &ExitProblem) -> bool {
    !problem.host.is_empty()
}

/// Which lines are printed by what they say.
struct LineGrep {
    pattern: LinePattern,
    budget: MatchBudget,
}

impl LineGrep {
    fn of(pattern: LinePattern) -> Self {
        let budget = MatchBudget::of("");
        Self { pattern, budget }
    }

    /// The lines that match.
    async fn keep(&self, lines: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, ExitProblem> {
        let texts = lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned());
        let kept = matching(&self.pattern, texts.collect(), &self.budget).await;
        let kept = kept.map_err(|why| {
            let remedy = "use a simpler expression, or print the lines and search them yourself";
            ExitProblem::new(Exit::Usage, "VSI0810", format!("--grep: {why}"), remedy)
        })?;
        let kept = lines.into_iter().zip(kept).filter(|(_, matches)| *matches);
        Ok(kept.map(|(line, _)| line).collect())
    }
}

/// Which lines are printed by their time.
struct TimeFilter {
    since: Option<Timestamp>,
    clock: LineClock,
}

impl TimeFilter {
    fn admits(&mut self, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line);
        let time = self.clock.time_of(&text);
        self.since
            .is_none_or(|since| time.is_some_and(|time| time >= since))
    }
}

/// Splits pieces of text into lines.
struct LineSplitter {
    held: Vec<u8>,
    /// How long a line may be.
    most: usize,
}

impl LineSplitter {
    fn of(most: usize) -> Self {
        let held = Vec::new();
        Self { held, most }
    }

    /// The lines that are complete now, without their ends.
    fn take(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for byte in piece {
            match byte {
                b'\n' => {
                    let mut line = std::mem::take(&mut self.held);
                    if line.last() == Some(&b'\r') {
                        line.pop();
                    }
                    lines.push(line);
                }
                byte => self.held.push(*byte),
            }
            if self.held.len() >= self.most {
                lines.push(std::mem::take(&mut self.held));
            }
        }
        lines
    }

    /// The last line, which has no end yet.
    fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.held)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_steps::guest::pattern::compile;

    use super::*;

    #[test]
    fn of_a_long_console_as_many_of_the_last_lines_are_held_as_fit() {
        let mut held = HeldLines::default();
        for number in 0..10_u8 {
            held.push(vec![number], 3);
        }
        assert_eq!(held.lines, [[7], [8], [9]]);
        let mut empty = HeldLines::default();
        (0..2_000_000).for_each(|_| empty.push(Vec::new(), usize::MAX));
        assert_eq!(empty.lines.len(), HELD_MAX / LINE_MEMORY);
        empty.push(vec![b'x'; LINE_MAX], usize::MAX);
        assert!(empty.bytes <= HELD_MAX && empty.lines.len() < HELD_MAX / LINE_MEMORY);
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces() {
        let mut splitter = LineSplitter::of(LINE_MAX);
        assert_eq!(splitter.take(b"one\r\ntw"), [b"one".to_vec()]);
        assert_eq!(splitter.take(b"o\n\nthr"), [b"two".to_vec(), Vec::new()]);
        assert_eq!(splitter.rest(), Some(b"thr".to_vec()));
        assert_eq!(splitter.rest(), None);
    }

    #[test]
    fn a_line_without_end_is_not_held_for_ever() {
        let mut splitter = LineSplitter::of(LINE_MAX);
        let lines = splitter.take(&vec![b'x'; 3 * LINE_MAX + 5]);
        assert_eq!(lines.len(), 3);
        assert_eq!(splitter.held.len(), 5);
    }

    #[tokio::test]
    async fn lines_are_chosen_by_their_time_and_words() {
        let mut since = TimeFilter {
            since: Some("2026-01-02T03:00:10Z".parse().unwrap()),
            clock: LineClock::of(Some("2026-01-02T03:00:00Z".parse().unwrap())),
        };
        let lines = [
            "[    1.0] an error of the past",
            "[   11.5] an ERROR of now",
            "an error below it",
            "[   12.0] all well",
        ];
        let lines = lines.map(|line| line.as_bytes().to_vec());
        let recent: Vec<_> = lines
            .into_iter()
            .filter(|line| since.admits(line))
            .collect();
        let grep = LineGrep::of(compile("(?i)error").unwrap());
        let shown = grep.keep(recent).await.unwrap();
        assert_eq!(
            shown,
            [&b"[   11.5] an ERROR of now"[..], b"an error below it"]
        );
    }

    #[tokio::test]
    async fn a_costly_expression_ends_with_an_error_once_its_budget_is_used_up() {
        let grep = LineGrep::of(compile("[01]*1[01]{700}z").unwrap());
        let mut state = 1_u32;
        let random_bit = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { b'0' } else { b'1' }
        };
        let line: Vec<u8> = (0..GREP_LINE_MAX).map(random_bit).collect();
        let kept = grep.keep(vec![line; 2_000]).await;
        assert!(kept.unwrap_err().message.contains("processor time"));
    }
}
