//! The suppressors of all signal types, as the core asks them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use stillhouse_core::columns::{Batch, Blobs, Verdicts, verdict};
use stillhouse_core::rule::{Compared, Field, Judge, MemoPlan, RuleId, Turn};
use stillhouse_core::trial::Cohort;
use stillhouse_rollout::{Counts, Difference, Evidence};
use stillhouse_rules::SuppressorInstance;

/// How many samples of what differs are kept of one type until they are taken.
const SAMPLES_MAX: usize = 64;

/// What the core and the driver share: versions that are made ready for a turn, and what was compared.
#[derive(Clone, Default)]
pub struct Bench(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    /// By signal type and digest.
    ready: BTreeMap<(u16, String), SuppressorInstance>,
    compared: BTreeMap<u16, (Evidence, Vec<Judged>)>,
}

/// A candidate that two versions judge differently, for people.
#[derive(Clone, Debug)]
pub struct Judged {
    /// In what.
    pub difference: Difference,
    /// Event time.
    pub time_us: i64,
    /// The record key.
    pub key: String,
    /// What would leave.
    pub what: String,
    /// What the version in force says.
    pub old: String,
    /// What the tried one says.
    pub new: String,
}

impl Bench {
    /// Makes a version ready, to be taken at its turn.
    pub fn ready(&self, signal_type: u16, instance: SuppressorInstance) {
        let digest = instance.rule().id().digest.clone();
        self.shared(|shared| drop(shared.ready.insert((signal_type, digest), instance)));
    }

    /// Takes what was compared since the last time.
    pub fn take_compared(&self) -> BTreeMap<u16, (Evidence, Vec<Judged>)> {
        self.shared(|shared| std::mem::take(&mut shared.compared))
    }

    fn take(&self, signal_type: u16, rule: &RuleId) -> Option<Version> {
        self.shared(|shared| shared.ready.remove(&(signal_type, rule.digest.clone()))).map(Version)
    }

    fn shared<T>(&self, with: impl FnOnce(&mut Shared) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One version, as a judge of any type.
struct Version(SuppressorInstance);

impl Judge for Version {
    fn fields(&self, _: u16) -> Option<&[Field]> {
        Some(self.0.rule().fields())
    }

    fn judge(&mut self, _: u16, candidates: Batch, memos: Blobs) -> Verdicts {
        let mut verdicts = Verdicts::default();
        self.0.judge(candidates, memos, &mut verdicts);
        verdicts
    }

    fn memo(&self, _: u16) -> Option<MemoPlan> {
        self.0.rule().memo()
    }

    fn rule(&self, _: u16) -> Option<&RuleId> {
        Some(self.0.rule().id())
    }
}

#[derive(Default)]
struct Slot {
    stable: Option<Version>,
    tried: Option<(Version, Cohort)>,
}

/// The suppressors of all signal types.
pub struct WasmJudge {
    slots: Vec<Slot>,
    bench: Bench,
}

impl WasmJudge {
    /// One suppressor for each signal type that has one.
    pub fn new(suppressors: Vec<Option<SuppressorInstance>>) -> Self {
        let slot = |stable: Option<SuppressorInstance>| Slot { stable: stable.map(Version), tried: None };
        Self { slots: suppressors.into_iter().map(slot).collect(), bench: Bench::default() }
    }

    /// What it shares with the driver.
    pub fn bench(&self) -> Bench {
        self.bench.clone()
    }

    fn stable(&self, signal_type: u16) -> Option<&Version> {
        self.slots.get(usize::from(signal_type))?.stable.as_ref()
    }
}

impl Judge for WasmJudge {
    fn fields(&self, signal_type: u16) -> Option<&[Field]> {
        self.stable(signal_type)?.fields(signal_type)
    }

    fn judge(&mut self, signal_type: u16, candidates: Batch, memos: Blobs) -> Verdicts {
        match self.slots.get_mut(usize::from(signal_type)).and_then(|slot| slot.stable.as_mut()) {
            Some(stable) => stable.judge(signal_type, candidates, memos),
            None => Verdicts::default(),
        }
    }

    fn memo(&self, signal_type: u16) -> Option<MemoPlan> {
        self.stable(signal_type)?.memo(signal_type)
    }

    fn rule(&self, signal_type: u16) -> Option<&RuleId> {
        self.stable(signal_type)?.rule(signal_type)
    }

    fn tried(&self, signal_type: u16) -> Option<(Cohort, &dyn Judge)> {
        let (version, cohort) = self.slots.get(usize::from(signal_type))?.tried.as_ref()?;
        Some((*cohort, version))
    }

    fn tried_mut(&mut self, signal_type: u16) -> Option<&mut dyn Judge> {
        let (version, _) = self.slots.get_mut(usize::from(signal_type))?.tried.as_mut()?;
        Some(version)
    }

    fn turn(&mut self, signal_type: u16, turn: &Turn) {
        let Some(slot) = self.slots.get_mut(usize::from(signal_type)) else { return };
        match turn {
            Turn::Try(rule, cohort) => {
                slot.tried = self.bench.take(signal_type, rule).map(|version| (version, *cohort))
            }
            Turn::Share(share_ppm) => {
                if let Some((_, cohort)) = &mut slot.tried {
                    cohort.share_ppm = *share_ppm;
                }
            }
            Turn::Promote => {
                if let Some((version, _)) = slot.tried.take() {
                    slot.stable = Some(version);
                }
            }
            Turn::Withdraw { .. } => slot.tried = None,
            Turn::Swap(rule) => {
                if let Some(version) = self.bench.take(signal_type, rule) {
                    slot.stable = Some(version);
                }
            }
        }
    }

    fn compared(&mut self, signal_type: u16, both: &Compared<'_>) {
        let slot = self.slots.get(usize::from(signal_type));
        let Some((stable, (tried, _))) = slot.and_then(|slot| Some((slot.stable.as_ref()?, slot.tried.as_ref()?)))
        else {
            return;
        };
        let (stable, tried) = (counts(stable, both.stable), counts(tried, both.tried));
        self.bench.shared(|shared| {
            let (evidence, samples) = shared.compared.entry(signal_type).or_default();
            evidence.rows += 1;
            evidence.in_share += u64::from(both.in_share);
            evidence.stable.add(&stable);
            evidence.candidate.add(&tried);
            if stable.failed + tried.failed > 0 {
                evidence.failed_alone += u64::from(stable.failed == 0);
                return;
            }
            let Some(difference) = difference(both.stable, both.tried) else { return };
            evidence.differ(difference);
            if samples.len() < SAMPLES_MAX {
                samples.push(Judged {
                    difference,
                    time_us: both.time_us,
                    key: both.key.to_owned(),
                    what: format!("{} to {}", both.what.0, both.what.1),
                    old: told(both.stable),
                    new: told(both.tried),
                });
            }
        });
    }
}

fn first(column: &[u8]) -> u8 {
    column.first().copied().unwrap_or_default()
}

fn counts(version: &Version, said: &Verdicts) -> Counts {
    let verdict = first(&said.verdict);
    Counts {
        rows: 1,
        failed: u64::from(verdict == verdict::FAILED),
        held_back: u64::from(matches!(verdict, verdict::SUPPRESS | verdict::DELAY)),
        fuel: version.0.last().fuel,
        calls: u64::from(version.0.last().calls),
        ..Counts::default()
    }
}

fn difference(stable: &Verdicts, tried: &Verdicts) -> Option<Difference> {
    let verdict = first(&stable.verdict);
    if verdict != first(&tried.verdict) {
        Some(Difference::Verdict)
    } else if verdict == verdict::ESCALATE && first(&stable.severity) != first(&tried.severity) {
        Some(Difference::Severity)
    } else if matches!(verdict, verdict::SUPPRESS | verdict::DELAY) && stable.until_us != tried.until_us {
        Some(Difference::Deadline)
    } else if stable.memo != tried.memo {
        Some(Difference::Memo)
    } else {
        None
    }
}

/// A verdict for people.
fn told(said: &Verdicts) -> String {
    let reason = said.reason.get(0);
    match first(&said.verdict) {
        verdict::EMIT => "emit".into(),
        verdict::SUPPRESS => format!("suppress: {reason}"),
        verdict::DELAY => format!("delay: {reason}"),
        verdict::ESCALATE => format!("escalate to {}: {reason}", first(&said.severity)),
        _ => format!("failed: {reason}"),
    }
}
