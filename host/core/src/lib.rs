//! The distillation core: a pure, synchronous function from (state, entry of the log) to (state,
//! distilled events).
//!
//! It reads no clock, does no I/O, knows nothing of WebAssembly, files or threads, and iterates
//! over no hash map. Same log, same bytes: for any number of shards, any batch boundaries, and any
//! order of arrival within the allowed lateness.
//!
//! The way of a signal: [`block`] (mapped, in log order) → [`sequencer`] (duplicates by id, late,
//! watermark) → [`shard`] ([`order`], then per entity [`dedupe`], [`evidence`], [`flapping`],
//! hold-down and hold-open in [`entity`], or [`window`]) → candidates → [`gate`] (suppression, in total order) → [`event`].
//! [`reconcile`] compares entities with what a snapshot says.
//! [`step`] puts them together; [`ledger`] proves that no signal is lost.

pub mod block;
pub mod columns;
pub mod dedupe;
pub mod derive;
pub mod entity;
pub mod event;
pub mod evidence;
pub mod flapping;
pub mod gate;
mod last_seen;
pub mod leap;
pub mod ledger;
pub mod level;
pub mod order;
pub mod past;
pub mod plan;
pub mod reconcile;
pub mod rule;
pub mod saved;
pub mod sequencer;
pub mod shard;
pub mod slab;
pub mod step;
pub mod table;
pub mod timers;
pub mod trial;
pub mod window;

pub use block::{Block, Row, Span};
pub use event::Event;
pub use ledger::Ledger;
pub use plan::Plan;
pub use saved::{Checkpoint, Slice};
pub use step::{Change, Core, Entry};
