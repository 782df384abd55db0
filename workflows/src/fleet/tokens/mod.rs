//! Tokens for clients of a daemon on other machines: their role, their lifetime, and their check.
//!
//! The journal stores a token's SHA-256, never its text, so a reader of the journal cannot use it. A
//! text has 244 random bits, so that its hash cannot be guessed either. Creating and revoking a token
//! are events of its entity, with actor and reason.
//!
//! A token that was made while the clock was years ahead would be valid until then. So a token whose creation lies in
//! the future has ended.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Hash, Name, Precedence, Timestamp},
    secret::Secret,
};

use super::{
    ErrorKind, Fleet, FleetError, TokenHandle,
    store::DesiredUpdates,
    unreadable::{DesiredReading, LostEntity, UNREADABLE},
    vsi::object::rfc3339,
};
use crate::record::kind;

/// What the bearer of a token may do. Each may what the ones before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// See everything but secrets.
    Viewer,
    /// Start, stop, retry, cancel and approve; cordon and drain hosts; open consoles.
    Operator,
    /// Everything that the owner of the state directory may.
    Admin,
}

impl FromStr for TokenRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err("write viewer, operator or admin".to_owned()),
        }
    }
}

impl fmt::Display for TokenRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// A token as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TokenRecord {
    role: TokenRole,
    /// The SHA-256 of its secret part, in hexadecimal.
    hash: String,
    /// In milliseconds since the epoch.
    expires: u64,
    #[serde(default)]
    revoked: bool,
}

/// A token as recorded, and when it was made.
struct RecordedToken {
    record: TokenRecord,
    created: Timestamp,
}

/// Why a token is not valid any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenEnd {
    Revoked,
    Expired,
    ClockSetBack,
}

impl TokenEnd {
    fn text(self) -> &'static str {
        match self {
            Self::Revoked => "it was revoked",
            Self::Expired => "it has expired",
            Self::ClockSetBack => "it was made while the daemon's clock was ahead",
        }
    }
}

/// The phase of a token that was made while the clock was ahead.
pub const CLOCK_SET_BACK: &str = "ClockSetBack";

/// A token, without what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenObject {
    /// Its name.
    pub name: String,
    /// What its bearer may do, if that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<TokenRole>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, RFC 3339; empty if that cannot be read.
    pub expires: String,
    /// `Active`, `Expired`, `Revoked`, or one that is refused: `ClockSetBack`, which was made while the clock was
    /// ahead, or `Unreadable`.
    pub phase: &'static str,
    /// Why it cannot be read, and what can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A token that was just made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// The secret that proves it. It is not stored.
    pub secret: Secret,
}

impl TokenHandle<'_> {
    /// Creates a token. Durable when it returns.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn create(
        self,
        role: TokenRole,
        lasts: Duration,
        by: By,
    ) -> Result<NewToken, FleetError> {
        let [name, first, second] = std::array::from_fn(|_| Uuid::new_v4().simple().to_string());
        let name: String = name.chars().take(12).collect();
        let secret = format!("{first}{second}");
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let record = TokenRecord {
            role,
            hash: Hash::of(secret.as_bytes()).to_string(),
            expires: self.fleet.clock.now().0.saturating_add(lasts),
            revoked: false,
        };
        self.fleet.record_token(&name, &record, by).await?;
        let secret = Secret::new(secret);
        Ok(NewToken { name, secret })
    }

    /// All tokens, the oldest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self) -> Result<Vec<TokenObject>, FleetError> {
        let recorded = self
            .fleet
            .read_all_whole::<TokenRecord>(kind::TOKEN)
            .await?;
        let lost = self.fleet.named(recorded.lost).await;
        let mut tokens: Vec<_> = lost
            .iter()
            .map(|lost| self.fleet.lost_token(lost))
            .collect();
        for (entity, _, record) in recorded.read {
            let token = self.fleet.with_creation(&entity, record);
            tokens.push(TokenObject {
                name: entity.id().to_owned(),
                role: Some(token.record.role),
                created: rfc3339(token.created),
                expires: rfc3339(Timestamp(token.record.expires)),
                phase: match self.fleet.end_of(&token) {
                    None => "Active",
                    Some(TokenEnd::Revoked) => "Revoked",
                    Some(TokenEnd::Expired) => "Expired",
                    Some(TokenEnd::ClockSetBack) => CLOCK_SET_BACK,
                },
                message: None,
            });
        }
        tokens.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        Ok(tokens)
    }

    /// Ends a token before its time. Revoking it again does nothing.
    ///
    /// # Errors
    /// When there is no token of that name, `VSI0018` if it cannot be read (it is refused then), or when the journal
    /// cannot be written.
    pub async fn revoke(self, name: &str, by: By) -> Result<(), FleetError> {
        let record = self.fleet.token(name).await?;
        let RecordedToken { record, .. } =
            record.ok_or_else(|| FleetError::not_found("token", name))?;
        if record.revoked {
            return Ok(());
        }
        let revoked = TokenRecord {
            revoked: true,
            ..record
        };
        self.fleet.record_token(name, &revoked, by).await
    }

    /// Checks a token and returns the role of its bearer.
    ///
    /// # Errors
    /// `VSI0028` if it is unknown, wrong, revoked or expired, `VSI0018` if its record cannot be read; also when the
    /// journal cannot be read.
    pub async fn role(self, name: &str, secret: &str) -> Result<TokenRole, FleetError> {
        let refused = |why: &str| Err(refused(name, why));
        let Some(token) = self.fleet.token(name).await? else {
            return refused("it is none of this daemon's");
        };
        // Hashes are compared, so the timing reveals nothing about the secret.
        if token.record.hash != Hash::of(secret.as_bytes()).to_string() {
            return refused("it is none of this daemon's");
        }
        match self.fleet.end_of(&token) {
            Some(end) => refused(end.text()),
            None => Ok(token.record.role),
        }
    }
}

impl Fleet {
    fn end_of(&self, token: &RecordedToken) -> Option<TokenEnd> {
        match token.record.revoked {
            true => Some(TokenEnd::Revoked),
            false if self.clock.now().0 >= token.record.expires => Some(TokenEnd::Expired),
            false if self.is_in_future(token.created) => Some(TokenEnd::ClockSetBack),
            false => None,
        }
    }

    async fn token(&self, name: &str) -> Result<Option<RecordedToken>, FleetError> {
        let Ok(entity) = EntityId::new(Name::of(kind::TOKEN), name) else {
            return Ok(None);
        };
        let Some(state) = self.engine.entity(&entity) else {
            return Ok(None);
        };
        // What cannot be read may be its revocation.
        match self.read_whole(&entity, &state).await? {
            DesiredReading::Record(record) => Ok(Some(self.with_creation(&entity, record))),
            DesiredReading::Nothing => Ok(None),
            DesiredReading::Lost(failure) => Err(FleetError::new(ErrorKind::Blocked, failure)),
        }
    }

    fn lost_token(&self, lost: &LostEntity) -> TokenObject {
        let (created, _) = self.engine.times(&lost.entity).unwrap_or_default();
        TokenObject {
            name: lost.entity.id().to_owned(),
            role: None,
            created: LostEntity::created(created),
            expires: String::new(),
            phase: UNREADABLE,
            message: Some(lost.description()),
        }
    }

    fn with_creation(&self, entity: &EntityId, record: TokenRecord) -> RecordedToken {
        let (created, _) = self.engine.times(entity).unwrap_or_default();
        RecordedToken { record, created }
    }

    async fn record_token(
        &self,
        name: &str,
        record: &TokenRecord,
        by: By,
    ) -> Result<(), FleetError> {
        let entity = EntityId::new(Name::of(kind::TOKEN), name);
        let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
        let mut updates = DesiredUpdates::default();
        updates.add(entity, kind::TOKEN, Precedence::Record, record, None)?;
        self.record(updates, by).await
    }
}

fn refused(name: &str, why: &str) -> FleetError {
    let failure = Failure::new(
        FailureClass::Blocked,
        "VSI0028",
        format!("the token is refused: {why}"),
    )
    .of_object(format!("token/{name}"))
    .with_remedy("Ask for a token of this daemon: `vsiflow token create`.");
    FleetError::new(ErrorKind::Blocked, failure)
}
