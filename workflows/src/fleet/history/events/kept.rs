//! The lines that are kept of a history while it is read. It may be longer than the memory for it.

use std::collections::BTreeMap;

use vsiflow_engine::journal::Offset;

use super::HistoryLine;

/// Which lines of a history are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineRange {
    from: Offset,
    /// Streams are read one after the other, so that of what is recorded from here on some may be missing: it is left to
    /// the next page.
    end: Offset,
    most: usize,
    is_newest: bool,
}

impl LineRange {
    /// The first lines from an offset on, of what was recorded before `end`.
    pub(super) fn since(from: Offset, end: Offset, most: usize) -> Self {
        Self {
            from,
            end: end.max(from),
            most,
            is_newest: false,
        }
    }

    /// The newest lines.
    pub(super) fn newest(most: usize) -> Self {
        Self {
            from: 0,
            end: Offset::MAX,
            most,
            is_newest: true,
        }
    }
}

/// The lines of a range, in the order of their offsets. Those of one offset are kept or dropped together.
pub(super) struct KeptLines {
    range: LineRange,
    by_offset: BTreeMap<Offset, Vec<HistoryLine>>,
    count: usize,
    is_cut: bool,
}

impl KeptLines {
    pub(super) fn of(range: LineRange) -> Self {
        Self {
            range,
            by_offset: BTreeMap::new(),
            count: 0,
            is_cut: false,
        }
    }

    /// Keeps a line if it is in the range.
    pub(super) fn keep(&mut self, line: HistoryLine) {
        if !(self.range.from..self.range.end).contains(&line.offset) {
            return;
        }
        self.by_offset.entry(line.offset).or_default().push(line);
        self.count = self.count.saturating_add(1);
        while self.count > self.range.most && self.by_offset.len() > 1 {
            let dropped = if self.range.is_newest {
                self.by_offset.pop_first()
            } else {
                self.by_offset.pop_last()
            };
            let dropped = dropped.map_or(0, |(_, lines)| lines.len());
            self.count = self.count.saturating_sub(dropped);
            self.is_cut = true;
        }
    }

    /// The offset of the last line.
    pub(super) fn last_offset(&self) -> Option<Offset> {
        self.by_offset.keys().next_back().copied()
    }

    /// The lines, and whether there are more.
    pub(super) fn into_page(self) -> LinePage {
        let last = self.last_offset().filter(|_| self.is_cut);
        LinePage {
            lines: self.by_offset.into_values().flatten().collect(),
            is_cut: self.is_cut,
            next: last.map_or(self.range.end, |last| last.saturating_add(1)),
        }
    }
}

/// A part of a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinePage {
    /// The lines, in the order of their offsets.
    pub lines: Vec<HistoryLine>,
    /// Whether there are more after them.
    pub is_cut: bool,
    /// From where the next page begins.
    pub next: Offset,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(range: LineRange, offsets: &[Offset]) -> LinePage {
        let mut lines = KeptLines::of(range);
        for offset in offsets {
            lines.keep(HistoryLine {
                offset: *offset,
                ..HistoryLine::default()
            });
        }
        lines.into_page()
    }

    fn kept(range: LineRange, offsets: &[Offset]) -> (Vec<Offset>, bool) {
        let read = page(range, offsets);
        let kept = read.lines.iter().map(|line| line.offset).collect();
        (kept, read.is_cut)
    }

    #[test]
    fn the_first_or_the_newest_lines_are_kept_in_whatever_order_they_come() {
        let all = [5, 1, 3, 2, 4];
        assert_eq!(kept(LineRange::since(2, 9, 2), &all), (vec![2, 3], true));
        assert_eq!(
            kept(LineRange::since(2, 9, 9), &all),
            (vec![2, 3, 4, 5], false)
        );
        assert_eq!(kept(LineRange::newest(2), &all), (vec![4, 5], true));
    }

    #[test]
    fn the_next_page_begins_behind_the_last_line_or_at_the_end() {
        let whole = page(LineRange::since(0, 9, 9), &[1, 2]);
        assert_eq!((whole.lines.len(), whole.next, whole.is_cut), (2, 9, false));
        let cut = page(LineRange::since(0, 9, 2), &[1, 2, 5]);
        assert_eq!((cut.lines.len(), cut.next, cut.is_cut), (2, 3, true));
        assert_eq!(page(LineRange::since(7, 5, 9), &[]).next, 7);
    }

    /// The streams of an object are read one after the other: an event of the first one may be missing although a later
    /// one of the second is there.
    #[test]
    fn what_was_recorded_while_a_page_was_read_is_on_the_next_one() {
        let read = page(LineRange::since(0, 824, 9), &[823, 825, 826]);
        assert_eq!((read.lines.len(), read.next), (1, 824));
        let cut = page(LineRange::since(0, 824, 1), &[823, 825, 826]);
        assert_eq!((cut.lines.len(), cut.next, cut.is_cut), (1, 824, false));
    }

    #[test]
    fn the_lines_of_one_offset_are_not_divided() {
        assert_eq!(kept(LineRange::since(0, 9, 2), &[1, 2, 2]), (vec![1], true));
        assert_eq!(
            kept(LineRange::since(0, 9, 2), &[2, 2, 2]),
            (vec![2, 2, 2], false)
        );
        assert_eq!(kept(LineRange::newest(2), &[1, 1, 2]), (vec![2], true));
    }
}
