//! The contract as Rust types: generated from `wit`, never edited. What both versions of the
//! contract say in the same words is one type here.
#![allow(dead_code, missing_docs, clippy::all)]

pub mod mapper {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.2",
        world: "mapper",
        ownership: Owning,
    });
}

pub mod suppressor {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.2",
        world: "suppressor",
        ownership: Owning,
        with: {
            "stillhouse:rules/columns@0.2.0": super::mapper::stillhouse::rules::columns,
            "stillhouse:rules/declaration@0.2.0": super::mapper::stillhouse::rules::declaration,
            "stillhouse:rules/log@0.2.0": super::mapper::stillhouse::rules::log,
        },
    });
}

/// Version 0.1; only `old.rs` looks at it.
pub mod v0_1 {
    pub mod mapper {
        wasmtime::component::bindgen!({
            path: "../../wit/v0.1",
            world: "mapper",
            ownership: Owning,
            with: {
                "stillhouse:rules/columns@0.1.0": crate::bindings::columns,
                "stillhouse:rules/declaration@0.1.0": crate::bindings::declaration,
                "stillhouse:rules/log@0.1.0": crate::bindings::log,
            },
        });
    }

    pub mod suppressor {
        wasmtime::component::bindgen!({
            path: "../../wit/v0.1",
            world: "suppressor",
            ownership: Owning,
            with: {
                "stillhouse:rules/columns@0.1.0": crate::bindings::columns,
                "stillhouse:rules/declaration@0.1.0": crate::bindings::declaration,
                "stillhouse:rules/log@0.1.0": crate::bindings::log,
            },
        });
    }
}

pub use mapper::exports::stillhouse::rules::mapper_rule;
pub use mapper::stillhouse::rules::{columns, declaration, log};
pub use suppressor::exports::stillhouse::rules::suppressor_rule;
