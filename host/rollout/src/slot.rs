//! A slot: the place of one rule of a signal type, and the versions that it has.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::policy::Budget;

/// How many entries the history of a slot has. At the bound the oldest leaves.
pub const HISTORY_MAX: usize = 100;

/// How many refusals a slot remembers. At the bound the oldest leaves.
pub const REFUSALS_MAX: usize = 10;

/// How many versions that were rolled back a slot remembers. At the bound the oldest leaves, and would
/// be tried again if it were offered again.
pub const BARRED_MAX: usize = 64;

/// The whole share, in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// Which rule of a signal type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// Says in which state an entity is.
    Mapper,
    /// Judges what would leave.
    Suppressor,
}

/// The place of one rule, written `TYPE/mapper` or `TYPE/suppressor`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId {
    /// The signal type.
    pub signal: String,
    /// Which of its rules.
    pub kind: SlotKind,
}

/// One version of a rule. The digest decides what it is; name and number are for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// The name of the rule.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal.
    pub digest: String,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The log position.
    pub position: u64,
    /// The watermark, in microseconds since 1970; `i64::MIN` before there is any.
    pub time_us: i64,
}

/// What a version goes through, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Size, form, signature: whether it may be looked at.
    Validation,
    /// Whether it speaks the contract.
    Contract,
    /// Whether it compiles within its bounds.
    Compile,
    /// Its own cases.
    Cases,
    /// The same answers in any division and order.
    Purity,
    /// Whether its states may follow those of the version in force.
    Schema,
    /// The newest recorded signals, beside the version in force.
    Replay,
    /// Asked about every signal; nothing that it answers counts.
    Shadow,
    /// Its answers count for a share of the record keys.
    Canary,
    /// Its answers count for all, but what is open under the version before.
    Draining,
    /// In force.
    Stable,
}

/// Who holds a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldBy {
    /// The analysis: a budget is broken.
    Analysis,
    /// The policy: a person is to promote.
    Policy,
    /// A person.
    Person(String),
}

/// Why a trial does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Who.
    pub by: HeldBy,
    /// Why, for a person.
    pub why: String,
    /// Since when.
    pub at: At,
}

/// A version that is tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The version.
    pub version: Version,
    /// With which record keys are hashed; the same for the whole trial.
    pub salt: u64,
    /// Where it is: shadow, canary or draining.
    pub stage: Stage,
    /// Which step of the canary, from 0; 0 in shadow too.
    pub step: usize,
    /// For which share of the record keys its answers count, in parts per million.
    pub share_ppm: u32,
    /// Where the trial began.
    pub begun: At,
    /// Where this stage or step began. Its time is that of the first watermark, if there was none then.
    pub since: At,
    /// What both versions answered in the replay before it.
    pub replay: Evidence,
    /// What both versions answered in this stage or step.
    pub evidence: Evidence,
    /// What both versions answered in the whole trial, without the replay.
    pub total: Evidence,
    /// Why it does not go on, if so.
    pub held: Option<Held>,
    /// Budgets that a person has raised by going on although they were broken.
    pub accepted: BTreeMap<Budget, f64>,
    /// Whether nothing is open under the version before any more.
    pub drained: bool,
}

/// A version that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which, if it could be read.
    pub version: Option<Version>,
    /// At which stage.
    pub stage: Stage,
    /// Why, for a person.
    pub why: String,
    /// Where in the log.
    pub at: At,
}

/// What happened to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The version was in force when the host started.
    Known,
    /// Its trial began.
    Begun,
    /// Its answers count for this share of the record keys, in parts per million.
    Share(u32),
    /// Its trial was held.
    Held,
    /// Its trial goes on.
    Resumed,
    /// All steps are done; what is open under the version before is waited for.
    Draining,
    /// It is in force.
    Promoted,
    /// It was given up.
    RolledBack,
    /// It was put in force at once, without a trial.
    Swapped,
    /// It was not taken.
    Refused,
}

/// One entry of the history of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What happened.
    pub what: What,
    /// To which version, if it could be read.
    pub version: Option<Version>,
    /// The person who did it; `None`: the host by itself.
    pub by: Option<String>,
    /// Why.
    pub why: String,
    /// Where in the log.
    pub at: At,
}

/// A version that was rolled back: it is not tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barred {
    /// The digest of the version.
    pub digest: String,
    /// Why it was rolled back.
    pub why: String,
}

/// What is known of a slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// The version in force.
    pub stable: Option<Version>,
    /// The version that was in force before and did well; that in force itself, after a rollback to it.
    pub last_good: Option<Version>,
    /// The version that is tried.
    pub trial: Option<Trial>,
    /// Versions that were rolled back, oldest first.
    pub barred: VecDeque<Barred>,
    /// The last refusals, oldest first.
    pub refusals: VecDeque<Refusal>,
    /// What happened, oldest first.
    pub history: VecDeque<Record>,
}

impl SlotKind {
    /// `mapper` or `suppressor`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapper => "mapper",
            Self::Suppressor => "suppressor",
        }
    }
}

impl SlotId {
    /// The slot of the mapper of a signal type.
    pub fn mapper(signal: &str) -> Self {
        Self { signal: signal.to_owned(), kind: SlotKind::Mapper }
    }

    /// The slot of the suppressor of a signal type.
    pub fn suppressor(signal: &str) -> Self {
        Self { signal: signal.to_owned(), kind: SlotKind::Suppressor }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.signal, self.kind.name())
    }
}

/// A text that names no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a slot such as `net.link/mapper` or `net.link/suppressor`, got `{0}`")]
pub struct NoSlot(String);

impl FromStr for SlotId {
    type Err = NoSlot;

    fn from_str(text: &str) -> Result<Self, NoSlot> {
        match text.rsplit_once('/') {
            Some((signal, "mapper")) if !signal.is_empty() => Ok(Self::mapper(signal)),
            Some((signal, "suppressor")) if !signal.is_empty() => Ok(Self::suppressor(signal)),
            _ => Err(NoSlot(text.to_owned())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.digest.chars().take(12).collect();
        write!(f, "{} {} ({short})", self.name, self.version)
    }
}

impl Stage {
    /// Its name, as people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Contract => "contract",
            Self::Compile => "compile",
            Self::Cases => "cases",
            Self::Purity => "purity",
            Self::Schema => "schema",
            Self::Replay => "replay",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Draining => "draining",
            Self::Stable => "stable",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl At {
    /// How long after `earlier` this is in event time; `None` if either has none.
    pub fn after_us(self, earlier: At) -> Option<i64> {
        let known = self.time_us != i64::MIN && earlier.time_us != i64::MIN;
        known.then(|| self.time_us.saturating_sub(earlier.time_us))
    }
}

impl Slot {
    /// Why a version with this digest is not tried by itself, if so.
    pub fn barred(&self, digest: &str) -> Option<&Barred> {
        self.barred.iter().find(|barred| barred.digest == digest)
    }
}

/// Adds to the end; at the bound the oldest leaves.
pub(crate) fn push_bounded<T>(queue: &mut VecDeque<T>, max: usize, item: T) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}
