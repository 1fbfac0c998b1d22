//! The smallest program that compiles rules for a host; the tests call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1) {
        Some(order) => stillhouse_rules::compile_apart(&order),
        None => {
            eprintln!("called by the tests of this crate");
            ExitCode::FAILURE
        }
    }
}
