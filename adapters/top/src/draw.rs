//! Draws the state into cells.

use std::collections::BTreeMap;

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Clear, Paragraph, Row as TableRow, Table},
};

use crate::{
    Kind, Top, clean,
    rates::shown,
    rows::{self, Row, RowHealth},
    state::{Pager, PromptInput},
    units::bytes,
};

/// The maximum width of a column, except for the last one.
const WIDEST: usize = 48;
/// Cells between columns.
const GAP: u16 = 2;

const HELP: &str = "\
up down j k PgUp PgDn Home End     move
Enter d   describe                 h   history of its steps
l         console log              g   step graph of its newest run
s         ssh                      c   serial console
/         filter, Esc clears it    :   go to vsis, steps, uploads or hosts
Tab 1-4   next kind                ?   this help
^L        paint again              q   quit, or close a text";

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, top: &mut Top) {
    let [head, kinds, body, foot] = parts(frame.area());
    top.page = usize::from(body.height.saturating_sub(1));
    frame.render_widget(Paragraph::new(summary(top)), head);
    frame.render_widget(Paragraph::new(tabs(top)), kinds);
    match &mut top.pager {
        Some(pager) => {
            top.page = usize::from(body.height);
            text(frame, body, pager);
        }
        None => list(frame, body, top),
    }
    frame.render_widget(Paragraph::new(last_line(top)), foot);
    if top.help {
        help(frame, body);
    }
}

/// Head, kinds, list and last line; on a small terminal they are dropped from the end.
fn parts(area: Rect) -> [Rect; 4] {
    let mut left = area;
    let mut take = |height: u16| {
        let height = height.min(left.height);
        let part = Rect { height, ..left };
        left.y = left.y.saturating_add(height);
        left.height = left.height.saturating_sub(height);
        part
    };
    let (head, kinds) = (take(1), take(1));
    let body = take(area.height.saturating_sub(3));
    [head, kinds, body, take(1)]
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn summary(top: &Top) -> Line<'static> {
    let Some(snapshot) = &top.snapshot else {
        return Line::from(Span::styled("vsiflow top", bold()));
    };
    let mut phases = BTreeMap::<&str, usize>::new();
    for vsi in &snapshot.vsis {
        let count = phases.entry(vsi.phase.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    let phases: Vec<_> = phases
        .into_iter()
        .take(12)
        .map(|(phase, count)| format!("{} {count}", clean(phase)))
        .collect();
    let mut spans = vec![Span::styled("vsiflow top", bold())];
    let rates = format!(
        "  events {}  steps {}  uploads {}/s  ",
        shown(top.rates.events),
        shown(top.rates.steps),
        bytes(top.rates.bytes)
    );
    spans.push(Span::raw(rates));
    if let Some(why) = &snapshot.paused {
        let why = format!("PAUSED {}  ", clean(why));
        spans.push(Span::styled(why, Style::new().fg(Color::Red)));
    }
    spans.push(Span::raw(phases.join("  ")));
    Line::from(spans)
}

fn tabs(top: &Top) -> Line<'static> {
    let count = |kind: Kind| {
        let snapshot = top.snapshot.as_ref();
        snapshot.map_or(0, |snapshot| match kind {
            Kind::Vsis => snapshot.vsis.len(),
            Kind::Steps => {
                let more = usize::try_from(snapshot.more_steps).unwrap_or(usize::MAX);
                snapshot.steps.len().saturating_add(more)
            }
            Kind::Uploads => snapshot.uploads.len(),
            Kind::Hosts => snapshot.hosts.len(),
        })
    };
    let mut spans: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| {
            let text = format!(" {} {} ", kind.word(), count(*kind));
            if *kind == top.kind {
                Span::styled(text, Style::new().add_modifier(Modifier::REVERSED))
            } else {
                Span::raw(text)
            }
        })
        .collect();
    if !top.filter.is_empty() {
        spans.push(Span::raw(format!("  /{}", clean(&top.filter))));
    }
    Line::from(spans)
}

fn list(frame: &mut Frame<'_>, area: Rect, top: &Top) {
    let rows = top.rows();
    let fits = top.page.max(1);
    // The chosen row is always visible.
    let from = top.chosen.saturating_sub(fits.saturating_sub(1));
    let seen: Vec<_> = rows.iter().skip(from).take(fits).collect();
    let head = rows::head(top.kind);
    if rows.is_empty() {
        let what = match (&top.snapshot, top.filter.is_empty()) {
            (None, _) => "looking …",
            (Some(_), true) => "none",
            (Some(_), false) => "none that the filter lets through",
        };
        frame.render_widget(Paragraph::new(format!("\n  {what}")), area);
        return;
    }
    let painted = seen.iter().enumerate().map(|(number, row)| {
        let chosen = from.saturating_add(number) == top.chosen;
        painted(row, chosen)
    });
    let widths = widths(head, &seen, usize::from(area.width));
    let table = Table::new(painted, widths)
        .column_spacing(GAP)
        .header(TableRow::new(head.iter().map(|word| Cell::from(*word))).style(bold()));
    frame.render_widget(table, area);
}

fn painted(row: &Row, chosen: bool) -> TableRow<'static> {
    let style = match row.health {
        RowHealth::Healthy => Style::new(),
        RowHealth::Busy => Style::new().fg(Color::Cyan),
        RowHealth::Failing => Style::new().fg(Color::Red),
    };
    let style = if chosen {
        style.add_modifier(Modifier::REVERSED)
    } else {
        style
    };
    TableRow::new(row.cells.iter().map(|cell| Cell::from(cell.clone()))).style(style)
}

/// Columns are as wide as their visible cells; the last one that fits takes the remaining width, and the
/// others are hidden.
fn widths(head: &[&str], rows: &[&Row], room: usize) -> Vec<Constraint> {
    let width = |column: usize, word: &str| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        let widest = cells.map(|cell| Span::raw(cell.as_str()).width()).max();
        widest.unwrap_or(0).max(word.len()).min(WIDEST)
    };
    let (mut columns, mut used) = (Vec::new(), 0_usize);
    for (column, word) in head.iter().enumerate() {
        let width = width(column, word);
        used = used.saturating_add(width);
        if used > room && !columns.is_empty() {
            break;
        }
        used = used.saturating_add(usize::from(GAP));
        columns.push(Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    }
    if let Some(last) = columns.last_mut() {
        *last = Constraint::Fill(1);
    }
    columns
}

fn text(frame: &mut Frame<'_>, area: Rect, pager: &mut Pager) {
    let fits = usize::from(area.height);
    pager.at = pager.at.min(pager.lines.len().saturating_sub(fits));
    let seen = pager.lines.iter().skip(pager.at).take(fits);
    let mut seen: Vec<_> = seen.map(|line| Line::raw(line.as_str())).collect();
    if pager.waits {
        seen.push(Line::raw("asking …"));
    }
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(seen), area);
}

fn last_line(top: &Top) -> Line<'static> {
    let red = Style::new().fg(Color::Red);
    if let Some(input) = &top.input {
        let text = match input {
            PromptInput::Filter(text) => format!("/{}", clean(text)),
            PromptInput::Goto(text) => format!(":{}", clean(text)),
        };
        return Line::from(format!("{text}▏"));
    }
    if let Some(message) = &top.message {
        return Line::from(Span::styled(message.clone(), red));
    }
    if let Some(why) = &top.silent {
        return Line::from(Span::styled(format!("not up to date: {why}"), red));
    }
    match &top.pager {
        Some(pager) => {
            let words: Vec<_> = pager.words.iter().map(|word| clean(word)).collect();
            let at = pager.at.saturating_add(1).min(pager.lines.len());
            Line::from(format!(
                "vsiflow {}  line {at} of {}  q closes",
                words.join(" "),
                pager.lines.len()
            ))
        }
        None => Line::from(
            "d describe  l logs  h history  g graph  s ssh  c console  / filter  : kind  ? help  q quit",
        ),
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX);
    let area = Rect {
        height: lines.min(area.height),
        ..area
    };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP), area);
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
