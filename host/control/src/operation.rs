//! What the API can be asked, and which role that takes: the one table from which the routes are made
//! and which the tests compare with the OpenAPI document.

use crate::access::Role;

/// One operation of the API.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// All slots.
    Status,
    /// One slot.
    Slot,
    /// Samples of what a candidate answers differently.
    Differences,
    /// What happened to a slot.
    History,
    /// Makes a file the candidate.
    Stage,
    /// Takes the candidate to the next step.
    Advance,
    /// Keeps the candidate at its step.
    Hold,
    /// Makes the candidate the stable version.
    Promote,
    /// Drops the candidate, or returns to the last good version.
    Rollback,
    /// The newest records of the audit trail.
    Audit,
    /// Metrics as Prometheus text.
    Metrics,
    /// Whether the server answers.
    Health,
    /// The description of the API.
    OpenApi,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Status,
        Self::Slot,
        Self::Differences,
        Self::History,
        Self::Stage,
        Self::Advance,
        Self::Hold,
        Self::Promote,
        Self::Rollback,
        Self::Audit,
        Self::Metrics,
        Self::Health,
        Self::OpenApi,
    ];

    /// The path, with `{signal}` and `{kind}` where they stand.
    pub fn path(self) -> &'static str {
        match self {
            Self::Status => "/v1/status",
            Self::Slot => "/v1/slots/{signal}/{kind}",
            Self::Differences => "/v1/slots/{signal}/{kind}/differences",
            Self::History => "/v1/slots/{signal}/{kind}/history",
            Self::Stage => "/v1/slots/{signal}/{kind}/stage",
            Self::Advance => "/v1/slots/{signal}/{kind}/advance",
            Self::Hold => "/v1/slots/{signal}/{kind}/hold",
            Self::Promote => "/v1/slots/{signal}/{kind}/promote",
            Self::Rollback => "/v1/slots/{signal}/{kind}/rollback",
            Self::Audit => "/v1/audit",
            Self::Metrics => "/metrics",
            Self::Health => "/healthz",
            Self::OpenApi => "/v1/openapi.json",
        }
    }

    /// As it is named in metrics, in the audit trail and in the OpenAPI document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Slot => "slot",
            Self::Differences => "differences",
            Self::History => "history",
            Self::Stage => "stage",
            Self::Advance => "advance",
            Self::Hold => "hold",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Audit => "audit",
            Self::Metrics => "metrics",
            Self::Health => "health",
            Self::OpenApi => "openapi",
        }
    }

    /// Whether it changes a slot; then its method is POST, else GET.
    pub fn is_change(self) -> bool {
        matches!(self, Self::Stage | Self::Advance | Self::Hold | Self::Promote | Self::Rollback)
    }

    /// The least role that may ask it; none if everybody may.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Health | Self::OpenApi => None,
            Self::Audit => Some(Role::Admin),
            _ if self.is_change() => Some(Role::Operator),
            _ => Some(Role::Viewer),
        }
    }
}
