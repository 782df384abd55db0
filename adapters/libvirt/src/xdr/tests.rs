//! Tests the codec on fixed and on random input.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    tiny: i8,
    short: u16,
    int: i32,
    hyper: u64,
    double: f64,
    text: String,
    maybe: Option<String>,
    list: Vec<(u32, String)>,
    fixed: [i8; 4],
    colour: Colour,
}

prop_compose! {
    fn everything()(
        flag: bool,
        tiny: i8,
        short: u16,
        int: i32,
        hyper: u64,
        double in -1e9..1e9,
        text in ".{0,12}",
        maybe in proptest::option::of(".{0,5}"),
        list in proptest::collection::vec((any::<u32>(), ".{0,4}"), 0..5),
        fixed: [i8; 4],
        green: bool,
    ) -> Everything {
        let colour = if green { Colour::Green } else { Colour::Red };
        Everything { flag, tiny, short, int, hyper, double, text, maybe, list, fixed, colour }
    }
}

#[test]
fn bytes_are_those_of_the_standard() {
    let bytes = to_bytes(&(1_u8, -2_i32, 3_u64, "abcde", None::<String>, [7_u32, 8])).unwrap();
    let expected = [
        0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 5, b'a', b'b', b'c',
        b'd', b'e', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 8,
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn bytes_left_over_are_reported() {
    assert_eq!(
        from_bytes::<u32>(&[0, 0, 0, 1, 9]),
        Err(XdrError::Trailing(1))
    );
}

#[test]
fn a_count_beyond_the_input_allocates_nothing() {
    let lie = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1];
    assert_eq!(
        from_bytes::<Vec<u32>>(&lie),
        Err(XdrError::TooLong(0xffff_ffff))
    );
    assert_eq!(
        from_bytes::<Vec<()>>(&lie),
        Err(XdrError::TooLong(0xffff_ffff))
    );
    assert_eq!(
        from_bytes::<String>(&lie),
        Err(XdrError::TooLong(0xffff_ffff))
    );
}

#[test]
fn out_of_range_values_are_refused() {
    assert_eq!(
        from_bytes::<u8>(&[0, 0, 1, 0]),
        Err(XdrError::OutOfRange(256))
    );
    assert_eq!(
        from_bytes::<bool>(&[0, 0, 0, 2]),
        Err(XdrError::OutOfRange(2))
    );
    assert!(from_bytes::<Colour>(&[0, 0, 0, 2]).is_err());
}

#[test]
fn a_string_past_the_limit_is_refused_both_ways() {
    let long = "x".repeat(STRING_MAX + 1);
    assert_eq!(
        to_bytes(long.as_str()),
        Err(XdrError::TooLong(STRING_MAX as u64 + 1))
    );
    let longest = "x".repeat(STRING_MAX);
    let bytes = to_bytes(longest.as_str()).unwrap();
    assert_eq!(from_bytes::<String>(&bytes).unwrap().len(), STRING_MAX);
}

proptest! {
    #[test]
    fn every_byte_string_is_a_name_and_goes_back_as_the_same_bytes(
        name in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut wire = (name.len() as u32).to_be_bytes().to_vec();
        wire.extend_from_slice(&name);
        wire.resize(wire.len().next_multiple_of(4), 0);
        let read: String = from_bytes(&wire).unwrap();
        prop_assert_eq!(to_bytes(&read).unwrap(), wire);
    }

    #[test]
    fn what_was_encoded_is_decoded(value in everything()) {
        let bytes = to_bytes(&value).unwrap();
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(from_bytes::<Everything>(&bytes).unwrap(), value);
    }

    #[test]
    fn truncated_input_is_an_error_at_every_length(value in everything()) {
        let bytes = to_bytes(&value).unwrap();
        for length in 0..bytes.len() {
            prop_assert!(from_bytes::<Everything>(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn any_input_is_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_bytes::<Everything>(&bytes);
        let _ = from_bytes::<Vec<Option<String>>>(&bytes);
    }

    #[test]
    fn one_changed_byte_never_panics(value in everything(), at: prop::sample::Index, byte: u8) {
        let mut bytes = to_bytes(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = from_bytes::<Everything>(&bytes);
    }
}
