//! What is known of the slots of a host: the words of the API.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// All slots, as they are now.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Name and version of the program.
    pub program: String,
    /// Signals in the log so far.
    pub position: u64,
    /// How far event time has come (RFC 3339).
    pub event_time: Option<String>,
    /// The slots, by signal type and kind.
    pub slots: Vec<Slot>,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Says what a signal means.
    Mapper,
    /// Says when to be quiet.
    Suppressor,
}

impl Kind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapper => "mapper",
            Self::Suppressor => "suppressor",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mapper" => Ok(Self::Mapper),
            "suppressor" => Ok(Self::Suppressor),
            _ => Err(format!("expected `mapper` or `suppressor`, got `{text}`")),
        }
    }
}

/// The rule of one kind for one signal type, and what may follow it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Slot {
    /// The signal type.
    pub signal: String,
    /// Mapper or suppressor.
    pub kind: Kind,
    /// The version in force.
    pub stable: Version,
    /// The version that a rollback of the stable one would return to.
    pub last_good: Option<Version>,
    /// The version on its way.
    pub candidate: Option<Candidate>,
    /// Why the last version that did not make it was refused.
    pub last_refusal: Option<Refusal>,
}

/// A rule, told apart from all others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Version {
    /// The name that it declares.
    pub name: String,
    /// The semantic version that it declares.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal.
    pub digest: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.digest.get(..12).unwrap_or(&self.digest);
        write!(f, "{} {} ({short})", self.name, self.version)
    }
}

/// How far a candidate has come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Validation, contract, compilation, its own cases, purity.
    Checking,
    /// Beside the stable version over the newest recorded signals.
    Replay,
    /// Beside the stable version over what comes; changes nothing.
    Shadow,
    /// In force for a share of the entities.
    Canary,
}

impl Stage {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Replay => "replay",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        }
    }
}

/// A version on its way to be the stable one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Candidate {
    /// Which.
    pub version: Version,
    /// How far it has come.
    pub stage: Stage,
    /// For which share of the entities it is in force, 0 before the canary.
    pub share_percent: f64,
    /// The shares it has to go through, in percent.
    pub steps: Vec<f64>,
    /// Why it does not advance by itself, if it is held.
    pub held: Option<String>,
    /// The log position at which this step began.
    pub since_position: u64,
    /// The event time at which this step began (RFC 3339).
    pub since: Option<String>,
    /// What it was given in this step.
    pub samples: u64,
    /// What it must be given before this step is judged.
    pub samples_needed: u64,
    /// What was seen of it, compared with the stable version over the same time.
    pub evidence: Evidence,
}

/// What a judgement of a candidate rests on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Evidence {
    /// Rows that both versions answered or could have.
    pub rows: u64,
    /// Rows of entities for which the candidate was in force.
    pub in_share: u64,
    /// Rows answered differently, by kind of difference.
    pub differing: BTreeMap<String, u64>,
    /// What the stable version did.
    pub stable: Counts,
    /// What the candidate did.
    pub candidate: Counts,
}

/// What a version did with its rows.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Counts {
    /// Rows it was given.
    pub rows: u64,
    /// Rows on which it trapped or ran out of a limit.
    pub failed: u64,
    /// Rows it called bad.
    pub rejected: u64,
    /// Rows it dropped.
    pub dropped: u64,
    /// Events it held back.
    pub held_back: u64,
    /// Fuel a row.
    pub fuel_per_row: f64,
    /// Nanoseconds a row.
    pub ns_per_row: f64,
}

/// A row that the two versions answered differently.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// The kind of difference, as [`Evidence::differing`] counts it.
    pub kind: String,
    /// The log position of the signal.
    pub position: u64,
    /// Its event time (RFC 3339).
    pub time: Option<String>,
    /// The record key, or the subject.
    pub key: String,
    /// The signal as it came (masked), cut where it is long.
    pub signal: String,
    /// The answer of the stable version.
    pub old: String,
    /// The answer of the candidate.
    pub new: String,
}

/// A line of the history of a slot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Past {
    /// The log position.
    pub position: u64,
    /// The event time (RFC 3339).
    pub time: Option<String>,
    /// What happened, in a word: `staged`, `advanced`, `held`, `promoted`, `rolled back`, ..
    pub what: String,
    /// The version concerned.
    pub version: Option<Version>,
    /// Who: a token's name, `uid N`, or `stillhouse` for what the host decided.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Why a version did not make it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusal {
    /// Which, as far as it could be read.
    pub version: Option<Version>,
    /// Where it failed, such as `contract`, `cases`, `purity` or `canary`.
    pub stage: String,
    /// Why.
    pub why: String,
    /// The log position.
    pub position: u64,
}
