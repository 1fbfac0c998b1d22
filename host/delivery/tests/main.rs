//! Delivery, as the program and the sinks meet it.

mod chance;
mod model;
mod model_compared;
mod simulation;
