//! Tests of the store through its front door.

mod basics;
mod committer;
mod crash;
mod damage;
mod disk;
mod format;
mod refusals;
mod scenario;
