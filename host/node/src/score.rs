//! Distilled events beside labelled truth: what was hit, what was missed, what was false, how late.

pub mod picture;
pub mod table;
pub mod told;
pub mod truth;

use std::collections::BTreeMap;

use serde::Serialize;
use stillhouse_core::event::Time;

use told::Told;
use truth::Truth;

const DAY_US: f64 = 86_400_000_000.0;

/// What became of an event in the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It tells a truth that no event before it told.
    Hit(usize),
    /// It tells a truth that was told before.
    Repeat(usize),
    /// It tells no truth.
    False,
    /// It is not compared: it raises no alarm, and no truth names such an event.
    Unscored,
}

/// Events compared with the truth.
#[derive(Debug)]
pub struct Score {
    /// What became of each event, in the order of [`Score::of`].
    pub fates: Vec<Fate>,
    /// For each truth the event that hit it.
    pub hits: Vec<Option<usize>>,
    /// First and last time of all truths and events; equal where there are none.
    pub span_us: (i64, i64),
}

impl Score {
    /// Compares events, which must be in order of time, with the truth. An event is compared if it
    /// raises an alarm, or if the truth of its type names its kind or its state. `slack_us` widens
    /// every window at both ends.
    pub fn of(truths: &[Truth], events: &[Told], slack_us: i64) -> Self {
        let mut by_subject: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for (index, truth) in truths.iter().enumerate() {
            by_subject.entry(truth.subject.as_deref()).or_default().push(index);
        }
        let mut hits = vec![None; truths.len()];
        let mut decide = |(number, event): (usize, &Told)| {
            let of = |subject| by_subject.get(&subject).into_iter().flatten().copied();
            let near = || of(Some(&*event.subject)).chain(of(None));
            let mut told = near().filter(|&index| truths[index].is_told_by(event, slack_us)).peekable();
            let known = told.peek().copied();
            match (told.find(|&index| hits[index].is_none()), known) {
                (Some(index), _) => {
                    hits[index] = Some(number);
                    Fate::Hit(index)
                }
                (None, Some(index)) => Fate::Repeat(index),
                (None, None) if event.is_alarm() || truths.iter().any(|truth| truth.names(event)) => Fate::False,
                (None, None) => Fate::Unscored,
            }
        };
        let fates = events.iter().enumerate().map(&mut decide).collect();
        let times = truths.iter().flat_map(|truth| [truth.from_us, truth.to_us]);
        let times = times.chain(events.iter().map(|event| event.time_us));
        let (first, last) = times.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        Self { fates, hits, span_us: if first > last { (0, 0) } else { (first, last) } }
    }

    /// The span in days.
    pub fn days(&self) -> f64 {
        (self.span_us.1 - self.span_us.0) as f64 / DAY_US
    }
}

/// The counts of a signal type, or of one of its entities.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The signal type.
    pub signal: Box<str>,
    /// The record key, where it is counted by keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// Truths.
    pub windows: u64,
    /// Truths that an event tells.
    pub hit: u64,
    /// Truths that none tells.
    pub missed: u64,
    /// Events that tell a truth again.
    pub repeated: u64,
    /// Events that tell no truth.
    #[serde(rename = "false")]
    pub wrong: u64,
    /// Events that are not compared.
    pub unscored: u64,
    /// Hits in parts of hits and false events; `None` where there is neither.
    pub precision: Option<f64>,
    /// Hits in parts of truths; `None` where there is none.
    pub recall: Option<f64>,
    /// False events for each day of the span.
    pub false_per_day: Option<f64>,
    /// From the beginning of a truth to the event that tells it.
    pub delay: Option<Delay>,
}

/// How late events are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Delay {
    /// Half of them are not later.
    pub median_us: i64,
    /// 90 % of them are not later.
    pub p90_us: i64,
    /// None is later.
    pub max_us: i64,
}

impl Delay {
    /// By nearest rank. `None` of nothing.
    pub fn of(mut delays_us: Vec<i64>) -> Option<Self> {
        delays_us.sort_unstable();
        let rank = |percent: usize| delays_us.get((delays_us.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { median_us: rank(50)?, p90_us: rank(90)?, max_us: rank(100)? })
    }
}

/// A score as it is shown.
#[derive(Debug, Serialize)]
pub struct Report {
    /// First time of truths and events.
    pub from: Time,
    /// Last time of them.
    pub to: Time,
    /// The counts, by signal type.
    pub rows: Vec<Row>,
    /// The counts of all.
    pub total: Row,
    /// Signals that went in: as told, or those that the events count.
    pub signals: u64,
    /// Whether the number of signals was told.
    pub signals_told: bool,
    /// Events that came out.
    pub events: u64,
    /// The part of the signals that nobody had to look at.
    pub suppression: Option<f64>,
    /// What was missed, for people.
    pub missed: Vec<String>,
    /// What was false, for people.
    #[serde(rename = "false")]
    pub wrong: Vec<String>,
}

/// The signal type of a row, and its subject where rows are by subject.
type Name = (Box<str>, Option<Box<str>>);

impl Report {
    /// The report of a score. `signals` is how many went in, where that is known.
    pub fn new(truths: &[Truth], events: &[Told], score: &Score, by_subject: bool, signals: Option<u64>) -> Self {
        let days = score.days();
        let names = Names::of(events, by_subject);
        let mut rows: BTreeMap<Name, (Row, Vec<i64>)> = BTreeMap::new();
        let mut total = (Row::default(), Vec::new());
        let (mut missed, mut wrong) = (Vec::new(), Vec::new());
        let mut add = |name: Name, count: &dyn Fn(&mut Row, &mut Vec<i64>)| {
            let row = rows.entry(name).or_default();
            count(&mut row.0, &mut row.1);
            count(&mut total.0, &mut total.1);
        };
        for (truth, hit) in truths.iter().zip(&score.hits) {
            let event = hit.map(|number| &events[number]);
            add(names.of_truth(truth, event), &|row, delays| {
                row.windows += 1;
                row.hit += u64::from(event.is_some());
                row.missed += u64::from(event.is_none());
                delays.extend(event.map(|event| event.time_us - truth.from_us));
            });
            missed.extend(event.is_none().then(|| truth.to_string()));
        }
        for (event, fate) in events.iter().zip(&score.fates) {
            add(names.of_event(event), &|row, _| match fate {
                Fate::Hit(_) => {}
                Fate::Repeat(_) => row.repeated += 1,
                Fate::False => row.wrong += 1,
                Fate::Unscored => row.unscored += 1,
            });
            wrong.extend((*fate == Fate::False).then(|| event.to_string()));
        }
        let finish = |(row, delays): (Row, Vec<i64>)| Row {
            precision: part(row.hit, row.hit + row.wrong),
            recall: part(row.hit, row.windows),
            false_per_day: (days > 0.0).then(|| row.wrong as f64 / days),
            delay: Delay::of(delays),
            ..row
        };
        let counted = events.iter().map(|event| event.inputs + event.repeated).sum();
        let went_in = signals.unwrap_or(counted);
        let named = |((signal, subject), (row, delays))| finish((Row { signal, subject, ..row }, delays));
        Self {
            from: Time(score.span_us.0),
            to: Time(score.span_us.1),
            total: finish((Row { signal: "all".into(), ..total.0 }, total.1)),
            rows: rows.into_iter().map(named).collect(),
            signals: went_in,
            signals_told: signals.is_some(),
            events: events.len() as u64,
            suppression: (went_in >= events.len() as u64)
                .then(|| part(events.len() as u64, went_in))
                .flatten()
                .map(|part| 1.0 - part),
            missed,
            wrong,
        }
    }
}

fn part(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}

/// In which row something is counted.
struct Names<'a> {
    /// The type of all events, where they are of one.
    only: Option<&'a str>,
    by_subject: bool,
}

impl<'a> Names<'a> {
    fn of(events: &'a [Told], by_subject: bool) -> Self {
        let first = events.first().map(|event| &*event.signal);
        Self { only: first.filter(|only| events.iter().all(|event| *event.signal == **only)), by_subject }
    }

    fn of_event(&self, event: &Told) -> Name {
        (event.signal.clone(), self.by_subject.then(|| event.subject.clone()))
    }

    fn of_truth(&self, truth: &Truth, hit: Option<&Told>) -> Name {
        if let Some(event) = hit {
            return self.of_event(event);
        }
        let signal = truth.signal.as_deref().or(self.only).unwrap_or("any type");
        let subject = truth.subject.as_deref().unwrap_or("any subject");
        (signal.into(), self.by_subject.then(|| subject.into()))
    }
}
