//! Resource usage of all domains in one call (`virConnectGetAllDomainStats`).
//!
//! A reply is a list of domains, each with a list of typed parameters, whose names contain device numbers,
//! such as `block.0.rd.bytes`. A host may send hundreds of thousands of them. Parameters that are not needed
//! are discarded while the reply is decoded, so a domain uses only the memory of a [`DomainStats`].

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{Procedure, RemoteDomain};
use crate::{connection::Calls, error::Result};

/// How many domains of one reply are stored; further ones are discarded.
pub const DOMAINS_MAX: usize = 10_000;

/// Which parameters are requested, and for which domains.
pub mod stats_flags {
    /// `VIR_DOMAIN_STATS_CPU_TOTAL`.
    pub const CPU: u32 = 1 << 1;
    /// `VIR_DOMAIN_STATS_BALLOON`.
    pub const BALLOON: u32 = 1 << 2;
    /// `VIR_DOMAIN_STATS_INTERFACE`.
    pub const INTERFACE: u32 = 1 << 4;
    /// `VIR_DOMAIN_STATS_BLOCK`.
    pub const BLOCK: u32 = 1 << 5;
    /// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE`: only for running domains.
    pub const ACTIVE: u32 = 1;
    /// `VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT`: a busy domain reports only what needs no waiting.
    pub const NOWAIT: u32 = 1 << 29;
}

/// The resource usage of one domain, summed over devices of a kind. Missing or invalid values are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainStats {
    /// The domain.
    pub domain: RemoteDomain,
    /// Its resource usage.
    pub used: Used,
}

/// The parameters that are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// `cpu.time`, in nanoseconds.
    pub cpu_time: Option<u64>,
    /// `balloon.current`, in KiB.
    pub balloon: Option<u64>,
    /// `balloon.rss`, in KiB.
    pub rss: Option<u64>,
    /// `block.N.rd.bytes`, summed over all disks.
    pub block_rd_bytes: Option<u64>,
    /// `block.N.wr.bytes`, summed over all disks.
    pub block_wr_bytes: Option<u64>,
    /// `block.N.rd.reqs`, summed over all disks.
    pub block_rd_reqs: Option<u64>,
    /// `block.N.wr.reqs`, summed over all disks.
    pub block_wr_reqs: Option<u64>,
    /// `net.N.rx.bytes`, summed over all cards.
    pub net_rx_bytes: Option<u64>,
    /// `net.N.tx.bytes`, summed over all cards.
    pub net_tx_bytes: Option<u64>,
}

impl Used {
    fn take(&mut self, parameter: &TypedParam) {
        let Some(value) = parameter.value.count() else {
            return;
        };
        match parameter.field.as_str() {
            "cpu.time" => self.cpu_time = Some(value),
            "balloon.current" => self.balloon = Some(value),
            "balloon.rss" => self.rss = Some(value),
            field => {
                if let Some(sum) = self.of_device(field) {
                    *sum = Some(sum.unwrap_or(0).saturating_add(value));
                }
            }
        }
    }

    fn of_device(&mut self, field: &str) -> Option<&mut Option<u64>> {
        let (kind, rest) = field.split_once('.')?;
        let (number, what) = rest.split_once('.')?;
        number.parse::<u32>().ok()?;
        Some(match (kind, what) {
            ("block", "rd.bytes") => &mut self.block_rd_bytes,
            ("block", "wr.bytes") => &mut self.block_wr_bytes,
            ("block", "rd.reqs") => &mut self.block_rd_reqs,
            ("block", "wr.reqs") => &mut self.block_wr_reqs,
            ("net", "rx.bytes") => &mut self.net_rx_bytes,
            ("net", "tx.bytes") => &mut self.net_tx_bytes,
            _ => return None,
        })
    }
}

/// A name with a value of any type (`remote_typed_param`).
#[derive(Debug, Clone, PartialEq)]
pub struct TypedParam {
    /// The name.
    pub field: String,
    /// The value.
    pub value: TypedValue,
}

/// A value (`remote_typed_param_value`; the number is its `virTypedParameterType`).
#[derive(Debug, Clone, PartialEq)]
pub enum TypedValue {
    /// 1.
    Int(i32),
    /// 2.
    Uint(u32),
    /// 3.
    Llong(i64),
    /// 4.
    Ullong(u64),
    /// 5.
    Double(f64),
    /// 6.
    Boolean(i32),
    /// 7.
    String(String),
}

impl TypedValue {
    /// The value as a count; `None` if it is negative or not an integer.
    fn count(&self) -> Option<u64> {
        match self {
            Self::Int(value) => u64::try_from(*value).ok(),
            Self::Uint(value) => Some(u64::from(*value)),
            Self::Llong(value) => u64::try_from(*value).ok(),
            Self::Ullong(value) => Some(*value),
            // libvirt does not report any stored parameter as one of these types.
            Self::Double(_) | Self::Boolean(_) | Self::String(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for TypedParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Param;
        impl<'de> Visitor<'de> for Param {
            type Value = TypedParam;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a typed parameter")
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<TypedParam, A::Error> {
                let field = next(&mut seq)?;
                let value = match next::<_, i32>(&mut seq)? {
                    1 => TypedValue::Int(next(&mut seq)?),
                    2 => TypedValue::Uint(next(&mut seq)?),
                    3 => TypedValue::Llong(next(&mut seq)?),
                    4 => TypedValue::Ullong(next(&mut seq)?),
                    5 => TypedValue::Double(next(&mut seq)?),
                    6 => TypedValue::Boolean(next(&mut seq)?),
                    7 => TypedValue::String(next(&mut seq)?),
                    other => {
                        // The length of an unknown type is unknown, so the rest cannot be decoded either.
                        return Err(A::Error::custom(format!("no type has the number {other}")));
                    }
                };
                Ok(TypedParam { field, value })
            }
        }
        deserializer.deserialize_tuple(3, Param)
    }
}

fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
    seq: &mut A,
) -> std::result::Result<T, A::Error> {
    let next = seq.next_element()?;
    next.ok_or_else(|| A::Error::custom("it ends in the middle"))
}

impl<'de> Deserialize<'de> for Used {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Params;
        impl<'de> Visitor<'de> for Params {
            type Value = Used;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("typed parameters")
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<Used, A::Error> {
                let mut used = Used::default();
                while let Some(parameter) = seq.next_element::<TypedParam>()? {
                    used.take(&parameter);
                }
                Ok(used)
            }
        }
        deserializer.deserialize_seq(Params)
    }
}

/// A complete reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllStats(pub Vec<DomainStats>);

impl<'de> Deserialize<'de> for AllStats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Records;
        impl<'de> Visitor<'de> for Records {
            type Value = AllStats;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("domains with their parameters")
            }
            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<AllStats, A::Error> {
                let mut domains = Vec::new();
                while let Some((domain, used)) = seq.next_element()? {
                    if domains.len() < DOMAINS_MAX {
                        domains.push(DomainStats { domain, used });
                    }
                }
                Ok(AllStats(domains))
            }
        }
        deserializer.deserialize_seq(Records)
    }
}

impl Calls {
    /// The resource usage of running domains, as far as each can report it without waiting.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_all_domain_stats(&self) -> Result<Vec<DomainStats>> {
        use stats_flags::{ACTIVE, BALLOON, BLOCK, CPU, INTERFACE, NOWAIT};
        let no_domains: [RemoteDomain; 0] = [];
        let args = (
            &no_domains[..],
            CPU | BALLOON | INTERFACE | BLOCK,
            ACTIVE | NOWAIT,
        );
        let AllStats(all) = self
            .call(Procedure::ConnectGetAllDomainStats, &args)
            .await?;
        Ok(all)
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
