//! Combines parts of an image into frames, because each frame may cost a process on the host.

use bytes::Bytes;

/// The size of a part in bytes; longer ones are split.
pub(super) const PART: usize = 256 * 1024;
/// A hole that exceeds this many bytes is written before its end, so that the file's length follows.
const HOLE: u64 = 8 << 20;

/// A part of an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ImagePart {
    Data(Bytes),
    Hole(u64),
}

/// What is sent to the host in one piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImageFrame {
    /// Its offset in the file.
    pub(super) at: u64,
    pub(super) length: u64,
    /// Its bytes; empty for a hole.
    pub(super) data: Vec<Bytes>,
}

impl ImageFrame {
    fn empty(at: u64) -> Self {
        Self {
            at,
            length: 0,
            data: Vec::new(),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.at.saturating_add(self.length)
    }

    /// The line that precedes its bytes.
    pub(super) fn line(&self) -> String {
        let kind = if self.data.is_empty() { "hole" } else { "data" };
        format!("{kind} {} {}\n", self.at, self.length)
    }

    /// The line that precedes `length` packed bytes.
    pub(super) fn packed_line(&self, length: usize) -> String {
        format!("zstd {} {length}\n", self.at)
    }
}

/// Combines parts into frames.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    open: ImageFrame,
    /// The maximum length of a frame of data, which its last part may exceed.
    pub(super) most: u64,
}

impl FrameBuilder {
    pub(super) fn new(at: u64, most: u64) -> Self {
        Self {
            open: ImageFrame::empty(at),
            most,
        }
    }

    /// Whether no bytes are waiting.
    pub(super) fn is_empty(&self) -> bool {
        self.open.length == 0
    }

    /// Adds a part. Returns a frame if one is to be sent now.
    pub(super) fn add(&mut self, part: ImagePart) -> Option<ImageFrame> {
        let is_hole = matches!(part, ImagePart::Hole(_));
        let was_hole = self.open.data.is_empty();
        // A hole before data is not sent, because writing the data extends the file.
        let finished = match is_hole {
            true if !was_hole => Some(self.take()),
            false if was_hole => {
                self.open = ImageFrame::empty(self.open.end());
                None
            }
            _ => None,
        };
        match part {
            ImagePart::Data(bytes) => {
                self.open.length = self.open.length.saturating_add(bytes.len() as u64);
                self.open.data.push(bytes);
            }
            ImagePart::Hole(length) => self.open.length = self.open.length.saturating_add(length),
        }
        let most = if is_hole { HOLE } else { self.most };
        match finished {
            None if self.open.length >= most => Some(self.take()),
            finished => finished,
        }
    }

    /// Takes the waiting frame, which may be empty.
    pub(super) fn take(&mut self) -> ImageFrame {
        let next = ImageFrame::empty(self.open.end());
        std::mem::replace(&mut self.open, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(length: usize) -> ImagePart {
        ImagePart::Data(Bytes::from(vec![1; length]))
    }

    fn lines(frames: &mut FrameBuilder, parts: impl IntoIterator<Item = ImagePart>) -> Vec<String> {
        let sent: Vec<_> = parts
            .into_iter()
            .filter_map(|part| frames.add(part))
            .collect();
        let last = frames.take();
        let all = sent.into_iter().chain((last.length > 0).then_some(last));
        all.map(|frame| frame.line().trim_end().to_owned())
            .collect()
    }

    #[test]
    fn parts_become_frames_of_one_kind_and_holes_before_data_are_passed_over() {
        let mut frames = FrameBuilder::new(100, 1_000);
        let parts = [
            data(400),
            data(500),
            data(400),
            ImagePart::Hole(50),
            data(7),
            ImagePart::Hole(9),
        ];
        assert_eq!(
            lines(&mut frames, parts),
            ["data 100 1300", "data 1450 7", "hole 1457 9"]
        );
        assert!(frames.is_empty());
        assert_eq!(lines(&mut frames, [data(1)]), ["data 1466 1"]);
        assert!(lines(&mut FrameBuilder::new(5, 10), []).is_empty());
    }

    #[test]
    fn a_long_hole_is_written_while_it_lasts() {
        let mut frames = FrameBuilder::new(0, 1_000);
        let holes = (0..3).map(|_| ImagePart::Hole(HOLE / 2));
        let expected = [
            format!("hole 0 {HOLE}"),
            format!("hole {HOLE} {}", HOLE / 2),
        ];
        assert_eq!(lines(&mut frames, holes), expected);
    }

    #[test]
    fn a_length_beyond_all_files_does_not_overflow() {
        let mut frames = FrameBuilder::new(u64::MAX - 1, 10);
        let frame = frames.add(ImagePart::Hole(u64::MAX)).unwrap();
        assert_eq!(frame.at, u64::MAX - 1);
        assert!(frames.add(data(1)).is_none());
    }
}
