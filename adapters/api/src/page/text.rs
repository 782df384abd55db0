//! Makes untrusted text readable.

/// Makes the control characters in a guest's or tenant's text visible: they do not belong in a page, and
/// some reverse the direction of the text after them.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(shown).collect()
}

fn shown(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\u{7f}' => '\u{2421}',
        c if c < ' ' => {
            char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\u{80}'..='\u{9f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{200e}'
        | '\u{200f}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Encodes one segment of an address.
pub(super) fn segment(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encoded = text.bytes().map(|byte| {
        if is_plain(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    encoded.collect()
}

/// A number of bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), "B");
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1_024, next);
    }
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        rest => format!("{}.{rest} {unit}", tenths / 10),
    }
}

/// Milliseconds for people.
pub(super) fn took(milliseconds: u64) -> String {
    match milliseconds {
        ..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => format!(
            "{} min {} s",
            milliseconds / 60_000,
            milliseconds % 60_000 / 1_000
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_seen_and_turn_nothing_around() {
        assert_eq!(
            visible("a\u{1b}[31m\nb\u{202e}c\u{0}"),
            "a\u{241b}[31m\nb\u{fffd}c\u{2400}"
        );
    }

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(segment("a/b?c#d\"<e>"), "a%2Fb%3Fc%23d%22%3Ce%3E");
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point_and_the_largest_overflows_nothing() {
        let sizes = [0, 1_023, 1_536, 4 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "4 GiB", "1638.3 PiB"]);
    }

    #[test]
    fn durations_are_short() {
        assert_eq!([5, 1_250, 61_000].map(took), ["5 ms", "1.2 s", "1 min 1 s"]);
    }
}
