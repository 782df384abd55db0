//! Columns of tables as data.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::Metadata;

/// A column of a kind's table.
pub struct Column<O> {
    /// What stands above it.
    pub head: Head,
    /// Whether only a wide table has it.
    pub is_wide: bool,
    /// The cell of an object.
    pub cell: fn(&O) -> Cell,
}

impl<O> Column<O> {
    /// A column that every table has.
    pub const fn new(head: &'static str, cell: fn(&O) -> Cell) -> Self {
        Self {
            head: Head::Word(Cow::Borrowed(head)),
            is_wide: false,
            cell,
        }
    }

    /// A column that only a wide table has.
    pub const fn wide(head: &'static str, cell: fn(&O) -> Cell) -> Self {
        Self {
            head: Head::Word(Cow::Borrowed(head)),
            is_wide: true,
            cell,
        }
    }

    /// The column of the creation time.
    pub const fn since(cell: fn(&O) -> Cell) -> Self {
        Self {
            head: Head::Since,
            is_wide: false,
            cell,
        }
    }
}

/// What stands above a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Head {
    /// This word.
    Word(Cow<'static, str>),
    /// What the client calls a creation time: an age or a moment.
    Since,
}

/// The content of a cell. The client decides how it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cell {
    /// A text.
    Text(String),
    /// A text; an empty one is shown as absent.
    Optional(String),
    /// A size in bytes.
    Size(u64),
    /// A hash in hexadecimal digits, of which a narrow table shows the first.
    Digest(String),
    /// A moment, RFC 3339.
    Time(String),
    /// A moment that never was.
    Never,
    /// What is not known.
    Absent,
}

impl Cell {
    /// A text.
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// A text, or that there is none.
    pub(super) fn optional(text: Option<impl Into<String>>) -> Self {
        Self::Optional(text.map(Into::into).unwrap_or_default())
    }

    /// The texts with commas between them, or that there are none.
    pub(super) fn list(texts: &[String]) -> Self {
        Self::Optional(texts.join(","))
    }

    /// A size, or that it is not known.
    pub(super) fn size(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Absent, Self::Size)
    }

    /// A moment, or that it is not known.
    pub(super) fn time(moment: Option<&str>) -> Self {
        moment.map_or(Self::Absent, |at| Self::Time(at.to_owned()))
    }

    /// When an object was first wanted.
    pub(super) fn created(metadata: &Metadata) -> Self {
        Self::Time(metadata.creation_timestamp.clone())
    }
}
