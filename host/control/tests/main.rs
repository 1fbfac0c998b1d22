//! The control API as its callers meet it: over sockets, with a host that does what it is told.

mod access;
mod audit;
mod bounds;
mod client;
mod fake;
mod listening;
mod openapi;
mod place;
mod socket;
mod tls;
