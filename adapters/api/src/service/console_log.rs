//! Requests for what guests wrote to their consoles.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_steps::ports::ConsolePosition;

use super::{Operation, ServiceRequest};
use crate::{Caller, Problem, Rights, api::Api, commands::base64_bytes};

/// Asks for the next piece of a VSI's console log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleLogRequest {
    /// The VSI's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, if this log is read on: another VSI of the name has another one.
    #[serde(default)]
    pub uid: Option<String>,
    /// From this byte on.
    #[serde(default)]
    pub from: u64,
}

/// A piece of a console log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleLogPiece {
    /// The guest's output in base64; empty if there is no more yet.
    #[serde(with = "base64_bytes")]
    #[schemars(with = "String")]
    pub bytes: Vec<u8>,
    /// The byte at which the next piece begins.
    pub next: u64,
}

/// Asks for what is stored of a VSI's newest failed boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BootEvidenceRequest {
    /// The VSI's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is stored of a failed boot; nothing if none failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredEvidence {
    /// The evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<BootEvidence>,
}

/// The evidence of a failed boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootEvidence {
    /// The end of the console, without control characters.
    pub console_tail: String,
    /// The domain's definition; empty if there is none.
    pub definition: String,
}

impl ServiceRequest for ConsoleLogRequest {
    type Answer = ConsoleLogPiece;
    const OPERATION: Operation = Operation {
        id: "readConsoleLog",
        path: "/v1/console-log",
        summary: "Show the next piece of what a guest wrote to its console",
    };
    const NEEDS: Rights = Rights::Look;

    fn asks_hosts(&self) -> bool {
        true
    }

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<ConsoleLogPiece, Problem> {
        let fleets = api.fleets().await?;
        let (namespace, name) = (&self.namespace, &self.name);
        let history = fleets.that_has(namespace, name).await?.history();
        let log = history.console_log(namespace, name).await?;
        if self.uid.is_some_and(|uid| uid != log.uid().to_string()) {
            let detail = format!("the vsi {name} whose console this was is deleted");
            let remedy = "read the console of the one that has the name now";
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "VSI0703",
                detail,
                remedy,
            ));
        }
        let piece = log.read(ConsolePosition { offset: self.from }).await?;
        Ok(ConsoleLogPiece {
            bytes: piece.bytes,
            next: piece.next.offset,
        })
    }
}

impl ServiceRequest for BootEvidenceRequest {
    type Answer = StoredEvidence;
    const OPERATION: Operation = Operation {
        id: "getBootEvidence",
        path: "/v1/boot-evidence",
        summary: "Show what is stored of a VSI's newest failed boot",
    };
    const NEEDS: Rights = Rights::Look;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<StoredEvidence, Problem> {
        let fleets = api.fleets().await?;
        let (namespace, name) = (&self.namespace, &self.name);
        let history = fleets.that_has(namespace, name).await?.history();
        let evidence = history.evidence(namespace, name).await?;
        let evidence = evidence.map(|stored| BootEvidence {
            console_tail: stored.console_tail,
            definition: stored.domain_xml,
        });
        Ok(StoredEvidence { evidence })
    }
}
