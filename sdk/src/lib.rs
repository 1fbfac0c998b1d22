//! Write Stillhouse rules.
//!
//! A mapper is one struct of the fields it reads, one enum of the canonical states, one function
//! from the struct to an observation, one list of cases, and one macro:
//!
//! ```
//! use stillhouse_sdk::prelude::*;
//!
//! #[derive(Signal)]
//! struct Probe<'a> {
//!     pod: &'a str,               // reads `data.pod`; a signal without it is rejected
//!     #[field("data.status")]
//!     status: Option<&'a str>,    // may be absent
//! }
//!
//! #[derive(States, Clone, Copy)]
//! enum Readiness {
//!     #[healthy] Ready,
//!     #[problem] NotReady,
//! }
//!
//! fn map(probe: Probe<'_>) -> Mapped<'_, Readiness> {
//!     match probe.status {
//!         Some("ready") => observe(Readiness::Ready, probe.pod),
//!         Some("") => observe(Readiness::NotReady, probe.pod),
//!         _ => dropped("not a readiness probe"),
//!     }
//! }
//!
//! fn cases() -> Vec<Case> {
//!     let of = |status| [("data.pod", "shop/cart-1"), ("data.status", status)];
//!     vec![
//!         case("a pod becomes ready", &of("ready")).observes("ready", "shop/cart-1"),
//!         case("a pod is no longer ready", &of("")).observes("not-ready", "shop/cart-1"),
//!     ]
//! }
//!
//! mapper! { name: "probe", version: "0.1.0", schema: 1, states: Readiness, map: map, cases: cases }
//! # fn main() { stillhouse_sdk::testing::check_mapper::<Rule>() }
//! ```
//!
//! The same source compiles natively, where `cargo test` runs the cases with no host and no
//! WebAssembly, and for `wasm32-unknown-unknown`, where it becomes a rule. An answer may depend on
//! the row and the settings only: keep no state between rows. A suppressor that must remember keeps
//! a [`memo`].

pub mod answer;
pub mod cases;
pub mod judging;
pub mod mapping;
pub mod memo;
mod rule_macros;
pub mod signal;
pub mod testing;
pub mod text;

/// The contract as Rust types, generated from `wit/v0.2`.
pub mod bindings {
    // The generated code is not ours to document or to lint.
    #[allow(missing_docs, clippy::all)]
    pub mod mapper {
        wit_bindgen::generate!({
            path: "../wit/v0.2",
            world: "mapper",
            pub_export_macro: true,
            export_macro_name: "export_mapper",
            default_bindings_module: "stillhouse_sdk::bindings::mapper",
        });
    }
    #[allow(missing_docs, clippy::all)]
    pub mod suppressor {
        wit_bindgen::generate!({
            path: "../wit/v0.2",
            world: "suppressor",
            pub_export_macro: true,
            export_macro_name: "export_suppressor",
            default_bindings_module: "stillhouse_sdk::bindings::suppressor",
            with: {
                "stillhouse:rules/columns@0.2.0": crate::bindings::mapper::stillhouse::rules::columns,
                "stillhouse:rules/declaration@0.2.0": crate::bindings::mapper::stillhouse::rules::declaration,
                "stillhouse:rules/log@0.2.0": crate::bindings::mapper::stillhouse::rules::log,
            },
        });
    }
}

pub use bindings::mapper::stillhouse::rules::{columns, declaration};

/// All that a rule needs.
pub mod prelude {
    pub use crate::answer::{
        Condition, Mapped, Severity, States, Verdict, delay, dropped, emit, escalate, observe, rejected, suppress,
    };
    pub use crate::cases::{Case, JudgeCase, case, judge_case};
    pub use crate::memo::Memo;
    pub use crate::signal::{Settings, Signal};
    pub use crate::text::Searcher;
    pub use crate::{mapper, suppressor};
    pub use stillhouse_sdk_derive::{Candidate, Memo, Signal, States};
}

/// Writes one line to the host's log. Bounded by the host; never affects an answer; natively it
/// goes to standard error.
pub fn log(message: &str) {
    #[cfg(target_arch = "wasm32")]
    bindings::mapper::stillhouse::rules::log::log(bindings::mapper::stillhouse::rules::log::Level::Info, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{message}");
}

/// Makes a panic tell the host its message and line before it traps. Called by the macros.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub fn tell_panics() {
    use bindings::mapper::stillhouse::rules::log::{Level, log};
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| log(Level::Fatal, &panic.to_string()))));
}
