//! What the server is given: the host that is steered.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::slots::{Difference, Kind, Past, Status, Version};

/// The host, as the API sees it. All but [`Host::change`] answer at once.
pub trait Host: Send + Sync + 'static {
    /// All slots, as they are now.
    fn status(&self) -> Status;

    /// Samples of rows that stable version and candidate answered differently; none if there is no
    /// such slot.
    fn differences(&self, signal: &str, kind: Kind) -> Option<Vec<Difference>>;

    /// What happened to a slot, newest last; none if there is no such slot.
    fn history(&self, signal: &str, kind: Kind) -> Option<Vec<Past>>;

    /// Answers once the change is in the log, or says why not. It is carried to its end even if the
    /// caller is gone.
    fn change(&self, change: Change) -> Changing<'_>;

    /// What the host counts, as Prometheus text; its names do not begin with `stillhouse_control_`.
    fn metrics(&self) -> String;
}

/// The outcome of a change, when it is known.
pub type Changing<'a> = Pin<Box<dyn Future<Output = Result<Done, Refused>> + Send + 'a>>;

/// A change of a slot that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The signal type.
    pub signal: String,
    /// Mapper or suppressor.
    pub kind: Kind,
    /// What to do.
    pub action: Action,
    /// The digest of the candidate that is meant, or how it begins; another one is not touched
    /// ([`Refused::NotNow`]). None takes whichever is there.
    pub candidate: Option<String>,
    /// Who asks: a token's name, or `uid N`.
    pub by: String,
    /// Why, as it was said.
    pub why: String,
}

/// What to do with a slot.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Make this file the candidate.
    Stage {
        /// The rule.
        file: Vec<u8>,
        /// Its signature, as it came.
        signature: Option<String>,
    },
    /// Go to the next step, though the host would wait.
    Advance,
    /// Stay at this step until somebody says otherwise.
    Hold,
    /// Make the candidate the stable version.
    Promote {
        /// Even if it has not been through all steps.
        force: bool,
    },
    /// Drop the candidate or, where there is none, return to the last good version.
    Rollback {
        /// Whether what it touched is distilled again without it; as the slot is configured if
        /// it is not said.
        retroactive: Option<bool>,
    },
}

impl Action {
    /// As it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stage { .. } => "stage",
            Self::Advance => "advance",
            Self::Hold => "hold",
            Self::Promote { force: false } => "promote",
            Self::Promote { force: true } => "promote by force",
            Self::Rollback { .. } => "rollback",
        }
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage { file, .. } => write!(f, "Stage({} bytes)", file.len()),
            Self::Rollback { retroactive } => write!(f, "Rollback(retroactive: {retroactive:?})"),
            other => f.write_str(other.name()),
        }
    }
}

/// A change that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The log position at which it counts.
    pub position: u64,
    /// The version concerned.
    pub version: Option<Version>,
    /// What follows from it, for people: `at 5 % since position 1234; 900 samples to the next step`.
    pub told: String,
}

/// Why a change was not made. Texts are for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The host has no such slot.
    #[error("{0}")]
    NoSuchSlot(String),
    /// The slot has no candidate.
    #[error("{0}")]
    NoCandidate(String),
    /// It could be made at another time, or of another candidate.
    #[error("{0}")]
    NotNow(String),
    /// It can never be made: the file is no rule, the signature is missing or wrong.
    #[error("{0}")]
    Bad(String),
    /// The host could not, for a reason of its own; the change is not in the log.
    #[error("{0}")]
    Failed(String),
}
