//! What happens to a slot, and what is decided about it.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::slot::{At, SlotId, Stage, Version};

/// A fact, as the log has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A version is in force when the host starts.
    Known {
        /// The slot.
        slot: SlotId,
        /// The version.
        version: Version,
        /// Where in the log.
        at: At,
    },
    /// A version has passed all stages up to the replay, and may be tried.
    Offered {
        /// The slot.
        slot: SlotId,
        /// The version.
        version: Version,
        /// With which record keys are hashed, if it is tried.
        salt: u64,
        /// What both versions answered to the newest recorded signals.
        replay: Evidence,
        /// The person who staged it, which lets a version be tried again that was rolled back; `None`
        /// if it was found in the rules folder.
        by: Option<String>,
        /// Where in the log.
        at: At,
    },
    /// A version did not pass a stage.
    Refused {
        /// The slot.
        slot: SlotId,
        /// The version, if it could be read.
        version: Option<Version>,
        /// Which stage.
        stage: Stage,
        /// Why, for a person.
        why: String,
        /// Where in the log.
        at: At,
    },
    /// What both versions answered since the last of these. Without rows it lets time pass, which ends
    /// a step that waits for its time and a draining that waits for its end.
    Seen {
        /// The slot.
        slot: SlotId,
        /// What is new.
        evidence: Evidence,
        /// Where in the log.
        at: At,
    },
    /// A person wants something.
    Command {
        /// The slot.
        slot: SlotId,
        /// What.
        command: Command,
        /// Who.
        by: String,
        /// Why.
        why: String,
        /// Where in the log.
        at: At,
    },
    /// Nothing is open any more under the version that was in force before.
    Drained {
        /// The slot.
        slot: SlotId,
        /// Where in the log.
        at: At,
    },
}

impl Event {
    /// The slot that it is about.
    pub fn slot(&self) -> &SlotId {
        match self {
            Self::Known { slot, .. }
            | Self::Offered { slot, .. }
            | Self::Refused { slot, .. }
            | Self::Seen { slot, .. }
            | Self::Command { slot, .. }
            | Self::Drained { slot, .. } => slot,
        }
    }

    /// Where it is in the log.
    pub fn at(&self) -> At {
        match self {
            Self::Known { at, .. }
            | Self::Offered { at, .. }
            | Self::Refused { at, .. }
            | Self::Seen { at, .. }
            | Self::Command { at, .. }
            | Self::Drained { at, .. } => *at,
        }
    }
}

/// What a person can want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// To the next step now. Lifts a hold, and accepts the budgets that are broken, up to twice of what
    /// was measured.
    Advance,
    /// Not to the next step until somebody says so.
    Hold,
    /// In force: after all steps, or at any moment.
    Promote {
        /// Before all steps are done.
        force: bool,
    },
    /// Gives the candidate up; without one, goes back to the version that was in force before.
    Rollback {
        /// Whether what it touched is distilled again; as the policy says unless given.
        retroactive: Option<bool>,
    },
}

/// What the driver does now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decision {
    /// The trial of a version begins.
    Begin {
        /// The slot.
        slot: SlotId,
        /// The version.
        version: Version,
        /// With which record keys are hashed.
        salt: u64,
        /// For which share of them its answers count, in parts per million; 0 is shadow.
        share_ppm: u32,
    },
    /// The candidate's answers count for this share from now on.
    Share {
        /// The slot.
        slot: SlotId,
        /// In parts per million.
        share_ppm: u32,
    },
    /// The trial stays where it is.
    Hold {
        /// The slot.
        slot: SlotId,
        /// Why, for a person.
        why: String,
    },
    /// The trial goes on.
    Resume {
        /// The slot.
        slot: SlotId,
    },
    /// The candidate is in force for all, and the version that was is the last good one.
    Promote {
        /// The slot.
        slot: SlotId,
    },
    /// The candidate is given up.
    RollBack {
        /// The slot.
        slot: SlotId,
        /// Why, for a person.
        why: String,
        /// Whether the entities that it touched are distilled again.
        retroactive: bool,
    },
    /// A version is in force at once and for all, without a trial.
    Swap {
        /// The slot.
        slot: SlotId,
        /// The version.
        version: Version,
    },
    /// A version is not tried.
    Refuse {
        /// The slot.
        slot: SlotId,
        /// The version.
        version: Version,
        /// At which stage.
        stage: Stage,
        /// Why, for a person.
        why: String,
    },
}

impl Decision {
    /// The slot that it is about.
    pub fn slot(&self) -> &SlotId {
        match self {
            Self::Begin { slot, .. }
            | Self::Share { slot, .. }
            | Self::Hold { slot, .. }
            | Self::Resume { slot }
            | Self::Promote { slot }
            | Self::RollBack { slot, .. }
            | Self::Swap { slot, .. }
            | Self::Refuse { slot, .. } => slot,
        }
    }
}

/// A command that makes no sense now, in a sentence for the person who gave it. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);
