//! Why a host was not chosen, as text.

use crate::spec::Quantity;

/// A resource of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostResource {
    /// Processors.
    Cpus,
    /// Memory in bytes.
    Memory,
    /// Room in a pool in bytes.
    Pool(String),
}

impl HostResource {
    fn amount(&self, amount: u64) -> String {
        match self {
            Self::Cpus => format!("{amount} CPUs"),
            Self::Memory => format!("{} of memory", short(amount)),
            Self::Pool(pool) => format!("{} in pool {pool}", short(amount)),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Cpus => "how many CPUs it has".to_owned(),
            Self::Memory => "how much memory it has".to_owned(),
            Self::Pool(pool) => format!("how much room pool {pool} has"),
        }
    }
}

/// A size in whole units for people: rounded down to MiB, if it is at least one.
fn short(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => Quantity(bytes).to_string(),
        _ => Quantity(bytes / MIB * MIB).to_string(),
    }
}

/// Why a host was not chosen. Equal obstacles are reported together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlacementObstacle {
    /// It is cordoned, with the reason.
    Cordoned(String),
    /// It does not answer, with the reason.
    Unreachable(String),
    /// It cannot be chosen whatever its capacity, for example because of a disk on another host.
    Excluded(String),
    /// Its settings name no such device.
    NoDevice(String),
    /// It runs no guests of that architecture.
    NoArch(String),
    /// It does not have the label that VSIs are spread over.
    NoLabel(String),
    /// It has a VSI that must not be on the same host as this one, with that VSI's name.
    Affinity(String),
    /// The host did not report how much of this resource it has.
    Unknown(HostResource),
    /// It has no such pool.
    NoPool(String),
    /// It has too little free.
    Insufficient {
        /// The resource.
        of: HostResource,
        /// How much is needed.
        needs: u64,
        /// How much is free.
        free: u64,
    },
    /// It fits, but has more VSIs of the spread class than the chosen host.
    MoreOfThem {
        /// How many it has.
        here: u64,
        /// How many the chosen host has.
        there: u64,
    },
    /// It fits, but is fuller than the chosen host.
    Fuller,
    /// It fits, but is emptier than the chosen host, and the placement packs.
    Emptier,
    /// It fits as well as the chosen host, whose name comes first.
    Equal,
}

impl std::fmt::Display for PlacementObstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cordoned(why) if why.is_empty() => f.write_str("it is cordoned"),
            Self::Cordoned(why) => write!(f, "it is cordoned: {why}"),
            Self::Unreachable(why) => write!(f, "it does not answer: {why}"),
            Self::Excluded(why) => f.write_str(why),
            Self::NoDevice(device) => write!(f, "its settings name no device {device}"),
            Self::NoArch(arch) => write!(f, "it runs no guests of architecture {arch}"),
            Self::NoLabel(label) => write!(f, "it has no label {label}"),
            Self::Affinity(name) => write!(f, "antiAffinity: {name} is there"),
            Self::Unknown(of) => write!(f, "it does not say {}", of.name()),
            Self::NoPool(pool) => write!(f, "it has no active pool {pool}"),
            Self::Insufficient { of, needs, free } => {
                write!(
                    f,
                    "it lacks {}: {} are free",
                    of.amount(*needs),
                    of.amount(*free)
                )
            }
            Self::MoreOfThem { here, there } => {
                write!(
                    f,
                    "it fits; {here} of them are there already, on the chosen one {there}"
                )
            }
            Self::Fuller => f.write_str("it fits; more of it is promised"),
            Self::Emptier => {
                f.write_str("it fits; less of it is promised, and pack asks for the fullest")
            }
            Self::Equal => f.write_str("it fits as well; its name comes later"),
        }
    }
}
