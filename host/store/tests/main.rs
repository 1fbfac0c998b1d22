//! Tests of the store through its front door.

mod basics;
mod committer;
mod crash;
mod refusals;
mod scenario;
