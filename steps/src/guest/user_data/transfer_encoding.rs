//! Decodes the parts of a MIME message, as forgiving as Python (RFC 2045).

use base64::Engine as _;

use super::{DECODERS, InputProblem};

/// The bytes of a part; `None` for an encoding that is rare. Python decodes nothing where the name of the encoding has
/// something beside it, such as quotation marks, a blank behind it, or a note.
pub(super) fn decoded(content: &str, encoding: &str) -> Option<Result<Vec<u8>, InputProblem>> {
    let name = encoding
        .trim_start_matches([' ', '\t'])
        .trim_end_matches(['\r', '\n'])
        .to_lowercase();
    match name.as_str() {
        "base64" => Some(base64(content)),
        "quoted-printable" => Some(Ok(quoted_printable(content))),
        "x-uuencode" | "uuencode" | "uue" | "x-uue" => None,
        misspelt if ENCODED.iter().any(|encoded| misspelt.contains(encoded)) => {
            Some(Err(misnamed()))
        }
        _ => Some(Ok(content.as_bytes().to_vec())),
    }
}

/// The encodings in which a content is no text.
const ENCODED: [&str; 2] = ["base64", "quoted-printable"];

fn misnamed() -> InputProblem {
    let message = "its Content-Transfer-Encoding has something beside the name of the encoding, so that nothing is decoded";
    InputProblem::new(
        message,
        "write `base64` there, without quotation marks or blanks behind it",
    )
}

fn base64(content: &str) -> Result<Vec<u8>, InputProblem> {
    let letters: String = content.split_whitespace().collect();
    let [standard, _] = &DECODERS;
    standard.decode(letters).map_err(|_| {
        let message = "it is said to be base64, and is not";
        InputProblem::new(
            message,
            "encode it again, or correct its Content-Transfer-Encoding",
        )
    })
}

/// Replaces `=XX`, and joins lines that end with `=`. What is not of this form stays.
fn quoted_printable(content: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), content.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'=', [b'\r', b'\n', after @ ..] | [b'\n', after @ ..]) => rest = after,
            (b'=', [high, low, after @ ..]) => match hex(*high, *low) {
                Some(decoded) => {
                    bytes.push(decoded);
                    rest = after;
                }
                None => bytes.push(b'='),
            },
            _ => bytes.push(*byte),
        }
    }
    bytes
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digits = [high, low];
    let text = std::str::from_utf8(&digits).ok()?;
    let is_hex = text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(text, 16).ok())?
}
