//! What other holds would have said of the past: signals are mapped once, and the core is run over a
//! grid of hold-down, hold-open and flapping thresholds. So one sees what quiet costs in delay.

pub mod front;
pub mod grid;
pub mod picture;
pub mod table;

use std::sync::Arc;

use anyhow::Result;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use stillhouse_core::block::NO_TIME;
use stillhouse_core::event::{Change, Data};
use stillhouse_core::plan::TypePlan;
use stillhouse_core::rule::{Condition, NoJudge};
use stillhouse_core::{Block, Core, Entry, Event, Plan};

use crate::config::Config;
use crate::input::Input;
use crate::rules::{self, RuleSet};
use crate::run::{Options, Watch};
use crate::score::told::Told;
use crate::score::truth::Truth;
use crate::score::{Delay, Fate, Score};
use grid::{Grid, Point};

/// A past, mapped: what the core is given, whatever is decided with it.
#[derive(Debug)]
pub struct Past {
    /// The plan as configured.
    pub plan: Plan,
    /// Signals that were read.
    pub signals: u64,
    entries: Vec<Entry>,
}

/// What one point of the grid makes of one signal type.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The point.
    pub point: Point,
    /// Events that left.
    pub events: u64,
    /// Of these the problems that began.
    pub problems: u64,
    /// Of these the starts of flapping.
    pub flaps: u64,
    /// States that did not last, as the events count them.
    pub blips: u64,
    /// Events for each day of the past.
    pub per_day: f64,
    /// Problems in parts of those that are told when nothing is held.
    pub told: Option<f64>,
    /// How long the median problem had lasted when it was told.
    pub raise_us: i64,
    /// How long the median recovery had lasted when it was told.
    pub clear_us: i64,
    /// Against the truth, where there is one.
    pub against: Option<Against>,
}

/// A point against the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Against {
    /// Truths that were told.
    pub hit: u64,
    /// Truths that were not.
    pub missed: u64,
    /// Events that tell no truth.
    pub wrong: u64,
}

impl Against {
    /// Hits in parts of hits and false events; 1 if nothing was told.
    pub fn precision(self) -> f64 {
        if self.hit + self.wrong == 0 { 1.0 } else { self.hit as f64 / (self.hit + self.wrong) as f64 }
    }

    /// Hits in parts of truths; 1 if there is none.
    pub fn recall(self) -> f64 {
        if self.hit + self.missed == 0 { 1.0 } else { self.hit as f64 / (self.hit + self.missed) as f64 }
    }

    /// The harmonic mean of the two (F1).
    pub fn f1(self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
    }
}

impl Measured {
    /// What is paid: how much later a problem and its end are told, together.
    pub fn delay_us(&self) -> i64 {
        self.point.hold_down_us.saturating_add(self.point.hold_open_us)
    }

    /// Whether it tells of nothing where there is something to tell.
    pub fn is_mute(&self) -> bool {
        self.told == Some(0.0) && self.flaps == 0
    }
}

impl Past {
    /// Reads and maps `inputs` as `config` says.
    ///
    /// # Errors
    /// As [`crate::run::run`].
    pub fn read(config: &Config, inputs: &[Input], options: &Options, watch: &mut dyn Watch) -> Result<Self> {
        let engine = rules::engine(2 * config.signals.len() + 8)?;
        let plan = RuleSet::load(config, &engine)?.plan(config)?;
        let mut recorder = Recorder { entries: Vec::new(), watch };
        let outcome = crate::run::run(config, inputs, &mut std::io::sink(), options, &mut recorder)?;
        recorder.entries.push(Entry::End);
        for (name, reason) in outcome.broken {
            tracing::warn!("{name}: {reason}; what came before it is used");
        }
        Ok(Self { plan, signals: outcome.summary.ledger.received, entries: recorder.entries })
    }

    /// What the core is given.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Runs the grid on all threads; by signal type, one for each point that means something to it.
    /// `done` is called after each point. Rules that suppress are left out: what they hold back
    /// does not depend on holds.
    pub fn measure(&self, grid: &Grid, truths: &[Truth], done: &(dyn Fn() + Sync)) -> Vec<Vec<Measured>> {
        let (raw, days) = (self.run(&Point::RAW, false), self.days());
        let by_type: Vec<Vec<Truth>> = self.plan.types.iter().map(|of_type| truths_of(truths, of_type)).collect();
        let measure = |point: &Point| {
            let ran = self.run(point, !truths.is_empty());
            done();
            let by_type = ran.into_iter().zip(&raw).zip(&by_type);
            by_type.map(|((ran, raw), truths)| ran.measured(*point, raw, days, truths)).collect()
        };
        let by_point: Vec<Vec<Measured>> = grid.points.par_iter().map(measure).collect();
        let of_type = |(index, plan): (usize, &TypePlan)| {
            let measured = by_point.iter().map(|of_point| of_point[index].clone());
            measured.filter(|measured| measured.point.applies_to(plan)).collect()
        };
        self.plan.types.iter().enumerate().map(of_type).collect()
    }

    fn run(&self, point: &Point, keep: bool) -> Vec<Ran> {
        let mut plan = self.plan.clone();
        plan.types.iter_mut().for_each(|of_type| point.apply(of_type));
        let mut core = Core::new(Arc::new(plan), 1);
        let mut ran: Vec<Ran> = self.plan.types.iter().map(|_| Ran::default()).collect();
        let mut events = Vec::new();
        for entry in &self.entries {
            core.step([entry.clone()], &mut NoJudge, &mut events);
            for event in events.drain(..) {
                let Data::Change(change) = &event.data else { continue };
                let index = self.plan.types.iter().position(|of_type| *of_type.name == *change.signal);
                if let Some(index) = index {
                    ran[index].take(&event, change, &self.plan.types[index], keep);
                }
            }
        }
        ran
    }

    /// From the first signal to the last, in days; 1 where that is no time.
    fn days(&self) -> f64 {
        let blocks = self.entries.iter().filter_map(|entry| match entry {
            Entry::Signals(block) => Some(block),
            _ => None,
        });
        let times = blocks.flat_map(|block| &block.rows).map(|row| row.time_us);
        let times = times.filter(|time_us| *time_us != NO_TIME);
        let (first, last) = times.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        if last > first { (last - first) as f64 / 86_400_000_000.0 } else { 1.0 }
    }
}

/// What a truth without a type is about cannot be known: it counts for every type.
fn truths_of(truths: &[Truth], plan: &TypePlan) -> Vec<Truth> {
    let of_type = |truth: &&Truth| truth.signal.as_deref().is_none_or(|signal| signal == plan.name);
    truths.iter().filter(of_type).cloned().collect()
}

/// What one point makes of one type, as it comes.
#[derive(Debug, Default)]
struct Ran {
    events: u64,
    problems: u64,
    flaps: u64,
    blips: u64,
    raised_us: Vec<i64>,
    cleared_us: Vec<i64>,
    told: Vec<Told>,
}

impl Ran {
    fn take(&mut self, event: &Event, change: &Change, plan: &TypePlan, keep: bool) {
        self.events += 1;
        self.blips += change.counts.blips;
        match event.kind {
            "stillhouse.state.changed" => {
                let code = plan.states.iter().position(|state| *state.name == *change.to.state);
                let condition = code.map_or(Condition::Healthy, |code| plan.states[code].condition);
                match condition {
                    Condition::Problem => {
                        self.problems += 1;
                        self.raised_us.push(change.held_us);
                    }
                    Condition::Healthy | Condition::Gone => self.cleared_us.push(change.held_us),
                }
            }
            "stillhouse.flapping.started" => self.flaps += 1,
            _ => {}
        }
        if keep {
            self.told.extend(Told::of(event));
        }
    }

    fn measured(self, point: Point, raw: &Self, days: f64, truths: &[Truth]) -> Measured {
        let against = (!truths.is_empty()).then(|| {
            let score = Score::of(truths, &self.told, 0);
            let hit = score.hits.iter().flatten().count() as u64;
            let wrong = score.fates.iter().filter(|fate| **fate == Fate::False).count() as u64;
            Against { hit, missed: truths.len() as u64 - hit, wrong }
        });
        let median = |held_us| Delay::of(held_us).map_or(0, |delay| delay.median_us);
        Measured {
            point,
            events: self.events,
            problems: self.problems,
            flaps: self.flaps,
            blips: self.blips,
            per_day: self.events as f64 / days,
            told: (raw.problems > 0).then(|| self.problems as f64 / raw.problems as f64),
            raise_us: median(self.raised_us),
            clear_us: median(self.cleared_us),
            against,
        }
    }
}

/// Keeps what the core is given, without the signals as they came: nothing here shows them.
struct Recorder<'a> {
    entries: Vec<Entry>,
    watch: &'a mut dyn Watch,
}

impl Watch for Recorder<'_> {
    fn progress(&mut self, signals: u64, bytes: u64) {
        self.watch.progress(signals, bytes);
    }

    fn entries(&mut self, entries: &[Entry]) {
        self.entries.extend(entries.iter().map(|entry| match entry {
            Entry::Signals(block) => Entry::Signals(Arc::new(Block { raw: Vec::new(), ..(**block).clone() })),
            other => other.clone(),
        }));
    }
}
