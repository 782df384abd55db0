//! The terminal: reads keys and draws.
//!
//! One thread owns it ([`show`]) and never waits for the fleet: requests go through [`Worker`], and
//! answers arrive later. If the fleet is slow or does not answer, the last snapshot remains on the
//! screen, with a notice.

use std::{
    io::{self, IsTerminal as _, Stdout, Write as _},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use vsiflow_workflows::fleet::FleetOverview;

use crate::{KeyEffect, KeyPress, Top, WorkerAnswer, draw};

/// How long to wait for a key before checking for answers and the end.
const TICK: Duration = Duration::from_millis(50);
/// The minimum time between a refresh and the next one.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// After a refresh, the pause is this many times as long as the refresh took, so that a large fleet is
/// not kept busy by `top`.
const PAUSE: u32 = 4;

/// Whether [`show`] uses the terminal; a panic restores the terminal and clears it.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Sends requests to the fleet. Returns immediately; the result is sent as a [`WorkerOutcome`].
pub trait Worker {
    /// Reads a snapshot of the fleet; ended steps are counted from that offset.
    fn refresh(&mut self, from: Option<u64>);
    /// Runs a read-only command and returns its output.
    fn read(&mut self, words: Vec<String>);
    /// Runs a command that uses the terminal until it ends, and returns a message if there is one.
    fn hand_over(&mut self, words: &[String]) -> Option<String>;
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOutcome {
    /// The result of a refresh.
    Look(Result<Box<FleetOverview>, String>),
    /// The result of a command.
    Text(Vec<String>, Result<String, String>),
}

/// Whether standard input and output are terminals: otherwise nothing can be shown and no keys read.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows the fleet until a key or `stop` ends it. Blocks its thread.
///
/// # Errors
/// If the terminal cannot be configured, read or written. It is restored in this case, too.
pub fn show(
    worker: &mut impl Worker,
    came: &Receiver<WorkerOutcome>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let in_full = FullScreen::begin()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    let ended = until_ended(&mut terminal, worker, came, stop);
    drop(in_full);
    ended
}

fn until_ended(
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    worker: &mut impl Worker,
    came: &Receiver<WorkerOutcome>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let (mut top, mut looks) = (Top::default(), RefreshTimer::default());
    let mut stale = true;
    while !stop.load(Ordering::Relaxed) {
        if !IN_USE.load(Ordering::SeqCst) {
            return Err(io::Error::other("another part of the process panicked"));
        }
        if looks.is_due() {
            looks.begin();
            worker.refresh(top.counts_from());
        }
        for next in came.try_iter() {
            stale = true;
            top.take(match next {
                WorkerOutcome::Look(look) => looks.end(look),
                WorkerOutcome::Text(words, text) => WorkerAnswer::Text(words, text),
            });
        }
        if std::mem::take(&mut stale) {
            terminal.draw(|frame| draw(frame, &mut top))?;
        }
        // Reading from a closed terminal would never end here; the handler of its signal ends the
        // process.
        if !event::poll(TICK)? {
            continue;
        }
        stale = true;
        let Event::Key(pressed) = event::read()? else {
            continue;
        };
        let Some(key) = key(pressed) else {
            terminal.clear()?;
            continue;
        };
        match top.press(key) {
            None => {}
            Some(KeyEffect::Quit) => return Ok(()),
            Some(KeyEffect::Read(words)) => worker.read(words),
            Some(KeyEffect::HandOver(words)) => {
                FullScreen::end();
                let message = worker.hand_over(&words);
                FullScreen::enter()?;
                terminal.clear()?;
                message
                    .into_iter()
                    .for_each(|message| top.show_message(&message));
            }
        }
    }
    Ok(())
}

/// When the next refresh is due.
#[derive(Default)]
struct RefreshTimer {
    begun: Option<Instant>,
    /// When the newest answered refresh started.
    before: Option<Instant>,
    due: Option<Instant>,
}

impl RefreshTimer {
    fn is_due(&self) -> bool {
        self.begun.is_none() && self.due.is_none_or(|due| Instant::now() >= due)
    }

    fn begin(&mut self) {
        self.begun = Some(Instant::now());
    }

    fn end(&mut self, look: Result<Box<FleetOverview>, String>) -> WorkerAnswer {
        let now = Instant::now();
        let begun = self.begun.take().unwrap_or(now);
        let took = now.saturating_duration_since(begun);
        self.due = now.checked_add(REFRESH_INTERVAL.max(took.saturating_mul(PAUSE)));
        match look {
            Ok(snapshot) => {
                let before = self.before.replace(begun).unwrap_or(begun);
                WorkerAnswer::Look(snapshot, begun.saturating_duration_since(before))
            }
            Err(why) => WorkerAnswer::NoLook(why),
        }
    }
}

/// Translates a key; none if everything must be drawn again.
fn key(pressed: KeyEvent) -> Option<KeyPress> {
    if pressed.kind == KeyEventKind::Release {
        return Some(KeyPress::Char('\0'));
    }
    let control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    Some(match pressed.code {
        KeyCode::Char('c') if control => KeyPress::Interrupt,
        KeyCode::Char('l') if control => return None,
        KeyCode::Char('f') if control => KeyPress::PageDown,
        KeyCode::Char('b') if control => KeyPress::PageUp,
        KeyCode::Char(_) if control => KeyPress::Char('\0'),
        KeyCode::Char(c) => KeyPress::Char(c),
        KeyCode::Enter => KeyPress::Enter,
        KeyCode::Esc => KeyPress::Escape,
        KeyCode::Backspace => KeyPress::Backspace,
        KeyCode::Tab => KeyPress::Tab,
        KeyCode::Up => KeyPress::Up,
        KeyCode::Down => KeyPress::Down,
        KeyCode::PageUp => KeyPress::PageUp,
        KeyCode::PageDown => KeyPress::PageDown,
        KeyCode::Home => KeyPress::Home,
        KeyCode::End => KeyPress::End,
        _ => KeyPress::Char('\0'),
    })
}

/// The terminal in full-screen mode, which passes each key on, until this is dropped.
pub struct FullScreen(());

impl FullScreen {
    /// Switches to full-screen mode. A panic restores the terminal before its message is printed.
    ///
    /// # Errors
    /// If the terminal cannot be configured or written.
    pub fn begin() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                Self::end();
                before(info);
            }));
        });
        let begun = Self(());
        Self::enter()?;
        Ok(begun)
    }

    fn enter() -> io::Result<()> {
        IN_USE.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)
    }

    /// Restores the terminal if it is in use; a running [`show`] then ends.
    pub fn end() {
        if IN_USE.swap(false, Ordering::SeqCst) {
            // A closed terminal needs no restoring, so errors are ignored.
            let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
            let _ = disable_raw_mode();
            let _ = io::stdout().flush();
        }
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        Self::end();
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
