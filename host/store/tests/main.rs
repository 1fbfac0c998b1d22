//! Tests of the store through its front door.

mod basics;
mod refusals;
