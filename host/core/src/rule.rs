//! What the core knows of a rule: its declaration, its name, and how to ask it.
//!
//! The core does not know how a rule runs. Whoever drives the core maps each
//! block with the rules and gives the core a [`Judge`] for its candidates.

use crate::columns::{Batch, Blobs, Verdicts};
use crate::trial::Cohort;
use serde::{Deserialize, Serialize};

/// How a field crosses into a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// UTF-8.
    Text,
    /// A signed 64-bit integer.
    Int,
    /// A finite 64-bit float.
    Float,
    /// True or false.
    Bool,
}

/// A field that a rule reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// A path of the signal or a field of the candidate, as the contract lists them.
    pub path: String,
    /// How it crosses.
    pub kind: FieldKind,
}

/// What it means for an entity to be in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// As it should be; entering it waits for the hold-open.
    Healthy,
    /// Something is wrong; entering it waits for the hold-down.
    Problem,
    /// The entity is no more; nothing waits.
    Gone,
}

/// A canonical state; its code is its index in the declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The name that events show.
    pub name: String,
    /// What it means to be in it.
    pub condition: Condition,
}

/// One version of a rule, as provenance names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleId {
    /// The rule's name.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// SHA-256 of the file it was loaded from, in lower-case hexadecimal.
    pub digest: String,
}

/// The memory that a suppressor keeps of each entity; the host stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoPlan {
    /// The version of its layout.
    pub version: u32,
    /// What becomes of a memo that a rule with another version of it left.
    pub carry: Carry,
    /// The most bytes that it may have; a longer one is refused, and the verdict counts as failed.
    pub bytes_max: u32,
}

/// What becomes of a memo of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carry {
    /// It is handed on as it is.
    Keep,
    /// It is forgotten.
    Reset,
    /// The entities are named anew: all of them are forgotten, and so is what is open.
    Rekey,
}

/// Asks the suppressor of a signal type about candidates.
pub trait Judge {
    /// The fields that the suppressor of `signal_type` reads, or `None` where the type has none.
    fn fields(&self, signal_type: u16) -> Option<&[Field]>;

    /// One verdict for each row. Must answer the same for the same row, whatever stands beside it.
    /// `memos` has the memo of each row's entity where the suppressor keeps one, and is empty
    /// otherwise.
    fn judge(&mut self, signal_type: u16, candidates: Batch, memos: Blobs) -> Verdicts;

    /// The memory that the suppressor of `signal_type` keeps, if it does.
    fn memo(&self, _signal_type: u16) -> Option<MemoPlan> {
        None
    }

    /// Which version answers for `signal_type`.
    fn rule(&self, signal_type: u16) -> Option<&RuleId>;

    /// The version that is tried beside it, and for which record keys that one counts. Both are asked
    /// about every candidate.
    fn tried(&self, _signal_type: u16) -> Option<(Cohort, &dyn Judge)> {
        None
    }

    /// The version that is tried, to be asked.
    fn tried_mut(&mut self, _signal_type: u16) -> Option<&mut dyn Judge> {
        None
    }

    /// The versions change, as the log says.
    fn turn(&mut self, _signal_type: u16, _turn: &Turn) {}

    /// What both versions said of one candidate.
    fn compared(&mut self, _signal_type: u16, _both: &Compared<'_>) {}
}

/// How the versions of a suppressor change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another version is tried beside the one in force.
    Try(RuleId, Cohort),
    /// The tried version counts for this share of all record keys, in millionths.
    Share(u32),
    /// The tried version is in force, and the one before is asked no more.
    Promote,
    /// The tried version is asked no more. `retroactive`: what it alone has held back or let go is
    /// judged again by the version in force.
    Withdraw {
        /// The version.
        rule: RuleId,
        /// Whether the past is judged again.
        retroactive: bool,
    },
    /// Another version is in force at once.
    Swap(RuleId),
}

/// What two versions of a suppressor said of one candidate.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The record key.
    pub key: &'a str,
    /// Event time.
    pub time_us: i64,
    /// The type of the event that the candidate would be, and the state.
    pub what: (&'static str, &'a str),
    /// Whether the tried version counts for it.
    pub in_share: bool,
    /// What the version in force says, and whether it left another memo.
    pub stable: &'a Verdicts,
    /// What the tried one says.
    pub tried: &'a Verdicts,
}

/// No suppressor for any type: every candidate is emitted.
pub struct NoJudge;

impl Judge for NoJudge {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        None
    }
    fn judge(&mut self, _: u16, _: Batch, _: Blobs) -> Verdicts {
        Verdicts::default()
    }
    fn rule(&self, _: u16) -> Option<&RuleId> {
        None
    }
}
