//! Fuzzes the decoder with malformed replies.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vsiflow_fuzz::FuzzTarget;

use super::*;
use crate::protocol::{
    AllStats, DomainInterface, NodeInfo, Procedure, RemoteDomain, RemoteDomainInfo,
    RemoteDomainState, RemoteNetwork, StoragePool, StoragePoolInfo, StorageVol, StorageVolInfo,
    WireDhcpLease,
};
use crate::{LibvirtError, lifecycle_event};

#[test]
fn fuzz_xdr() {
    FuzzTarget {
        // An empty string of four bytes needs 24 bytes in memory, and a list grows by doubling.
        memory_per_byte: 64,
        ..FuzzTarget::new("xdr", target)
    }
    .check();
}

/// Decodes the bytes as every kind of reply; decoded values must survive a round trip.
pub(crate) fn target(bytes: &[u8]) {
    round_trips::<String>(bytes);
    round_trips::<Option<String>>(bytes);
    round_trips::<(Vec<RemoteDomain>, u32)>(bytes);
    round_trips::<(Vec<StoragePool>, u32)>(bytes);
    round_trips::<(Vec<StorageVol>, u32)>(bytes);
    round_trips::<(Vec<RemoteNetwork>, u32)>(bytes);
    round_trips::<(Vec<String>, Vec<i32>, Option<u64>)>(bytes);
    round_trips::<Vec<Vec<bool>>>(bytes);
    let _ = from_bytes::<(Vec<WireDhcpLease>, u32)>(bytes);
    let _ = from_bytes::<Vec<DomainInterface>>(bytes);
    let _ = from_bytes::<(RemoteDomainState, RemoteDomainInfo)>(bytes);
    let _ = from_bytes::<(StoragePoolInfo, StorageVolInfo)>(bytes);
    let _ = from_bytes::<NodeInfo>(bytes);
    let _ = from_bytes::<AllStats>(bytes);
    let _ = LibvirtError::decode(Procedure::StoragePoolRefresh, bytes);
    let _ = lifecycle_event::decode(bytes);
}

fn round_trips<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = from_bytes::<T>(bytes) {
        let again = to_bytes(&value).unwrap();
        assert_eq!(from_bytes::<T>(&again), Ok(value));
    }
}
