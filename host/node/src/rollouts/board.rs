//! What is known of the slots, for whoever looks while the host runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use stillhouse_core::columns::outcome;
use stillhouse_core::event::severity_name;
use stillhouse_core::plan::TypePlan;
use stillhouse_core::trial::Answer;
use stillhouse_core::{Block, Ledger, Span};
use stillhouse_rollout::{At, Decision, Difference, Registry, Slot, SlotId};

use crate::pipeline::Compared;
use crate::rules::judge::Judged;

/// How many differing answers of one slot are kept. At the bound the oldest leaves.
const DIFFERS_MAX: usize = 200;

/// How much of a signal is shown, in bytes.
const SIGNAL_BYTES_MAX: usize = 512;

/// A signal or candidate that two versions answer differently.
#[derive(Clone, Debug)]
pub struct Differs {
    /// In what.
    pub difference: Difference,
    /// The log position of the signal; 0 for a candidate.
    pub position: u64,
    /// Event time; `i64::MIN` where there is none.
    pub time_us: i64,
    /// The record key, as the version in force has it.
    pub key: String,
    /// The signal as it came, or what would leave.
    pub signal: String,
    /// What the version in force says.
    pub old: String,
    /// What the tried one says.
    pub new: String,
}

/// A decision, and who brought it about.
#[derive(Clone, Debug)]
pub struct Told {
    /// What was decided.
    pub decision: Decision,
    /// Who wanted it, and why; `None`: the host by itself.
    pub by: Option<(String, String)>,
    /// Where in the log.
    pub at: At,
}

/// What is known of the slots.
#[derive(Default)]
pub struct Board(Mutex<Inner>);

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.slots()).finish()
    }
}

/// Writes metrics as Prometheus reads them.
type Measure = Box<dyn Fn() -> String + Send>;

type Listener = Box<dyn Fn(&Told) + Send>;

#[derive(Default)]
struct Inner {
    slots: BTreeMap<SlotId, Slot>,
    at: Option<At>,
    differs: BTreeMap<SlotId, VecDeque<Differs>>,
    decisions: BTreeMap<(SlotId, &'static str), u64>,
    ledger: Ledger,
    listener: Option<Listener>,
    measures: Vec<Measure>,
}

impl Board {
    /// `measure` is asked too when somebody measures the host.
    pub fn measure(&self, measure: impl Fn() -> String + Send + 'static) {
        self.with(|inner| inner.measures.push(Box::new(measure)));
    }

    /// What those say that measure beside it.
    pub fn measured(&self) -> String {
        self.with(|inner| inner.measures.iter().map(|measure| measure()).collect())
    }

    /// All slots as they are.
    pub fn slots(&self) -> BTreeMap<SlotId, Slot> {
        self.with(|inner| inner.slots.clone())
    }

    /// How far the log was when a slot changed last.
    pub fn at(&self) -> Option<At> {
        self.with(|inner| inner.at)
    }

    /// The newest differing answers of a slot, oldest first.
    pub fn differs(&self, slot: &SlotId) -> Vec<Differs> {
        self.with(|inner| inner.differs.get(slot).map(|differs| differs.iter().cloned().collect()).unwrap_or_default())
    }

    /// How often what was decided about each slot.
    pub fn decisions(&self) -> BTreeMap<(SlotId, &'static str), u64> {
        self.with(|inner| inner.decisions.clone())
    }

    /// The books, as they were after the last step of the core.
    pub fn ledger(&self) -> Ledger {
        self.with(|inner| inner.ledger)
    }

    /// Signals in the log, as far as the core has taken them in.
    pub fn position(&self) -> u64 {
        self.ledger().received
    }

    pub(crate) fn balance(&self, ledger: Ledger) {
        self.with(|inner| inner.ledger = ledger);
    }

    /// Every decision is told to `listener` from now on.
    pub fn listen(&self, listener: Listener) {
        self.with(|inner| inner.listener = Some(listener));
    }

    pub(super) fn differ(&self, slot: &SlotId, new: Vec<Differs>) {
        if new.is_empty() {
            return;
        }
        self.with(|inner| {
            let differs = inner.differs.entry(slot.clone()).or_default();
            differs.extend(new);
            let over = differs.len().saturating_sub(DIFFERS_MAX);
            differs.drain(..over);
        });
    }

    pub(super) fn decided(&self, decision: &Decision, by: Option<(&str, &str)>, at: At) {
        let by = by.map(|(by, why)| (by.to_owned(), why.to_owned()));
        let told = Told { decision: decision.clone(), by, at };
        self.with(|inner| {
            let counted = (decision.slot().clone(), super::words(decision));
            *inner.decisions.entry(counted).or_default() += 1;
            if let Decision::Begin { slot, .. } = decision {
                inner.differs.remove(slot);
            }
            if let Some(listener) = &inner.listener {
                listener(&told);
            }
        });
    }

    pub(super) fn show(&self, registry: &Registry, at: At) {
        self.with(|inner| {
            inner.slots = registry.slots().map(|(id, slot)| (id.clone(), slot.clone())).collect();
            inner.at = Some(at);
        });
    }

    fn with<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn of_judge(judged: Judged) -> Differs {
    let Judged { difference, time_us, key, what, old, new } = judged;
    Differs { difference, position: 0, time_us, key, signal: what, old, new }
}

pub(super) fn of_mapper(compared: &Compared, plan: &TypePlan) -> Vec<Differs> {
    let block = &*compared.block;
    let of = |sample: &crate::map::Sample| {
        let row = &block.rows[sample.row as usize];
        let named = if sample.old.outcome == outcome::OBSERVED { &sample.old } else { &sample.new };
        Differs {
            difference: sample.difference,
            position: block.position + u64::from(sample.row),
            time_us: row.time_us,
            key: block.text(named.key).to_owned(),
            signal: cut(block, row.raw),
            old: told(block, &sample.old, plan),
            new: told(block, &sample.new, plan),
        }
    };
    compared.samples.iter().map(of).collect()
}

fn cut(block: &Block, raw: Span) -> String {
    let text = block.raw(raw);
    let end = text.floor_char_boundary(SIGNAL_BYTES_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.into_owned() }
}

/// What a version says of a signal, for people.
fn told(block: &Block, answer: &Answer, plan: &TypePlan) -> String {
    match answer.outcome {
        outcome::OBSERVED => {
            let (state, severity) = (plan.state_name(answer.state), severity_name(answer.severity));
            let value = match block.text(answer.value) {
                "" => String::new(),
                value => format!(" ({value})"),
            };
            format!("{} is {state}{value}, {severity}", block.text(answer.key))
        }
        outcome::DROPPED => "dropped".into(),
        outcome::REJECTED => format!("rejected: {}", block.text(answer.reason)),
        _ => format!("failed: {}", block.text(answer.reason)),
    }
}
