//! Warm instances: what a worker keeps for each rule version that it asks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use stillhouse_core::columns::{Batch, Blobs, Observations, Reasons, TextColumn, Verdicts, outcome, verdict};
use wasmtime::Store;

use crate::bindings::columns as guest;
use crate::bindings::{mapper_rule, suppressor_rule};
use crate::engine::Permit;
use crate::error::{InstanceError, Stage};
use crate::failure::{Budget, Failure};
use crate::guest::{HostState, Live, Start};
use crate::limits::Limits;
use crate::load::{Rule, RuleInner};
use crate::split::Stride;
use crate::worlds::{Mapper, MapperPre, Suppressor, SuppressorPre};
use crate::{batch, check};

/// What the last batch took and which of its rows failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Rows of the batch.
    pub rows: u32,
    /// Calls of the rule: 1 unless something failed.
    pub calls: u32,
    /// Units of fuel of all calls.
    pub fuel: u64,
    /// Instances that were given up.
    pub replaced: u32,
    /// Log lines beyond the bound, of all calls.
    pub log_lines_cut: u32,
    /// The rows that failed, in row order.
    pub failures: Vec<RowFailure>,
}

/// A row that a rule failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    /// Its index in the batch.
    pub row: u32,
    /// What happened.
    pub failure: Failure,
}

impl CallStats {
    pub(crate) fn clear(&mut self, rows: u32) {
        let mut failures = std::mem::take(&mut self.failures);
        failures.clear();
        *self = Self { rows, failures, ..Self::default() };
    }
}

/// Rows as a rule is asked about them.
pub(crate) trait Rows {
    fn rows(&self) -> u32;
    /// A copy of some of them. Only for the rare batch that must be split.
    fn part(&self, rows: Range<u32>) -> Self;
}

impl Rows for guest::Batch {
    fn rows(&self) -> u32 {
        self.rows
    }

    fn part(&self, rows: Range<u32>) -> Self {
        batch::part(self, rows)
    }
}

/// What a suppressor is asked: candidates, and the memos of their entities.
pub(crate) struct Candidates {
    batch: guest::Batch,
    /// One for each row, or both lists empty where the rule keeps none.
    memos: guest::Blobs,
}

impl Rows for Candidates {
    fn rows(&self) -> u32 {
        self.batch.rows
    }

    fn part(&self, rows: Range<u32>) -> Self {
        Self { batch: batch::part(&self.batch, rows.clone()), memos: batch::memos_part(&self.memos, rows) }
    }
}

/// What differs between the two kinds of rule.
pub(crate) trait World {
    type Pre: Start<World = Self::Live> + Clone;
    type Live;
    type In: Rows;
    type Raw;
    type Out: Default;

    fn configure(
        world: &Self::Live,
        store: &mut Store<HostState>,
        settings: &[(String, String)],
    ) -> wasmtime::Result<Result<(), String>>;
    fn input(batch: guest::Batch, memos: Blobs, rule: &RuleInner) -> Self::In;
    fn ask(world: &Self::Live, store: &mut Store<HostState>, asked: &Self::In) -> wasmtime::Result<Self::Raw>;
    fn check(
        raw: Self::Raw,
        asked: &Self::In,
        rule: &RuleInner,
        failures: &mut Vec<RowFailure>,
    ) -> Result<Self::Out, Failure>;
    fn append(out: &mut Self::Out, part: Self::Out);
    /// The answer for one row that failed.
    fn failed(failure: &Failure, row: &Self::In) -> Self::Out;
}

/// Asks one rule with one set of settings; `split.rs` has its `answer`.
pub(crate) struct Caller<W: World> {
    rule: Arc<RuleInner>,
    pre: W::Pre,
    settings: Vec<(String, String)>,
    live: Option<Live<W::Live>>,
    pub stride: Stride,
    /// After so many failed rows the rest of a batch is not asked.
    pub give_up_after: u32,
    pub stats: CallStats,
    _permit: Option<Permit>,
}

/// Why a caller could not start.
pub(crate) enum NotStarted {
    Fails(Stage, Failure),
    Refused(String),
}

impl<W: World> Caller<W> {
    /// Starts a first instance, so that settings are refused at once.
    pub fn new(
        rule: Arc<RuleInner>,
        pre: W::Pre,
        settings: Vec<(String, String)>,
        permit: Option<Permit>,
    ) -> Result<Self, NotStarted> {
        let mut caller = Self {
            rule,
            pre,
            settings,
            live: None,
            stride: Stride::UNLIMITED,
            give_up_after: u32::MAX,
            stats: CallStats::default(),
            _permit: permit,
        };
        caller.live = Some(caller.start()?);
        Ok(caller)
    }

    fn start(&self) -> Result<Live<W::Live>, NotStarted> {
        let rule = &*self.rule;
        let mut live = Live::new(&rule.engine, &self.pre, &rule.label)
            .map_err(|failure| NotStarted::Fails(Stage::Start, failure))?;
        let budget = Budget::to_start(rule.engine.limits());
        let settings = &self.settings;
        let (accepted, _) = live.call(budget, |world, store| W::configure(world, store, settings));
        match accepted {
            Ok(Ok(())) => Ok(live),
            Ok(Err(why)) => Err(NotStarted::Refused(crate::limits::cut(&why, 1024).to_owned())),
            Err(failure) => Err(NotStarted::Fails(Stage::Configure, failure)),
        }
    }

    pub fn limits(&self) -> &Limits {
        self.rule.engine.limits()
    }

    /// Whether there is an instance that has answered before.
    pub fn is_warm(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.calls > 0)
    }

    /// Gives the instance up unless it is fresh.
    pub fn retire(&mut self) {
        if self.is_warm() {
            self.live = None;
            self.stats.replaced += 1;
        }
    }

    /// One call. `first` is the index of its first row in the whole batch.
    /// After a failure the next call gets a fresh instance.
    pub fn ask(&mut self, asked: &W::In, first: u32, budget: Budget) -> Result<W::Out, Failure> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.start().map_err(|not| match not {
                NotStarted::Fails(stage, failure) => Failure::new(failure.kind, format!("fails to {stage}: {failure}")),
                NotStarted::Refused(why) => {
                    Failure::bad_answer(format!("a fresh instance refuses the settings that another accepted: {why}"))
                }
            })?,
        };
        let (raw, fuel) = live.call(budget, |world, store| W::ask(world, store, asked));
        live.calls += 1;
        self.stats.calls += 1;
        self.stats.fuel += fuel;
        self.stats.log_lines_cut += live.lines_cut();
        let known = self.stats.failures.len();
        let checked = raw.and_then(|raw| W::check(raw, asked, &self.rule, &mut self.stats.failures));
        match &checked {
            Ok(_) => {
                for failure in &mut self.stats.failures[known..] {
                    failure.row += first;
                }
                self.live = Some(live);
            }
            Err(_) => {
                self.stats.failures.truncate(known);
                self.stats.replaced += 1;
            }
        }
        checked
    }
}

/// The world `mapper`.
pub(crate) struct MapperWorld;

impl World for MapperWorld {
    type Pre = MapperPre;
    type Live = Mapper;
    type In = guest::Batch;
    type Raw = mapper_rule::Observations;
    type Out = Observations;

    fn configure(
        world: &Self::Live,
        store: &mut Store<HostState>,
        settings: &[(String, String)],
    ) -> wasmtime::Result<Result<(), String>> {
        world.configure(store, settings)
    }

    fn input(batch: guest::Batch, _: Blobs, _: &RuleInner) -> guest::Batch {
        batch
    }

    fn ask(world: &Self::Live, store: &mut Store<HostState>, asked: &guest::Batch) -> wasmtime::Result<Self::Raw> {
        world.map(store, asked)
    }

    fn check(
        raw: Self::Raw,
        asked: &guest::Batch,
        rule: &RuleInner,
        failures: &mut Vec<RowFailure>,
    ) -> Result<Observations, Failure> {
        check::observations(raw, asked.rows as usize, rule.states.len(), rule.engine.limits(), failures)
    }

    fn append(out: &mut Observations, part: Observations) {
        let (rows, more) = (out.outcome.len(), part.outcome.len());
        check::append_text(&mut out.key, rows, &part.key, more);
        check::append_text(&mut out.value, rows, &part.value, more);
        check::append_reasons(&mut out.reason, rows, &part.reason, more);
        out.outcome.extend(part.outcome);
        out.state.extend(part.state);
        out.severity.extend(part.severity);
    }

    fn failed(failure: &Failure, _: &guest::Batch) -> Observations {
        Observations {
            outcome: vec![outcome::FAILED],
            state: vec![0],
            severity: vec![0],
            key: one_text(""),
            value: TextColumn::default(),
            reason: Reasons { codes: vec![0], entries: one_text(&failure.text) },
        }
    }
}

/// The world `suppressor`.
pub(crate) struct SuppressorWorld;

impl World for SuppressorWorld {
    type Pre = SuppressorPre;
    type Live = Suppressor;
    type In = Candidates;
    type Raw = suppressor_rule::Verdicts;
    type Out = Verdicts;

    fn configure(
        world: &Self::Live,
        store: &mut Store<HostState>,
        settings: &[(String, String)],
    ) -> wasmtime::Result<Result<(), String>> {
        world.configure(store, settings)
    }

    fn input(batch: guest::Batch, memos: Blobs, rule: &RuleInner) -> Candidates {
        let memos = batch::memos_to_guest(memos, batch.rows, rule.memo.is_some());
        Candidates { batch, memos }
    }

    fn ask(world: &Self::Live, store: &mut Store<HostState>, asked: &Candidates) -> wasmtime::Result<Self::Raw> {
        world.judge(store, &asked.batch, &asked.memos)
    }

    fn check(
        raw: Self::Raw,
        asked: &Candidates,
        rule: &RuleInner,
        failures: &mut Vec<RowFailure>,
    ) -> Result<Verdicts, Failure> {
        let (rows, memo) = (asked.rows() as usize, rule.memo.as_ref());
        check::verdicts(raw, rows, &asked.memos, memo, rule.engine.limits(), failures)
    }

    fn append(out: &mut Verdicts, part: Verdicts) {
        let (rows, more) = (out.verdict.len(), part.verdict.len());
        check::append_reasons(&mut out.reason, rows, &part.reason, more);
        check::append_blobs(&mut out.memo, &part.memo);
        out.verdict.extend(part.verdict);
        out.until_us.extend(part.until_us);
        out.severity.extend(part.severity);
    }

    fn failed(failure: &Failure, row: &Candidates) -> Verdicts {
        Verdicts {
            verdict: vec![verdict::FAILED],
            until_us: vec![0],
            severity: vec![0],
            reason: Reasons { codes: vec![0], entries: one_text(&failure.text) },
            // It stays as it is.
            memo: Blobs { offsets: row.memos.offsets.clone(), data: row.memos.data.clone() },
        }
    }
}

fn one_text(text: &str) -> TextColumn {
    let mut column = TextColumn::default();
    column.push(text);
    column
}

/// A mapper with its settings, warm, for one worker. Calls that fail replace
/// what is inside; whoever holds it does not notice.
pub struct MapperInstance {
    rule: Rule,
    caller: Caller<MapperWorld>,
}

impl MapperInstance {
    pub(crate) fn new(rule: &Rule, pre: MapperPre, settings: &BTreeMap<String, String>) -> Result<Self, InstanceError> {
        Ok(Self { rule: rule.clone(), caller: caller(rule, pre, settings)? })
    }

    /// Maps `batch` into `out` and gives the batch back, for its memory.
    ///
    /// There is one answer for each row whatever the rule does; a row that it
    /// fails on has the outcome [`outcome::FAILED`] and the failure's text as
    /// its reason. For rows that are not observed, state and severity are 0,
    /// and the key means nothing. What was in `out` is replaced.
    ///
    /// # Panics
    /// If `batch` does not have the columns of [`Rule::fields`], in that order,
    /// each with `rows` values.
    pub fn map(&mut self, batch: Batch, out: &mut Observations) -> Batch {
        batch::assert_fits(&batch, self.rule.fields());
        let batch = batch::to_guest(batch);
        *out = self.caller.answer(&batch);
        batch::from_guest(batch)
    }

    /// After so many failed rows the rest of a batch is not asked and fails too, which is in
    /// [`CallStats::failures`] for those only that were asked: a version that is only tried must not
    /// hold up what it is tried beside. Rows are asked in their order, so which are left out does not
    /// depend on the batch before them.
    pub fn give_up_after(&mut self, failures: u32) {
        self.caller.give_up_after = failures;
    }

    /// What the last batch took, and which of its rows failed.
    pub fn last(&self) -> &CallStats {
        &self.caller.stats
    }

    /// The rule that answers.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

/// A suppressor with its settings, warm, for one worker; see [`MapperInstance`].
pub struct SuppressorInstance {
    rule: Rule,
    caller: Caller<SuppressorWorld>,
}

impl SuppressorInstance {
    pub(crate) fn new(
        rule: &Rule,
        pre: SuppressorPre,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, InstanceError> {
        Ok(Self { rule: rule.clone(), caller: caller(rule, pre, settings)? })
    }

    /// Judges `batch` into `out` and gives the batch back, for its memory.
    ///
    /// `memos` has the memo of each row's entity; without rows all are empty. It is not read where
    /// [`Rule::memo`] is `None`.
    ///
    /// A row that the rule fails on has the verdict [`verdict::FAILED`] and the
    /// failure's text as its reason. `until_us` is 0 unless the verdict is to
    /// suppress or delay, `severity` is 0 unless it is to escalate. Where the
    /// rule keeps memos, `memo` has one for each row: that of a row that failed
    /// is as it was. What was in `out` is replaced.
    ///
    /// # Panics
    /// As [`MapperInstance::map`]; or if `memos` has rows, but not as many as `batch`.
    pub fn judge(&mut self, batch: Batch, memos: Blobs, out: &mut Verdicts) -> Batch {
        batch::assert_fits(&batch, self.rule.fields());
        let asked = SuppressorWorld::input(batch::to_guest(batch), memos, &self.rule.inner);
        *out = self.caller.answer(&asked);
        batch::from_guest(asked.batch)
    }

    /// What the last batch took, and which of its rows failed.
    pub fn last(&self) -> &CallStats {
        &self.caller.stats
    }

    /// The rule that answers.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

fn caller<W: World>(rule: &Rule, pre: W::Pre, settings: &BTreeMap<String, String>) -> Result<Caller<W>, InstanceError> {
    let name = || rule.id().name.clone();
    let settings: Vec<_> = settings.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    crate::manifest::check_settings(&settings, rule.inner.engine.limits())
        .map_err(|why| InstanceError::Settings { rule: name(), why })?;
    let permit = rule.inner.engine.permit()?;
    Caller::new(Arc::clone(&rule.inner), pre, settings, Some(permit)).map_err(|not| match not {
        NotStarted::Fails(stage, failure) => InstanceError::Fails { rule: name(), stage, failure },
        NotStarted::Refused(why) => InstanceError::Settings { rule: name(), why },
    })
}
