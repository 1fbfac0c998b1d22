//! All slots: events in, decisions out.

use std::collections::BTreeMap;

use crate::analysis;
use crate::event::{Decision, Event, NotNow};
use crate::policy::Policy;
use crate::slot::{At, Slot, SlotId};
use crate::turn::Turn;

/// The versions of all slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registry {
    policies: BTreeMap<SlotId, Policy>,
    slots: BTreeMap<SlotId, Slot>,
    default: Policy,
}

impl Registry {
    /// No versions yet. A slot without a policy has the default.
    pub fn new(policies: BTreeMap<SlotId, Policy>) -> Self {
        Self { policies, ..Self::default() }
    }

    /// Goes on with the slots of a registry that was saved.
    pub fn going_on(policies: BTreeMap<SlotId, Policy>, slots: impl IntoIterator<Item = (SlotId, Slot)>) -> Self {
        Self { slots: slots.into_iter().collect(), ..Self::new(policies) }
    }

    /// Takes in what happened, in log order, and says what to do now, in order.
    ///
    /// # Errors
    /// A command that makes no sense now. Nothing has changed then; it need not be in the log.
    pub fn apply(&mut self, event: &Event) -> Result<Vec<Decision>, NotNow> {
        let (id, policy) = (event.slot(), self.policies.get(event.slot()).unwrap_or(&self.default));
        if let Some(slot) = self.slots.get_mut(id) {
            return Turn::new(id, policy, slot, event.at()).take(event);
        }
        if let Event::Command { .. } = event {
            let known: Vec<String> = self.slots.keys().map(|id| format!("`{id}`")).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(NotNow(format!("there is no slot `{id}`; there is {known}")));
        }
        let mut slot = Slot::default();
        let decisions = Turn::new(id, policy, &mut slot, event.at()).take(event)?;
        if slot != Slot::default() {
            self.slots.insert(id.clone(), slot);
        }
        Ok(decisions)
    }

    /// What is known of a slot.
    pub fn slot(&self, id: &SlotId) -> Option<&Slot> {
        self.slots.get(id)
    }

    /// All slots of which anything is known, in order.
    pub fn slots(&self) -> impl Iterator<Item = (&SlotId, &Slot)> {
        self.slots.iter()
    }

    /// How versions of a slot are tried.
    pub fn policy(&self, id: &SlotId) -> &Policy {
        self.policies.get(id).unwrap_or(&self.default)
    }

    /// For what the trial of a slot waits at `at`, for a person; `None` without a trial, while it is
    /// held, and when only the next event is missing.
    pub fn waits(&self, id: &SlotId, at: At) -> Option<String> {
        let trial = self.slots.get(id)?.trial.as_ref().filter(|trial| trial.held.is_none())?;
        analysis::waits(trial, self.policy(id), at)
    }
}
