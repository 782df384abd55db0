//! The audit anchor: a journal's newest link as one line of text, to be stored outside the machine.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    super::{Audit, Flaw, Violation},
    PublicKey, SigningKey,
    signature::Signed,
};
use crate::{
    journal::{BatchLink, JournalError, Offset},
    model::{Hash, Name, Timestamp},
};

/// The start of the line; the number is the version of the format.
const MARK: &str = "vsiflow-head v1";

/// The last moment that RFC 3339 can express, in milliseconds.
const LAST_MOMENT: u64 = 253_402_300_799_999;

/// An audit anchor: the end of a journal's chain at some moment. `vsiflow audit head` prints it.
///
/// As text: `vsiflow-head v1 journal=ID offset=N link=HASH time=T`; a signed anchor continues with
/// ` key=ed25519:K signature=S`. `offset` is the offset of the newest event, `none` in an empty
/// journal. The signature covers everything before ` signature=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditAnchor {
    /// The journal's identity.
    pub journal: String,
    /// The offset of the newest event; `None` for an empty journal.
    pub offset: Option<Offset>,
    /// The newest link of the journal's chain; all zeros for an empty journal.
    pub link: Hash,
    /// When the anchor was taken, by the wall clock.
    pub time: Timestamp,
    /// The signature and its key, if it is signed.
    signed: Option<Signed>,
}

/// Error: the text is not an audit anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a head as `vsiflow audit head` prints it: {0}")]
pub struct InvalidHead(&'static str);

impl Audit<'_> {
    /// The anchor of the journal's newest link, taken at `now`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn head(&self, now: Timestamp) -> Result<AuditAnchor, JournalError> {
        let mut head = AuditAnchor::of_nothing(self.journal_id, now);
        if let Some(link) = self.journal.head().await? {
            head.reach(link.last, link.hash);
        }
        Ok(head)
    }
}

impl AuditAnchor {
    /// The anchor of an empty journal.
    pub(in crate::audit) fn of_nothing(journal: &str, now: Timestamp) -> Self {
        Self {
            journal: journal.to_owned(),
            offset: None,
            link: Hash::default(),
            time: Timestamp(now.0.min(LAST_MOMENT)),
            signed: None,
        }
    }

    /// Moves the anchor to a later link, which ends at the offset `last`.
    pub(in crate::audit) fn reach(&mut self, last: Offset, link: Hash) {
        (self.offset, self.link) = (Some(last), link);
    }

    /// Whether the anchor says that the journal ended with that link.
    pub(in crate::audit) fn is_at(&self, link: Option<&BatchLink>) -> bool {
        match link {
            None => self.offset.is_none() && self.link == Hash::default(),
            Some(link) => self.offset == Some(link.last) && self.link == link.hash,
        }
    }

    /// Signs the anchor; replaces an earlier signature.
    pub fn sign(&mut self, key: &SigningKey) {
        self.signed = Some(Signed::by(key, &self.text()));
    }

    /// Whether the anchor has a signature, valid or not.
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }

    /// Checks that the anchor was signed with that key and not changed since.
    ///
    /// # Errors
    /// A [`Violation`] that says what is wrong with the signature, also if it is missing.
    pub fn check(&self, key: &PublicKey) -> Result<(), Violation> {
        let Some(signed) = &self.signed else {
            return Err(Violation::of(Flaw::Signature, "the head is not signed"));
        };
        signed.check("the head", &self.text(), key)
    }

    fn text(&self) -> String {
        let offset = self
            .offset
            .map_or_else(|| "none".to_owned(), |offset| offset.to_string());
        let (journal, link, time) = (&self.journal, self.link, time(self.time));
        format!("{MARK} journal={journal} offset={offset} link={link} time={time}")
    }
}

impl fmt::Display for AuditAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.signed {
            None => f.write_str(&self.text()),
            Some(signed) => write!(f, "{} {signed}", self.text()),
        }
    }
}

impl FromStr for AuditAnchor {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let line = text.trim();
        let mut words = line
            .strip_prefix(MARK)
            .ok_or(InvalidHead("it does not begin with `vsiflow-head v1`"))?
            .split_ascii_whitespace();
        let mut word = |key| value(words.next(), key);
        let head = Self {
            journal: word("journal=")?.to_owned(),
            offset: offset(word("offset=")?)?,
            link: hash(word("link=")?).ok_or(InvalidHead("its link is not a SHA-256"))?,
            time: moment(word("time=")?)?,
            signed: match word("key=ed25519:") {
                Ok(key) => Some(signature(key, word("signature=")?)?),
                Err(_) => None,
            },
        };
        // Anything that was not parsed, or is not in its canonical form, was not signed either.
        if Name::new(head.journal.as_str()).is_ok() && head.to_string() == line {
            Ok(head)
        } else {
            Err(InvalidHead("something in it was added or cut off"))
        }
    }
}

fn value<'a>(word: Option<&'a str>, key: &str) -> Result<&'a str, InvalidHead> {
    word.and_then(|word| word.strip_prefix(key))
        .ok_or(InvalidHead("a part of it is missing"))
}

fn offset(text: &str) -> Result<Option<Offset>, InvalidHead> {
    match text {
        "none" => Ok(None),
        number => number
            .parse()
            .map(Some)
            .map_err(|_| InvalidHead("its offset is not a number")),
    }
}

fn moment(text: &str) -> Result<Timestamp, InvalidHead> {
    let invalid = || InvalidHead("its time is not valid");
    let time = humantime::parse_rfc3339(text).map_err(|_| invalid())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| invalid())?;
    let millis = u64::try_from(since.as_millis()).map_err(|_| invalid())?;
    Ok(Timestamp(millis))
}

fn signature(key: &str, signature: &str) -> Result<Signed, InvalidHead> {
    Signed::read(key, signature).ok_or(InvalidHead("its signature cannot be read"))
}

/// A moment as RFC 3339 with milliseconds; a moment after the year 9999 as a number of
/// milliseconds.
pub(in crate::audit) fn time(at: Timestamp) -> String {
    if at.0 > LAST_MOMENT {
        return format!("{} ms", at.0);
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at.0)).to_string()
}

/// Parses a SHA-256 in lower-case hexadecimal, as [`Hash`] is displayed.
pub(in crate::audit) fn hash(text: &str) -> Option<Hash> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut hash = Hash::default();
    for (byte, [high, low]) in hash.0.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
