//! The contract as Rust types: generated from `wit/v0.1`, never edited.
#![allow(dead_code, missing_docs, clippy::all)]

pub mod mapper {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "mapper",
        ownership: Owning,
    });
}

pub mod suppressor {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "suppressor",
        ownership: Owning,
        with: {
            "stillhouse:rules/columns@0.1.0": super::mapper::stillhouse::rules::columns,
            "stillhouse:rules/declaration@0.1.0": super::mapper::stillhouse::rules::declaration,
            "stillhouse:rules/log@0.1.0": super::mapper::stillhouse::rules::log,
        },
    });
}

pub use mapper::exports::stillhouse::rules::mapper_rule;
pub use mapper::stillhouse::rules::{columns, declaration, log};
pub use suppressor::exports::stillhouse::rules::suppressor_rule;
