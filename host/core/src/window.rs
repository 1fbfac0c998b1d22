//! Windows: how many problems of one entity fall close together, from how many sources and with how
//! many values. What satisfies the condition is one result; what never does is no news.
//!
//! Time is cut as in the Dataflow model (Akidau et al., 2015): a session ends after a silence,
//! tumbling windows follow each other, sliding windows overlap. A window holds its start and not its
//! end. Only timers close one, at the time at which it ends; an early result stands for it until
//! then, and the final one supersedes it.
//!
//! What is kept of a window has a fixed size, however many observations it takes in.

mod bucket;
mod single;
mod sliding;

use crate::entity::{Candidate, Effects, Kind, Observation, Standing};
use crate::event::id_of;
use crate::rule::Condition;
use bucket::Bucket;
use serde::{Deserialize, Serialize};
use single::Single;
use sliding::Sliding;

/// How many sources, and how many values, are told apart in a window. Beyond it a count is a lower
/// bound, and the result says so.
pub const DISTINCT_MAX: usize = 64;

/// How many panes a sliding window may have.
pub const PANES_MAX: i64 = 1000;

/// No window is longer than this: a leap year.
pub const DURATION_MAX_US: i64 = 366 * 86_400_000_000;

/// What to count, and when it is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowPlan {
    /// How time is cut.
    pub shape: Shape,
    /// At least so many observations; 1 or more.
    pub count: u64,
    /// From at least so many distinct sources; at most [`DISTINCT_MAX`].
    pub sources: usize,
    /// With at least so many distinct values; at most [`DISTINCT_MAX`].
    pub values: usize,
    /// Whether the observation that satisfies the condition makes a result at once.
    pub early: bool,
}

/// How time is cut into windows. All lengths are above 0 and at most [`DURATION_MAX_US`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Observations less than `gap_us` apart, for at most `max_us`.
    Session {
        /// The silence that ends it.
        gap_us: i64,
        /// It ends at the latest so long after its first observation.
        max_us: i64,
    },
    /// One window after the other, from 1970 on.
    Tumbling {
        /// Its length.
        size_us: i64,
    },
    /// A window that ends at every multiple of `every_us`. Those in a row that satisfy the condition
    /// are one result.
    Sliding {
        /// Its length; a multiple of `every_us`, at most [`PANES_MAX`] times as long.
        size_us: i64,
        /// The length of a pane.
        every_us: i64,
        /// A result that spans so much ends, and counting starts anew.
        max_us: i64,
    },
}

impl Shape {
    fn name(&self) -> &'static str {
        match self {
            Self::Session { .. } => "session",
            Self::Tumbling { .. } => "tumbling",
            Self::Sliding { .. } => "sliding",
        }
    }
}

impl WindowPlan {
    fn is_met(&self, bucket: &Bucket) -> bool {
        bucket.inputs >= self.count && bucket.sources.len() >= self.sources && bucket.values.len() >= self.values
    }
}

/// Whose window it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// What to count.
    pub plan: &'a WindowPlan,
    /// Index of the signal type.
    pub signal_type: u16,
    /// The record key.
    pub key: &'a str,
}

/// A word of the program. By this name, since a reference would be taken for one into what is read.
type Name = &'static str;

/// What a candidate says of its window, beside what every candidate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// `session`, `tumbling` or `sliding`.
    #[serde(deserialize_with = "shape_name")]
    pub shape: Name,
    /// When it began.
    pub start_us: i64,
    /// When it ended; unknown to an early result.
    pub end_us: Option<i64>,
    /// Distinct sources.
    pub sources: usize,
    /// Distinct values.
    pub values: usize,
    /// Whether there were more sources or values than are told apart.
    pub at_least: bool,
    /// Whether an early result was told, which this one supersedes.
    pub told_early: bool,
}

fn shape_name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    let name = <Box<str>>::deserialize(deserializer)?;
    let known = ["session", "tumbling", "sliding"].into_iter().find(|known| **known == *name);
    known.ok_or_else(|| serde::de::Error::custom("no such window"))
}

/// The windows of one entity: nothing while none has an observation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Window(Option<Box<Running>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Running {
    Single(Single),
    Sliding(Sliding),
}

impl Running {
    fn begin(shape: Shape, time_us: i64) -> Self {
        match shape {
            Shape::Session { gap_us, max_us } => Self::Single(Single::new(time_us, max_us, gap_us)),
            Shape::Tumbling { size_us } => Self::Single(Single::new(floor_us(time_us, size_us), size_us, size_us)),
            Shape::Sliding { size_us, every_us, max_us } => Self::Sliding(Sliding::new(size_us, every_us, max_us)),
        }
    }
}

impl Window {
    /// Takes in the next observation. All timers due at its time or before must have fired.
    pub fn observe(&mut self, owner: Owner<'_>, condition: Condition, seen: &Observation<'_>, out: &mut Effects) {
        if condition != Condition::Problem {
            return out.ledger.settle(|ledger| &mut ledger.merged_repeated, 1);
        }
        let running = self.0.get_or_insert_with(|| Box::new(Running::begin(owner.plan.shape, seen.time_us)));
        match &mut **running {
            Running::Single(single) => single.observe(owner, seen, out),
            Running::Sliding(sliding) => sliding.observe(owner, seen, out),
        }
    }

    /// Fires its timer, at the time at which that is due.
    pub fn fire(&mut self, owner: Owner<'_>, out: &mut Effects) {
        let is_over = match self.0.as_deref_mut() {
            None => return,
            Some(Running::Single(single)) => {
                single.close(owner, out);
                true
            }
            Some(Running::Sliding(sliding)) => {
                sliding.look(owner, out);
                sliding.is_over()
            }
        };
        if is_over {
            self.0 = None;
        }
    }

    /// When its next timer is due.
    pub fn due_us(&self) -> Option<i64> {
        self.0.as_ref().map(|running| match &**running {
            Running::Single(single) => single.end_us(),
            Running::Sliding(sliding) => sliding.due_us(),
        })
    }

    /// Whether no observation is in any window.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Signals that are in no place of the ledger yet.
    pub fn open(&self) -> u64 {
        match self.0.as_deref() {
            None => 0,
            Some(Running::Single(single)) => single.open(),
            Some(Running::Sliding(sliding)) => sliding.open(),
        }
    }
}

impl Owner<'_> {
    /// The early result: it settles nothing, since the final one will.
    fn opened(&self, time_us: i64, start_us: i64, bucket: &Bucket) -> Candidate {
        self.candidate(Kind::WindowOpened, time_us, start_us, bucket)
    }

    /// The final result, made by a timer.
    fn closed(&self, time_us: i64, span_us: (i64, i64), told_early: bool, bucket: &Bucket, signals: u64) -> Candidate {
        let mut candidate = self.candidate(Kind::WindowClosed, time_us, span_us.0, bucket);
        (candidate.by_timer, candidate.signals) = (true, signals);
        if let Some(counted) = &mut candidate.window {
            (counted.end_us, counted.told_early) = (Some(span_us.1), told_early);
        }
        candidate
    }

    fn candidate(&self, kind: Kind, time_us: i64, start_us: i64, bucket: &Bucket) -> Candidate {
        let counted = Counted {
            shape: self.plan.shape.name(),
            start_us,
            end_us: None,
            sources: bucket.sources.len(),
            values: bucket.values.len(),
            at_least: bucket.sources.has_more() || bucket.values.has_more(),
            told_early: false,
        };
        Candidate {
            time_us,
            by_timer: false,
            kind,
            signal_type: self.signal_type,
            key: self.key.into(),
            from: None,
            to: Standing { state: bucket.state, since_us: start_us, ..Standing::default() },
            severity: bucket.severity,
            inputs: bucket.inputs,
            first: bucket.first.clone(),
            last: bucket.last.clone(),
            repeated: 0,
            blips: 0,
            score_mpct: None,
            sources: counted.sources as u32,
            signals: 0,
            window: Some(Box::new(counted)),
            missed: None,
            mapper: 0,
            on_trial: false,
            tried_judge: false,
        }
    }
}

/// The id of the result of that kind. An entity has one window with a given start, so the final
/// result can name the early one, whenever that left.
pub(crate) fn result_id(kind_name: &str, candidate: &Candidate, counted: &Counted) -> String {
    let (signal_type, start_us) = (candidate.signal_type.to_le_bytes(), counted.start_us.to_le_bytes());
    id_of(&[kind_name.as_bytes(), &signal_type, candidate.key.as_bytes(), &start_us])
}

/// The start of the window of length `size_us` that holds `time_us`, counted from 1970.
fn floor_us(time_us: i64, size_us: i64) -> i64 {
    time_us.saturating_sub(time_us.rem_euclid(size_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn seen(time_us: i64) -> Observation<'static> {
        Observation { time_us, state: 0, value: "", fingerprint: 0, severity: 0, id: "e", source: 0 }
    }

    /// The windows of these observations, each as start and end, and how many timers fired.
    fn fired(shape: Shape, times_us: &[i64]) -> (Vec<(i64, Option<i64>)>, u32) {
        let plan = WindowPlan { shape, count: 1, sources: 0, values: 0, early: false };
        let owner = Owner { plan: &plan, signal_type: 0, key: "k" };
        let (mut window, mut out, mut count) = (Window::default(), Effects::default(), 0);
        let mut advance = |window: &mut Window, to_us: i64, out: &mut Effects| {
            while window.due_us().is_some_and(|due_us| due_us <= to_us) {
                window.fire(owner, out);
                count += 1;
            }
        };
        for &time_us in times_us {
            advance(&mut window, time_us, &mut out);
            window.observe(owner, Condition::Problem, &seen(time_us), &mut out);
        }
        advance(&mut window, i64::MAX, &mut out);
        assert!(window.is_idle());
        let spans = out.candidates.iter().filter_map(|candidate| candidate.window.as_ref());
        (spans.map(|counted| (counted.start_us, counted.end_us)).collect(), count)
    }

    #[test]
    fn between_changes_of_its_panes_a_sliding_window_fires_no_timer() {
        let shape = Shape::Sliding { size_us: HOUR_US, every_us: HOUR_US / 1000, max_us: DURATION_MAX_US };
        let (windows, timers) = fired(shape, &[0]);
        assert_eq!(windows, [(HOUR_US / 1000 - HOUR_US, Some(HOUR_US))]);
        assert_eq!(timers, 3, "the first window, the last, and the first without it");
    }

    #[test]
    fn at_the_ends_of_time_windows_end_too() {
        let shapes = [
            Shape::Session { gap_us: HOUR_US, max_us: DURATION_MAX_US },
            Shape::Tumbling { size_us: HOUR_US },
            Shape::Sliding { size_us: HOUR_US, every_us: HOUR_US / 60, max_us: HOUR_US },
        ];
        for shape in shapes {
            assert_eq!(fired(shape, &[i64::MIN, i64::MAX]).0.len(), 2, "{shape:?}");
        }
    }
}
