//! The mutations that make broken inputs.

use proptest::{prelude::*, sample::Index};

/// The longest input, in bytes, that mutations make from a shorter one.
const LONGEST: usize = 64 * 1024;

/// Numbers at which lengths and counts overflow.
const ODD_NUMBERS: [u64; 16] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x0001_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// One change to an input.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    /// Flips a bit.
    Flip { at: Index, bit: u8 },
    /// Sets a byte.
    Set { at: Index, byte: u8 },
    /// Cuts the input off.
    Truncate { at: Index },
    /// Removes a piece.
    Remove { at: Index, length: usize },
    /// Inserts a piece of another file of the corpus.
    Splice {
        at: Index,
        other: Index,
        from: Index,
        length: usize,
    },
    /// Repeats a piece, which makes deep nesting and long lists.
    Repeat {
        at: Index,
        length: usize,
        times: usize,
    },
    /// Overwrites `width` bytes with a wrong binary number.
    Number {
        at: Index,
        number: u64,
        width: usize,
        big_endian: bool,
    },
    /// Replaces the next decimal number with a wrong one.
    Decimal { at: Index, number: u64 },
    /// Inserts a word of the format several times.
    Word {
        at: Index,
        word: Index,
        times: usize,
    },
}

/// Draws one mutation.
pub(crate) fn any_mutation() -> impl Strategy<Value = Mutation> {
    use Mutation::{Decimal, Flip, Number, Remove, Repeat, Set, Splice, Truncate, Word};
    let odd = prop_oneof![prop::sample::select(ODD_NUMBERS.to_vec()), any::<u64>()];
    let width = prop::sample::select(vec![1_usize, 2, 4, 8]);
    let times = prop_oneof![4 => 1..8_usize, 1 => 8..20_000_usize];
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, byte)| Set { at, byte }),
        at().prop_map(|at| Truncate { at }),
        (at(), 1..64_usize).prop_map(|(at, length)| Remove { at, length }),
        (at(), at(), at(), 1..512_usize).prop_map(|(at, other, from, length)| Splice {
            at,
            other,
            from,
            length
        }),
        (at(), 1..64_usize, times.clone()).prop_map(|(at, length, times)| Repeat {
            at,
            length,
            times
        }),
        (at(), odd.clone(), width, any::<bool>()).prop_map(|(at, number, width, big_endian)| {
            Number {
                at,
                number,
                width,
                big_endian,
            }
        }),
        (at(), odd).prop_map(|(at, number)| Decimal { at, number }),
        (at(), at(), times).prop_map(|(at, word, times)| Word { at, word, times }),
    ]
}

/// The material for mutations.
pub(crate) struct Material<'a> {
    pub(crate) seeds: &'a [(String, Vec<u8>)],
    pub(crate) words: &'a [&'a str],
}

impl Material<'_> {
    /// A file of the corpus with these mutations.
    pub(crate) fn input(&self, seed: Index, mutations: &[Mutation]) -> Vec<u8> {
        let mut bytes = seed.get(self.seeds).1.clone();
        let longest = bytes.len().max(LONGEST);
        for mutation in mutations {
            self.apply(mutation, &mut bytes, longest);
            bytes.truncate(longest);
        }
        bytes
    }

    fn apply(&self, mutation: &Mutation, bytes: &mut Vec<u8>, longest: usize) {
        let room = longest.saturating_sub(bytes.len());
        match mutation {
            Mutation::Flip { at, bit } => change(bytes, *at, |byte| byte ^ (1 << bit)),
            Mutation::Set { at, byte } => change(bytes, *at, |_| *byte),
            Mutation::Truncate { at } => bytes.truncate(place(bytes, *at)),
            Mutation::Remove { at, length } => {
                drop(bytes.drain(piece(bytes, *at, *length)));
            }
            Mutation::Splice {
                at,
                other,
                from,
                length,
            } => {
                let other = &other.get(self.seeds).1;
                let taken = other.get(piece(other, *from, *length)).unwrap_or_default();
                insert(bytes, *at, taken);
            }
            Mutation::Repeat { at, length, times } => {
                let taken = bytes.get(piece(bytes, *at, *length)).unwrap_or_default();
                let taken = taken.repeat(fitting(*times, taken.len(), room));
                insert(bytes, *at, &taken);
            }
            Mutation::Number {
                at,
                number,
                width,
                big_endian,
            } => overwrite(bytes, *at, &encoded(*number, *width, *big_endian)),
            Mutation::Decimal { at, number } => decimal(bytes, *at, *number),
            Mutation::Word { at, word, times } => {
                if !self.words.is_empty() {
                    let word = word.get(self.words).as_bytes();
                    insert(bytes, *at, &word.repeat(fitting(*times, word.len(), room)));
                }
            }
        }
    }
}

/// A place in the input, near bytes that are not zero, so that it is not in padding.
fn place(bytes: &[u8], at: Index) -> usize {
    let set = bytes.iter().filter(|byte| **byte != 0).count();
    if set == 0 {
        return at.index(bytes.len().saturating_add(1));
    }
    let index = at.index(set);
    let mut places = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
    places
        .nth(index)
        .map_or(0, |(place, _)| place)
        // The zeros before it may belong to the same number.
        .saturating_sub(at.index(5))
}

fn piece(bytes: &[u8], at: Index, length: usize) -> std::ops::Range<usize> {
    let from = place(bytes, at).min(bytes.len());
    from..from.saturating_add(length).min(bytes.len())
}

fn change(bytes: &mut [u8], at: Index, to: impl Fn(u8) -> u8) {
    let place = place(bytes, at);
    if let Some(byte) = bytes.get_mut(place) {
        *byte = to(*byte);
    }
}

fn insert(bytes: &mut Vec<u8>, at: Index, piece: &[u8]) {
    let place = place(bytes, at).min(bytes.len());
    drop(bytes.splice(place..place, piece.iter().copied()));
}

fn overwrite(bytes: &mut [u8], at: Index, with: &[u8]) {
    let from = place(bytes, at);
    for (byte, new) in bytes.iter_mut().skip(from).zip(with) {
        *byte = *new;
    }
}

/// The lowest `width` bytes of the number.
fn encoded(number: u64, width: usize, big_endian: bool) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.truncate(width);
    if big_endian {
        bytes.reverse();
    }
    bytes
}

fn decimal(bytes: &mut Vec<u8>, at: Index, number: u64) {
    let from = place(bytes, at);
    let digits = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes.iter().skip(from).position(digits) else {
        return;
    };
    let start = start.saturating_add(from);
    let length = bytes
        .iter()
        .skip(start)
        .take_while(|byte| digits(byte))
        .count();
    let end = start.saturating_add(length);
    drop(bytes.splice(start..end, number.to_string().into_bytes()));
}

fn fitting(times: usize, length: usize, room: usize) -> usize {
    times.min(room.checked_div(length).unwrap_or_default())
}
