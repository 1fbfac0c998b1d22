//! What went wrong in a call of a rule, in words that name the limit.

use wasmtime::Trap;

use crate::guest::{GrowthDenied, HostState};
use crate::limits::{Limits, cut, grouped, size};

/// The kind of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// More instructions than its fuel allows.
    OutOfFuel,
    /// More wall-clock time than its deadline allows. The only kind that
    /// another run may see otherwise: whoever replays must record it.
    Deadline,
    /// More memory or larger tables than allowed.
    Memory,
    /// Recursion too deep.
    StackOverflow,
    /// The rule panicked and said so.
    Panic,
    /// Any other trap.
    Trap,
    /// The answer as a whole is not sound: lengths, offsets, UTF-8, size.
    BadAnswer,
    /// The answer for one row is out of its bounds.
    BadRow,
    /// The host could not give the rule an instance; not the rule's fault.
    Host,
}

/// What happened in a call of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which kind.
    pub kind: FailureKind,
    /// What happened and which limit with its value; at most 512 bytes.
    pub text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A failure's text, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The budget that a failed call had.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    pub fuel: u64,
    pub deadline_ms: u64,
    /// What the answer may take on the host.
    pub answer_bytes: usize,
    /// The rows that were asked; `None` where it was not about rows.
    pub rows: Option<u32>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl AsRef<str>) -> Self {
        Self { kind, text: cut(text.as_ref(), TEXT_BYTES_MAX).to_owned() }
    }

    /// The row was left out: see [`crate::MapperInstance::give_up_after`].
    pub(crate) fn not_asked() -> Self {
        Self::new(FailureKind::Host, "not asked: too many rows before it failed")
    }

    pub(crate) fn bad_answer(text: impl std::fmt::Display) -> Self {
        Self::new(FailureKind::BadAnswer, format!("bad answer: {text}"))
    }

    /// Reads what wasmtime and the instance's own state tell of a failed call.
    pub(crate) fn of_call(error: &wasmtime::Error, state: &HostState, limits: &Limits, budget: Budget) -> Self {
        if let Some(denied) = error.downcast_ref::<GrowthDenied>() {
            return Self::new(FailureKind::Memory, denied.to_string());
        }
        let Some(trap) = error.downcast_ref::<Trap>() else {
            return Self::of_host_error(error, budget);
        };
        let (kind, text) = match trap {
            Trap::OutOfFuel => {
                let what = match budget.rows {
                    Some(1) => " for 1 row".to_owned(),
                    Some(rows) => format!(" for {rows} rows"),
                    None => String::new(),
                };
                let text = format!("out of fuel: more than {} units{what}", grouped(budget.fuel));
                (FailureKind::OutOfFuel, text)
            }
            Trap::Interrupt => {
                let text = format!("deadline {} ms", grouped(budget.deadline_ms));
                (FailureKind::Deadline, text)
            }
            Trap::StackOverflow => {
                let text = format!("stack overflow: limit {}", size(limits.stack_bytes_max));
                (FailureKind::StackOverflow, text)
            }
            trap => match &state.fatal {
                Some(words) => (FailureKind::Panic, words.clone()),
                None => {
                    let text = trap.to_string();
                    let text = text.strip_prefix("wasm trap: ").unwrap_or(&text);
                    let hint = match trap {
                        Trap::MemoryOutOfBounds => " (deep recursion ends so too)",
                        _ => "",
                    };
                    (FailureKind::Trap, format!("trap: {text}{hint}"))
                }
            },
        };
        Self::new(kind, text)
    }

    /// Not a trap: the answer could not be read, or no instance could be made.
    fn of_host_error(error: &wasmtime::Error, budget: Budget) -> Self {
        let root = error.root_cause().to_string();
        if root.contains("too much data is being copied") {
            let limit = size(budget.answer_bytes);
            return Self::new(FailureKind::BadAnswer, format!("answer too large: limit {limit}"));
        }
        if root.contains("maximum concurrent") {
            return Self::new(FailureKind::Host, format!("no instance to be had: {root}"));
        }
        Self::bad_answer(root)
    }
}
