//! Delivery, as the program and the sinks meet it.

mod chance;
mod courier;
mod courier_files;
mod fake_outbox;
mod fake_sink;
mod http;
mod http_tls;
mod intake;
mod lines;
mod model;
mod model_compared;
mod simulation;
