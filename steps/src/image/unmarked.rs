//! Recognises packed files that have no mark of their own, by what their headers must be.

/// Whether it begins as a file of the old `lzma` with the usual properties: the size of a dictionary, the size of the
/// content or none, and a zero, with which its packed data begins.
pub(super) fn is_lzma(head: &[u8]) -> bool {
    const USUAL: u8 = 0x5d;
    const DICTIONARY_MIN: u32 = 4096;
    // xz takes no more for a size, either.
    const CONTENT_MAX: u64 = 1 << 38;
    let Some((&[USUAL, a, b, c, d], rest)) = head.split_first_chunk() else {
        return false;
    };
    let Some((size, [0, ..])) = rest.split_first_chunk() else {
        return false;
    };
    let size = u64::from_le_bytes(*size);
    let has_size = size == u64::MAX || (1..CONTENT_MAX).contains(&size);
    has_size && u32::from_le_bytes([a, b, c, d]) >= DICTIONARY_MIN
}

/// Whether it begins as a file of zlib with whatever window. The two bytes of its header say little, so the first block
/// of the packed data has to be right, too.
pub(super) fn is_zlib(head: &[u8]) -> bool {
    let &[method, flags, ref packed @ ..] = head else {
        return false;
    };
    let is_deflate = method & 0x0f == 8 && method >> 4 <= 7;
    let is_checked = u16::from_be_bytes([method, flags]).is_multiple_of(31);
    let has_dictionary = flags & 0x20 != 0;
    is_deflate && is_checked && !has_dictionary && is_block(packed)
}

/// Whether it begins with a block of deflate that says what it is (RFC 1951, 3.2.3): one that is stored, or one with
/// codes of its own. The fixed codes, which short content and the fastest level have, could be any bytes.
fn is_block(packed: &[u8]) -> bool {
    match packed {
        &[first, a, b, c, d, ..] if first >> 1 & 3 == 0 => {
            u16::from_le_bytes([a, b]) == !u16::from_le_bytes([c, d])
        }
        [first, ..] if first >> 1 & 3 == 2 => has_codes(packed),
        _ => false,
    }
}

/// Whether the block has as many codes as there may be, and the lengths by which they are written are a whole code.
fn has_codes(packed: &[u8]) -> bool {
    const LITERALS_MAX: u32 = 286;
    const DISTANCES_MAX: u32 = 30;
    const COUNTS_AT: usize = 3;
    const LENGTHS_AT: usize = COUNTS_AT + 14;
    let number = |at, bits| number_at(packed, at, bits);
    let counts = || {
        let literals = number(COUNTS_AT, 5)?.saturating_add(257);
        let distances = number(COUNTS_AT + 5, 5)?.saturating_add(1);
        let lengths = number(COUNTS_AT + 10, 4)?.saturating_add(4);
        let fits = literals <= LITERALS_MAX && distances <= DISTANCES_MAX;
        fits.then_some(lengths as usize)
    };
    let Some(count) = counts() else {
        return false;
    };
    let mut parts = 0_u32;
    for place in (0..count).map(|index| LENGTHS_AT.saturating_add(index.saturating_mul(3))) {
        match number(place, 3) {
            Some(0) => {}
            // Of a whole of 128 parts, a code of so many bits takes one half for each bit.
            Some(length) => parts = parts.saturating_add(128 >> length),
            None => return false,
        }
    }
    parts == 128
}

/// The number in so many bits from a bit on, the lowest first.
fn number_at(bytes: &[u8], at: usize, bits: usize) -> Option<u32> {
    (0..bits).try_fold(0, |number, bit| {
        let position = at.checked_add(bit)?;
        let byte = u32::from(*bytes.get(position / 8)?);
        Some(number | (byte >> (position % 8) & 1) << bit)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compress, Compression, write::ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    /// Words that occur in another order each time.
    fn content() -> Vec<u8> {
        let numbers = (0_u64..20_000).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
        numbers
            .flat_map(|n| format!("{n:x} ").into_bytes())
            .collect()
    }

    #[test]
    fn zlib_of_every_window_and_level_is_told() {
        let content = content();
        for window in 9..=15 {
            for level in [0, 6, 9] {
                let packer = Compress::new_with_window_bits(Compression::new(level), true, window);
                let mut packed = ZlibEncoder::new_with_compress(Vec::new(), packer);
                packed.write_all(&content).unwrap();
                let packed = packed.finish().unwrap();
                assert!(
                    is_zlib(&packed[..512]),
                    "{window} {level}: {:x?}",
                    &packed[..9]
                );
            }
        }
    }

    #[test]
    fn lzma_with_any_dictionary_is_told() {
        let header = |dictionary: u32, size: u64, first: u8| {
            let fields = [&dictionary.to_le_bytes()[..], &size.to_le_bytes()].concat();
            [&[0x5d][..], &fields, &[first, 0x24, 0x19, 0x49]].concat()
        };
        for dictionary in [4096, 3 << 20, 5_000_000, 768 << 20] {
            assert!(is_lzma(&header(dictionary, u64::MAX, 0)));
            assert!(is_lzma(&header(dictionary, 10 << 30, 0)));
            assert!(!is_lzma(&header(dictionary, 10 << 30, 7)));
            assert!(!is_lzma(&header(dictionary, 1 << 50, 0)));
        }
        assert!(!is_lzma(&header(0, u64::MAX, 0)));
        assert!(!is_lzma(&[0x5d, 0, 0]));
    }

    #[test]
    fn a_boot_sector_is_none_of_them() {
        for code in [
            &b"\xeb\x63\x90"[..],
            b"\xfa\xb8\0\x10\x8e\xd0",
            b"\x33\xc0\x8e\xd0",
            b"\x08\x1d\x4d\x5a",
            b"\x68\x05\x00\x68",
            b"IPL1",
            b"",
        ] {
            let mut head = code.to_vec();
            head.resize(512, 0);
            assert!(!is_zlib(&head) && !is_lzma(&head), "{code:x?}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_hardly_ever_one(
            heads in proptest::collection::vec(any::<[u8; 64]>(), 1_000),
        ) {
            let mistaken = heads.iter().filter(|head| is_zlib(&head[..]) || is_lzma(&head[..]));
            prop_assert!(mistaken.count() <= 2);
        }
    }
}
