//! Which version of a rule counts for whom: a fold over the log.
//!
//! The driver writes each [`Event`] (what happened) to the log and carries out the [`Decision`]s that
//! [`Registry::apply`] makes of it at that position. A replay folds the same events and comes to the
//! same decisions: there is no clock here, no I/O, no chance, and no float operation but those that
//! IEEE 754 makes the same everywhere.
//!
//! In reading order: [`slot`] (what is known of a slot) → [`event`] (what happens, what is decided) →
//! [`evidence`] (what both versions answered) → [`policy`] (steps and budgets) → [`analysis`] (evidence
//! against budgets, by [`interval`]) → [`registry`].
//!
//! The way of a version: offered → shadow (share 0: it is asked, and changes nothing) → canary (its
//! answers count for a share of the record keys, step by step) → draining (they count for all, but
//! what is open under the old version) → in force. Both versions are asked about every signal
//! throughout, so that evidence compares them on the same signals at the same time.

pub mod analysis;
pub mod event;
pub mod evidence;
pub mod interval;
pub mod policy;
pub mod registry;
pub mod slot;
mod turn;
pub mod words;

pub use event::{Command, Decision, Event, NotNow};
pub use evidence::{Counts, Difference, Evidence};
pub use policy::{Budget, Least, Limit, Policy, Strategy, Then};
pub use registry::Registry;
pub use slot::{At, Held, HeldBy, Record, Refusal, Slot, SlotId, SlotKind, Stage, Trial, Version, What};
