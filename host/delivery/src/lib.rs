//! How distilled events leave, at least once and in order per record key; and how signals are posted, and
//! answered when they are kept.
//!
//! Events wait in an outbox, a dense sequence of positions that somebody else keeps. This crate knows
//! positions, record keys and the bytes of an event; it knows nothing of the core, of the store, nor of
//! configuration files.
//!
//! What is decided is pure and has time as a parameter: [`policy`] (how often, how long) → [`cursor`]
//! (what is settled) → [`breaker`] (whether the sink is spoken to at all) → [`delivery`] (what is sent
//! next). [`sender`] hands events to sinks, [`courier`] drives the two, [`metrics`] tells of it.
//! [`intake`] is the other end.

pub mod breaker;
mod certificates;
pub mod courier;
pub mod cursor;
pub mod delivery;
pub mod intake;
pub mod metrics;
pub mod policy;
pub mod sender;

pub use breaker::BreakerState;
pub use cursor::Cursor;
pub use delivery::{Dead, Delivery, Next, Outcome, Status};
pub use policy::Policy;
