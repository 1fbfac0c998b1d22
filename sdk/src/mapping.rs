//! The mapper side of the contract: batches in, observations out.

use crate::answer::{Condition, Key, Mapped, States};
use crate::bindings::mapper::exports::stillhouse::rules::mapper_rule::{Manifest, Observations};
use crate::cases::Case;
use crate::columns::{Batch, Dict, Text};
use crate::declaration::{Field, Identity, State};
use crate::signal::{Settings, Signal};

/// What `mapper!` makes of a rule; natively it can be called without a host.
pub trait MapperRule {
    /// What the user may set.
    type Settings: Settings;

    /// The rule's declaration.
    fn manifest() -> Manifest;

    /// Answers each row of `batch`.
    fn map(settings: &Self::Settings, batch: &Batch) -> Observations;
}

/// Puts a declaration together. Called by `mapper!`.
#[doc(hidden)]
pub fn manifest<'b, S: Signal<'b>, T: States>(name: &str, version: &str, schema: u32, cases: Vec<Case>) -> Manifest {
    let cases = cases.into_iter().map(|case| with_default_severity::<T>(case.0)).collect();
    Manifest {
        identity: identity::<S>(name, version),
        schema,
        states: T::ALL.iter().map(|&(name, condition)| State { name: name.to_owned(), condition }).collect(),
        cases,
    }
}

type WitCase = crate::bindings::mapper::exports::stillhouse::rules::mapper_rule::MapperCase;

fn with_default_severity<T: States>(mut case: WitCase) -> WitCase {
    if case.expected.severity == u8::MAX {
        let problem = T::ALL.iter().any(|&(name, c)| name == case.expected.state && c == Condition::Problem);
        case.expected.severity = u8::from(problem);
    }
    case
}

pub(crate) fn identity<'b, S: Signal<'b>>(name: &str, version: &str) -> Identity {
    let fields = S::FIELDS.iter().map(|&(path, kind)| Field { path: path.to_owned(), kind }).collect();
    Identity { name: name.to_owned(), version: version.to_owned(), fields }
}

/// Reads the rows of `batch`, asks `rule` for each, and writes the answers as columns.
pub fn map_rows<'b, S: Signal<'b>, T: States>(batch: &'b Batch, rule: impl Fn(S) -> Mapped<'b, T>) -> Observations {
    let rows = batch.rows as usize;
    let readers = S::readers(batch);
    let mut out = Answers::with_capacity(rows);
    for row in 0..rows {
        match S::read(&readers, row) {
            Ok(signal) => out.push(row, rule(signal)),
            Err(path) => out.push(row, Mapped::<T>::Rejected(format!("missing {path}").into())),
        }
    }
    out.finish()
}

/// The answers so far. `value` and `reason` stay empty until a row needs one.
struct Answers {
    rows: usize,
    out: Observations,
    reasons: Reasons,
}

impl Answers {
    fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            rows,
            out: Observations {
                outcome: Vec::with_capacity(rows),
                state: Vec::with_capacity(rows),
                severity: Vec::with_capacity(rows),
                key: Text { offsets, data: Vec::with_capacity(rows * 24) },
                value: Text { offsets: Vec::new(), data: Vec::new() },
                reason: Dict { codes: Vec::new(), entries: Text { offsets: Vec::new(), data: Vec::new() } },
            },
            reasons: Reasons::default(),
        }
    }

    #[inline]
    fn push<T: States>(&mut self, row: usize, mapped: Mapped<'_, T>) {
        let (outcome, state, severity) = match mapped {
            Mapped::Observed { state, key, severity, value } => {
                push_key(&mut self.out.key.data, &key);
                if !value.is_empty() {
                    start_text(&mut self.out.value, row, self.rows);
                    self.out.value.data.extend_from_slice(value.as_bytes());
                }
                (0, state.code(), severity as u8)
            }
            Mapped::Dropped(reason) => {
                self.reasons.set(row, self.rows, &reason);
                (1, 0, 0)
            }
            Mapped::Rejected(reason) => {
                self.reasons.set(row, self.rows, &reason);
                (2, 0, 0)
            }
        };
        self.out.outcome.push(outcome);
        self.out.state.push(state);
        self.out.severity.push(severity);
        self.out.key.offsets.push(self.out.key.data.len() as u32);
        if !self.out.value.offsets.is_empty() {
            self.out.value.offsets.push(self.out.value.data.len() as u32);
        }
    }

    fn finish(mut self) -> Observations {
        self.out.reason = self.reasons.finish();
        self.out
    }
}

/// Gives the rows before `row` empty text when the first row with a text comes.
fn start_text(text: &mut Text, row: usize, rows: usize) {
    if text.offsets.is_empty() {
        text.offsets.reserve(rows + 1);
        text.offsets.resize(row + 1, 0);
    }
}

#[inline]
fn push_key(data: &mut Vec<u8>, key: &Key<'_>) {
    match key {
        Key::Owned(text) => data.extend_from_slice(text.as_bytes()),
        Key::Parts(parts, count) => {
            for (index, part) in parts[..*count].iter().enumerate() {
                if index > 0 {
                    data.push(b'/');
                }
                push_short(data, part.as_bytes());
            }
        }
    }
}

/// Appends a short text. In WebAssembly a copy of any length is a call out of the rule, and a loop
/// is metered at each turn; two words of fixed size, which may overlap, are neither.
#[inline]
fn push_short(data: &mut Vec<u8>, text: &[u8]) {
    match text {
        _ if !cfg!(target_arch = "wasm32") => data.extend_from_slice(text),
        [] => {}
        [a] => data.push(*a),
        [a, b] => data.extend_from_slice(&[*a, *b]),
        [a, b, c] => data.extend_from_slice(&[*a, *b, *c]),
        _ if text.len() < 8 => push_ends::<4>(data, text),
        _ if text.len() <= 16 => push_ends::<8>(data, text),
        _ if text.len() <= 32 => push_ends::<16>(data, text),
        _ => data.extend_from_slice(text),
    }
}

/// Appends a text of `N` to `2 * N` bytes as its first and its last `N`.
#[inline]
fn push_ends<const N: usize>(data: &mut Vec<u8>, text: &[u8]) {
    if let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) {
        let end = data.len() + text.len();
        data.extend_from_slice(first);
        data.truncate(end - N);
        data.extend_from_slice(last);
    }
}

/// Reasons as codes into the few distinct ones of this batch.
#[derive(Default)]
pub(crate) struct Reasons {
    codes: Vec<u32>,
    entries: Vec<String>,
    last: usize,
}

impl Reasons {
    /// The host's bound on distinct reasons in one batch; what is beyond shares the last.
    const ENTRIES_MAX: usize = 256;

    pub(crate) fn set(&mut self, row: usize, rows: usize, reason: &str) {
        if self.codes.is_empty() {
            self.codes.resize(rows, 0);
        }
        if self.entries.get(self.last).is_none_or(|entry| entry != reason) {
            self.last = match self.entries.iter().position(|entry| entry == reason) {
                Some(index) => index,
                None if self.entries.len() == Self::ENTRIES_MAX => Self::ENTRIES_MAX - 1,
                None => {
                    self.entries.push(reason.to_owned());
                    self.entries.len() - 1
                }
            };
        }
        self.codes[row] = self.last as u32;
    }

    pub(crate) fn finish(self) -> Dict {
        let mut entries = Text { offsets: Vec::new(), data: Vec::new() };
        if !self.entries.is_empty() {
            entries.offsets.push(0);
        }
        for entry in &self.entries {
            entries.data.extend_from_slice(entry.as_bytes());
            entries.offsets.push(entries.data.len() as u32);
        }
        Dict { codes: self.codes, entries }
    }
}
