//! The made-up day: signals as they arrive, and the truth about them.
//!
//! Its parts are made one after another; then all signals are sorted by when they arrive. That is
//! up to [`DELAY_MAX_US`] after their event time, so that they are out of order, as they are in
//! life, but within the allowed lateness of the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use stillhouse_core::event::Time;

use super::chance::Chance;
use super::truth::Truth;
use super::{functions, leaders, links, loads, probes, trouble};

/// One second.
pub const SECOND_US: i64 = 1_000_000;
/// One minute.
pub const MINUTE_US: i64 = 60 * SECOND_US;
/// 2026-03-02T00:00:00Z.
pub const MIDNIGHT_US: i64 = 1_772_409_600 * SECOND_US;
/// When the day begins.
pub const BEGIN_US: i64 = at(8, 0);
/// When it ends.
pub const END_US: i64 = at(12, 0);
/// When the last trouble that is over in a moment begins, so that it is over within the day.
pub const LAST_US: i64 = END_US - 5 * MINUTE_US;
/// How long a signal is under way at most, unless it is late; less than the allowed lateness.
pub const DELAY_MAX_US: i64 = 12 * SECOND_US;

/// A time of the day.
pub const fn at(hour: i64, minute: i64) -> i64 {
    MIDNIGHT_US + (hour * 60 + minute) * MINUTE_US
}

/// The signal types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Readiness of pods.
    Probe,
    /// Who leads a group.
    Leader,
    /// Links of switches.
    Link,
    /// Load of hosts.
    Load,
    /// Results of functions.
    Function,
}

impl Topic {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Probe, Self::Leader, Self::Link, Self::Load, Self::Function];

    /// The CloudEvents `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "demo.probe",
            Self::Leader => "demo.leader",
            Self::Link => "demo.link",
            Self::Load => "demo.load",
            Self::Function => "demo.function",
        }
    }
}

/// One signal.
#[derive(Debug)]
pub struct Signal {
    arrival_us: i64,
    /// Event time.
    pub time_us: i64,
    /// Its type; none if it cannot be read.
    pub topic: Option<Topic>,
    /// Its entity.
    pub key: Arc<str>,
    /// What a naive alert would take for the state.
    pub state: u32,
    /// How bad it is, from 0 to 1, for a picture.
    pub level: f32,
    source: Arc<str>,
    line: Box<str>,
}

/// What an entity says at some time.
pub struct Said<'a> {
    /// What a naive alert would take for the state.
    pub state: u32,
    /// How bad it is, from 0 to 1, for a picture.
    pub level: f32,
    /// The data, as JSON.
    pub data: fmt::Arguments<'a>,
}

/// An entity and a stretch of the day that are worth a look.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The signal type.
    pub topic: Topic,
    /// The entity.
    pub key: Arc<str>,
    /// What there is to see.
    pub caption: &'static str,
    /// From when.
    pub from_us: i64,
    /// To when.
    pub to_us: i64,
}

/// What came in of one signal type.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw {
    /// Signals.
    pub signals: u64,
    /// How often the state of an entity changed, as they came.
    pub changes: u64,
}

/// The day.
#[derive(Debug)]
pub struct Day {
    /// In the order in which they arrive.
    pub signals: Vec<Signal>,
    /// What must come out.
    pub truths: Vec<Truth>,
    /// What happened, by signal type.
    pub stories: BTreeMap<Topic, String>,
    /// What is worth a look.
    pub scenes: Vec<Scene>,
    /// When maintenance begins and ends, and the keys that it is for.
    pub maintenance: (i64, i64, String),
    /// How many signals come too late.
    pub late: u64,
    /// How many cannot be read.
    pub malformed: u64,
    delays: Chance,
}

impl Day {
    /// Makes the day of a seed.
    pub fn new(seed: u64) -> Self {
        let mut day = Self {
            signals: Vec::with_capacity(400_000),
            truths: Vec::new(),
            stories: BTreeMap::new(),
            scenes: Vec::new(),
            maintenance: (BEGIN_US, END_US, String::new()),
            late: 0,
            malformed: 0,
            delays: Chance::new(seed, 0),
        };
        probes::make(&mut day, &mut Chance::new(seed, 1));
        leaders::make(&mut day, &mut Chance::new(seed, 2));
        links::make(&mut day, &mut Chance::new(seed, 3));
        loads::make(&mut day, &mut Chance::new(seed, 4));
        functions::make(&mut day, &mut Chance::new(seed, 5));
        trouble::make(&mut day, &mut Chance::new(seed, 6));
        // Stable: what arrives at once stays in the order in which it was made.
        day.signals.sort_by_key(|signal| signal.arrival_us);
        day
    }

    /// Adds a signal; one in ten is under way for some seconds.
    pub fn say(&mut self, topic: Topic, source: &Arc<str>, key: &Arc<str>, time_us: i64, said: &Said<'_>) {
        // Milliseconds, as most sources write.
        let time_us = time_us - time_us.rem_euclid(1000);
        let slow = self.delays.per_mille(100);
        let delay_us = self.delays.between(1000, if slow { DELAY_MAX_US } else { SECOND_US / 2 });
        let line = format!(
            r#"{{"specversion":"1.0","id":"{}-{}","source":"{source}","type":"{}","subject":"{key}","time":"{}","data":{}}}"#,
            &topic.name()[5..],
            self.signals.len(),
            topic.name(),
            Written(time_us),
            said.data
        );
        self.signals.push(Signal {
            arrival_us: time_us + delay_us,
            time_us,
            topic: Some(topic),
            key: Arc::clone(key),
            state: said.state,
            level: said.level,
            source: Arc::clone(source),
            line: line.into(),
        });
    }

    /// Adds a line that cannot be read.
    pub fn garble(&mut self, source: &Arc<str>, time_us: i64, line: &str) {
        self.malformed += 1;
        self.signals.push(Signal {
            arrival_us: time_us,
            time_us,
            topic: None,
            key: "".into(),
            state: 0,
            level: 0.0,
            source: Arc::clone(source),
            line: line.into(),
        });
    }

    /// Sends the signal at `index` again, as a sender does that had no answer.
    pub fn repeat(&mut self, index: usize, later_us: i64) {
        let signal = &self.signals[index];
        let again = Signal {
            arrival_us: signal.arrival_us + later_us,
            key: Arc::clone(&signal.key),
            source: Arc::clone(&signal.source),
            line: signal.line.clone(),
            ..*signal
        };
        self.signals.push(again);
    }

    /// What `source` says in a stretch of time arrives only at `arrival_us`.
    pub fn hold_up(&mut self, source: &str, from_us: i64, to_us: i64, arrival_us: i64) {
        for signal in &mut self.signals {
            if *signal.source == *source && (from_us..to_us).contains(&signal.time_us) {
                signal.arrival_us = arrival_us;
                self.late += 1;
            }
        }
    }

    /// Adds a truth: an entity is in `state`, which it shows within `shown_us` from `from_us`, and
    /// which is told when it has been held for `hold_us`.
    pub fn truth(&mut self, truth: Known<'_>) {
        self.truths.push(Truth {
            story: truth.story,
            signal: truth.topic.name(),
            subject: truth.key.into(),
            kind: "stillhouse.state.changed",
            state: Some(truth.state),
            value: truth.value.map(Into::into),
            severity: None,
            since_from: Time(truth.from_us),
            since_to: Time(truth.from_us + truth.shown_us),
            told_by: Time(truth.from_us + truth.shown_us + truth.hold_us),
        });
    }

    /// Writes the signals, one a line.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for signal in &self.signals {
            to.write_all(signal.line.as_bytes())?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }

    /// What came in, by signal type.
    pub fn raw(&self) -> BTreeMap<Topic, Raw> {
        let mut raw: BTreeMap<Topic, Raw> = BTreeMap::new();
        let mut last: BTreeMap<(Topic, &str), u32> = BTreeMap::new();
        for signal in &self.signals {
            let Some(topic) = signal.topic else { continue };
            let of_topic = raw.entry(topic).or_default();
            of_topic.signals += 1;
            let before = last.insert((topic, &signal.key), signal.state);
            of_topic.changes += u64::from(before.is_some_and(|before| before != signal.state));
        }
        raw
    }
}

/// A state of an entity that is known to last.
pub struct Known<'a> {
    /// What it is part of.
    pub story: &'static str,
    /// The signal type.
    pub topic: Topic,
    /// The entity.
    pub key: &'a str,
    /// Its state.
    pub state: &'static str,
    /// The value of the state.
    pub value: Option<&'a str>,
    /// From when on.
    pub from_us: i64,
    /// After which time it shows at the latest.
    pub shown_us: i64,
    /// How long it is held before it is told.
    pub hold_us: i64,
}

/// A time as signals write it.
struct Written(i64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = (self.0 - MIDNIGHT_US) / 1000;
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "2026-03-02T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
    }
}

/// `HH:MM:SS` of a time of the day.
pub fn clock(time_us: i64) -> String {
    let seconds = (time_us - MIDNIGHT_US) / SECOND_US;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
