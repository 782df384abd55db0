//! Requests of pools and their answers, as they are sent through the database: sealed, as every
//! request is.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use vsiflow_engine::{model::Failure, secret::Secret};
use vsiflow_workflows::{
    fleet::{GuestAnswer, GuestGate, MemberDeletion, MembersReport, MembersRequest, NetworkReport},
    placement::Decision,
    spec::{DesiredDataDisk, DesiredVsi, Resolved, ResolvedVsi},
};

use crate::{exit::ExitProblem, shards::remote_problem::RemoteProblem};

/// A journal's report on a pool's members, or why there is none.
#[derive(Serialize, Deserialize)]
pub(in crate::shards) struct MembersReportAnswer {
    #[serde(rename = "said")]
    pub(in crate::shards) outcome: Result<MembersReport, RemoteProblem>,
}

/// The answers of guests of a journal's members, or why they were not asked.
#[derive(Serialize, Deserialize)]
pub(in crate::shards) struct GuestsAnswer {
    #[serde(rename = "said")]
    outcome: Result<StoredGuests, RemoteProblem>,
}

/// The state of networks in a journal, or why there is no answer.
#[derive(Serialize, Deserialize)]
pub(in crate::shards) struct NetworksAnswer {
    #[serde(rename = "said")]
    pub(in crate::shards) outcome: Result<Vec<NetworkReport>, RemoteProblem>,
}

/// Whether networks of a group are still being made, or why that is not known.
#[derive(Serialize, Deserialize)]
pub(in crate::shards) struct EndedAnswer {
    #[serde(rename = "said")]
    pub(in crate::shards) outcome: Result<bool, RemoteProblem>,
}

/// The answer of a guest. Only the seal of the whole answer keeps it secret.
#[derive(Serialize, Deserialize)]
enum StoredGuests {
    Gate(GuestGate),
    /// In base64.
    Read(Result<String, String>),
    Address(Result<String, String>),
    NotHere,
}

impl GuestsAnswer {
    pub(super) fn of(outcome: Result<GuestAnswer, ExitProblem>) -> Self {
        let stored = |answer| match answer {
            GuestAnswer::Gate(gate) => StoredGuests::Gate(gate),
            GuestAnswer::Read(read) => StoredGuests::Read(read.map(|text| encoded(&text))),
            GuestAnswer::Address(address) => StoredGuests::Address(address),
            GuestAnswer::NotHere => StoredGuests::NotHere,
        };
        let outcome = outcome.map(stored);
        Self {
            outcome: outcome.map_err(|problem| RemoteProblem::of(&problem)),
        }
    }

    pub(super) fn outcome(self) -> Result<GuestAnswer, ExitProblem> {
        Ok(match self.outcome.map_err(RemoteProblem::problem)? {
            StoredGuests::Gate(gate) => GuestAnswer::Gate(gate),
            StoredGuests::Read(Ok(text)) => {
                let text = decoded(text).map_err(ExitProblem::defect)?;
                GuestAnswer::Read(Ok(text))
            }
            StoredGuests::Read(Err(why)) => GuestAnswer::Read(Err(why)),
            StoredGuests::Address(address) => GuestAnswer::Address(address),
            StoredGuests::NotHere => GuestAnswer::NotHere,
        })
    }
}

fn encoded(secret: &Secret) -> String {
    BASE64_STANDARD.encode(secret.expose())
}

fn decoded(text: String) -> Result<Secret, base64::DecodeError> {
    BASE64_STANDARD.decode(text).map(Secret::new)
}

/// The failures of a request.
#[derive(Default, Serialize, Deserialize)]
pub(in crate::shards) struct MembersAnswer {
    #[serde(default)]
    pub(in crate::shards) refused: Vec<Failure>,
}

/// A pool's request.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::shards) struct StoredRequest {
    /// The pool's name, for reasons and messages.
    pub(super) pool: String,
    /// See [`MembersRequest`].
    #[serde(default)]
    pub(super) of_shared_cluster: bool,
    vsis: Vec<StoredVsi>,
    disks: Vec<DesiredDataDisk>,
    pub(super) delete: BTreeMap<u16, Vec<MemberDeletion>>,
}

/// A member. Only the seal of the whole request keeps its secrets secret.
#[derive(Clone, Serialize, Deserialize)]
struct StoredVsi {
    desired: DesiredVsi,
    /// In base64.
    contract: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placed: Option<Decision>,
}

impl StoredVsi {
    fn of(vsi: ResolvedVsi) -> Self {
        Self {
            contract: encoded(&vsi.contract),
            image_url: vsi.image_url.as_ref().map(encoded),
            desired: vsi.desired,
            placed: vsi.placed,
        }
    }

    fn resolved(self) -> Result<ResolvedVsi, base64::DecodeError> {
        let source = self.desired.full_name();
        let (contract, image_url) = (
            decoded(self.contract)?,
            self.image_url.map(decoded).transpose()?,
        );
        let mut vsi = ResolvedVsi::of_record(self.desired, contract, image_url, source);
        vsi.placed = self.placed;
        Ok(vsi)
    }
}

impl StoredRequest {
    pub(in crate::shards) fn of(ask: MembersRequest) -> Self {
        Self {
            pool: ask.pool,
            of_shared_cluster: ask.of_shared_cluster,
            vsis: ask.apply.vsis.into_iter().map(StoredVsi::of).collect(),
            disks: ask.apply.data_disks,
            delete: ask.delete,
        }
    }

    /// The request as resolved documents.
    pub(in crate::shards) fn resolved(&self) -> Result<Resolved, base64::DecodeError> {
        let vsis = self.vsis.iter().cloned().map(StoredVsi::resolved);
        Ok(Resolved {
            vsis: vsis.collect::<Result<_, _>>()?,
            data_disks: self.disks.clone(),
            ..Resolved::default()
        })
    }
}
