//! What is asked of the versions of rules, by the watched folder and by people.

use std::sync::Arc;

use stillhouse_rollout::{Command, SlotId};

use crate::rules::watch::Change;

/// What somebody wants of the versions.
#[derive(Debug)]
pub enum Ask {
    /// A file was found in the rules folder.
    Found {
        /// The name of the rule, as configurations say it.
        name: String,
        /// The file.
        bytes: Arc<[u8]>,
        /// What stands in the signature beside it.
        signature: Option<String>,
    },
    /// A file in the rules folder is none that could be a rule.
    Unfit {
        /// The name of the rule.
        name: String,
        /// Why.
        why: String,
    },
    /// Somebody stages a version.
    Stage {
        /// The slot.
        slot: SlotId,
        /// The file.
        bytes: Arc<[u8]>,
        /// Its signature.
        signature: Option<String>,
        /// Who.
        by: String,
        /// Why.
        why: String,
        /// Who is told whether it was taken up.
        reply: Reply,
    },
    /// Nothing: a version has been checked.
    Wake,
    /// Somebody steers a trial.
    Command {
        /// The slot.
        slot: SlotId,
        /// What.
        command: Command,
        /// Who.
        by: String,
        /// Why.
        why: String,
        /// Who is told whether it was done.
        reply: Reply,
    },
}

impl Ask {
    /// What a change in the rules folder asks for. That a file is gone asks for nothing: what runs stays.
    pub fn of(change: Change) -> Option<Self> {
        match change {
            Change::Found { name, bytes, signature, .. } => Some(Self::Found { name, bytes, signature }),
            Change::Refused { name, why, .. } => Some(Self::Unfit { name, why }),
            Change::Gone { name, .. } => {
                tracing::info!(rule = name, "its file is gone from the rules folder; the version in force stays");
                None
            }
        }
    }
}

/// Told once what somebody wants is in the log, or why it is not done.
pub struct Reply(pub Option<Tell>);

/// Takes what came of it, or why nothing did.
pub type Tell = Box<dyn FnOnce(Result<String, String>) + Send>;

impl Reply {
    /// Nobody waits for it.
    pub fn nobody() -> Self {
        Self(None)
    }

    pub(super) fn send(self, result: Result<String, String>) {
        if let Some(tell) = self.0 {
            tell(result);
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}
