//! The terminal: keys in, cells out.
//!
//! One thread has it ([`show`]) and never waits for the fleet: what is asked goes through [`Worker`], and
//! answers come when they come. A slow or silent fleet leaves the last look on the screen, which says so.

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

use crate::{FleetSnapshot, KeyEffect, KeyPress, Top, WorkerAnswer, draw};

/// How long a key is waited for until answers and the end are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long after a look the next one begins.
const LOOK: Duration = Duration::from_secs(1);
/// A look is followed by a pause of that many times as long as it took, so that a large fleet is not
/// kept busy by who looks at it.
const PAUSE: u32 = 4;

/// Whether a terminal is in use by [`show`]: a panic gives it back.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// What is asked of the fleet. Returns at once; what it comes to is sent as a [`WorkerOutcome`].
pub trait Worker {
    /// Looks at the fleet; steps are counted from that offset on.
    fn refresh(&mut self, from: Option<u64>);
    /// Has a command that only looks print its text.
    fn read(&mut self, words: Vec<String>);
    /// Runs a command that has the terminal until it ends, and gives what there is to say of it.
    fn hand_over(&mut self, words: &[String]) -> Option<String>;
}

/// What came of what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerOutcome {
    /// Of a look.
    Look(Result<Box<FleetSnapshot>, String>),
    /// Of a command.
    Text(Vec<String>, Result<String, String>),
}

/// Whether standard input and output are one: there is nothing to show and no key elsewhere.
pub fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows the fleet until a key or `stop` ends it. Blocks its thread.
///
/// # Errors
/// When the terminal cannot be set, read or written. It is as it was before then, too.
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
        // A terminal that was closed is read without end here: whoever has the signal of that ends the process.
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

/// When the next look is due.
#[derive(Default)]
struct RefreshTimer {
    begun: Option<Instant>,
    /// When the newest look that was answered began.
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

    fn end(&mut self, look: Result<Box<FleetSnapshot>, String>) -> WorkerAnswer {
        let now = Instant::now();
        let begun = self.begun.take().unwrap_or(now);
        let took = now.saturating_duration_since(begun);
        self.due = now.checked_add(LOOK.max(took.saturating_mul(PAUSE)));
        match look {
            Ok(snapshot) => {
                let before = self.before.replace(begun).unwrap_or(begun);
                WorkerAnswer::Look(snapshot, begun.saturating_duration_since(before))
            }
            Err(why) => WorkerAnswer::NoLook(why),
        }
    }
}

/// A key as it is meant; none where all is to be painted again.
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

/// A terminal that shows nothing else and hands on each key, until this is dropped.
pub struct FullScreen(());

impl FullScreen {
    /// Takes the terminal. A panic gives it back before it is told of.
    ///
    /// # Errors
    /// When it cannot be set or written.
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

    /// Gives the terminal back, if it is taken; whoever shows something there ends.
    pub fn end() {
        if IN_USE.swap(false, Ordering::SeqCst) {
            // A terminal that went away needs nothing.
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
