//! The kinds of objects that are listed.

/// The kind of objects in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// VSIs with their phases and steps.
    #[default]
    Vsis,
    /// Steps that are not done.
    Steps,
    /// Uploads of images.
    Uploads,
    /// Hosts with their capacity.
    Hosts,
}

impl Kind {
    /// All kinds, in the order of their keys.
    pub const ALL: [Self; 4] = [Self::Vsis, Self::Steps, Self::Uploads, Self::Hosts];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Vsis => "vsis",
            Self::Steps => "steps",
            Self::Uploads => "uploads",
            Self::Hosts => "hosts",
        }
    }

    /// The kind that a word names.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "vsi" | "vsis" | "vs" | "virtualserver" | "virtualservers" => Self::Vsis,
            "step" | "steps" | "run" | "runs" => Self::Steps,
            "upload" | "uploads" | "image" | "images" => Self::Uploads,
            "host" | "hosts" | "node" | "nodes" => Self::Hosts,
            _ => return None,
        })
    }

    /// The next kind in the order of [`Kind::ALL`].
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Vsis => Self::Steps,
            Self::Steps => Self::Uploads,
            Self::Uploads => Self::Hosts,
            Self::Hosts => Self::Vsis,
        }
    }
}
