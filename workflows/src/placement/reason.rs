//! What speaks against a host, in words.

use crate::spec::Quantity;

/// What of a host is counted.
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

/// In whole units for people: the next lower MiB, where there is one.
fn short(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => Quantity(bytes).to_string(),
        _ => Quantity(bytes / MIB * MIB).to_string(),
    }
}

/// What speaks against a host. Equal ones are told together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlacementObstacle {
    /// It is cordoned; why, in words.
    Cordoned(String),
    /// It does not answer; why, in words.
    Unreachable(String),
    /// It cannot be chosen whatever it has, such as for a disk that is elsewhere.
    Excluded(String),
    /// Its settings name no such device.
    NoDevice(String),
    /// It runs no guests of that architecture.
    NoArch(String),
    /// It does not have the label that VSIs are spread over.
    NoLabel(String),
    /// It has a VSI that must not be beside this one; its name.
    Affinity(String),
    /// Nobody knows how much of that it has.
    Unknown(HostResource),
    /// It has no such pool.
    NoPool(String),
    /// It has not enough free.
    Insufficient {
        /// Of what.
        of: HostResource,
        /// What is needed.
        needs: u64,
        /// What is free.
        free: u64,
    },
    /// It fits, and has more of those that are spread than the one that was chosen.
    MoreOfThem {
        /// So many.
        here: u64,
        /// So many has the one that was chosen.
        there: u64,
    },
    /// It fits, and is fuller than the one that was chosen.
    Fuller,
    /// It fits, and is emptier than the one that was chosen, which is packed.
    Emptier,
    /// It fits as well as the one that was chosen, whose name comes first.
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
