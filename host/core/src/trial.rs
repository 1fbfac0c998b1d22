//! A new version of a mapper beside the one in force.
//!
//! While a version is tried, both answer for every signal. A record key is in the cohort or not, by
//! the hash of it and of the trial's salt: for those in it the tried version's answer counts, for the
//! others that of the version in force. What is open stays with the version that opened it.
//!
//! An entity of which the two say different things gets a [`Twin`]: the entity as it would be if the
//! tried version had never answered. It costs nothing where they agree, and where the tried version
//! is withdrawn, it is what its entity becomes; the difference in what was said is corrected.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3;

use crate::block::{Block, Row, Span};
use crate::columns::outcome;
use crate::entity::{Candidate, Effects, Entity, Observation};
use crate::ledger::Ledger;
use crate::order::Place;
use crate::past::{Correction, Past, Revised, compare};
use crate::plan::TypePlan;

/// How many candidates of one entity are kept to be corrected. At the bound the oldest stands, and is
/// counted.
pub const SAID_MAX: usize = 256;

/// The whole, in the unit of [`Cohort::share_ppm`].
pub const WHOLE_PPM: u32 = 1_000_000;

/// The record keys that a tried version answers for. One that is in it is in it for every greater
/// share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Tells one trial from another.
    pub salt: u64,
    /// The share of all keys, in millionths.
    pub share_ppm: u32,
}

impl Cohort {
    /// Whether a record key is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        let hash = xxh3::xxh3_64_with_seed(key, self.salt) >> 32;
        (hash * u64::from(WHOLE_PPM)) >> 32 < u64::from(self.share_ppm)
    }
}

/// Whether two versions of a mapper answered for a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried(u32);

impl Tried {
    /// One version answered.
    pub const NONE: Self = Self(0);
    const ON: u32 = 1 << 31;
    const IN_SHARE: u32 = 1 << 30;

    /// Both said the same; `in_share`: it is the tried version that counts.
    pub fn same(in_share: bool) -> Self {
        Self(Self::ON | if in_share { Self::IN_SHARE } else { 0 })
    }

    /// The other answer is at `index` in [`Block::others`].
    ///
    /// # Panics
    /// If there are more than a block can have.
    pub fn differing(in_share: bool, index: usize) -> Self {
        assert!(index < (Self::IN_SHARE - 1) as usize, "a block has fewer rows");
        Self(Self::same(in_share).0 | (index as u32 + 1))
    }

    /// Whether two versions answered.
    pub fn is_on(self) -> bool {
        self.0 & Self::ON != 0
    }

    /// Whether the row is the tried version's answer.
    pub fn in_share(self) -> bool {
        self.0 & Self::IN_SHARE != 0
    }

    /// The same, with the other answer at `index`.
    pub(crate) fn moved(self, index: usize) -> Self {
        Self::differing(self.in_share(), index)
    }

    fn other(self) -> Option<usize> {
        ((self.0 & (Self::IN_SHARE - 1)) as usize).checked_sub(1)
    }
}

/// The two versions that answered for the rows of a type in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Index of the signal type.
    pub signal_type: u16,
    /// The version in force, as [`Row::mapper`].
    pub stable: u16,
    /// The tried one.
    pub tried: u16,
}

/// What one version of a mapper says of a signal; the texts are in the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// As in [`Row`].
    pub outcome: u8,
    /// As in [`Row`].
    pub state: u8,
    /// As in [`Row`].
    pub severity: u8,
    /// As in [`Row`].
    pub key_hash: u64,
    /// As in [`Row`].
    pub fingerprint: u64,
    /// As in [`Row`].
    pub key: Span,
    /// As in [`Row`].
    pub value: Span,
    /// As in [`Row`].
    pub reason: Span,
}

impl Answer {
    fn is_observed(&self) -> bool {
        self.outcome == outcome::OBSERVED
    }
}

impl Row {
    /// Takes over what a version says.
    pub fn set(&mut self, answer: &Answer, mapper: u16) {
        self.outcome = answer.outcome;
        self.state = answer.state;
        self.severity = answer.severity;
        self.key_hash = answer.key_hash;
        self.fingerprint = answer.fingerprint;
        self.key = answer.key;
        self.value = answer.value;
        self.reason = answer.reason;
        self.mapper = mapper;
    }
}

impl Block {
    /// Writes what two versions say of a row. The tried version counts for the record keys of the
    /// cohort, as the version in force names them, or the tried one where that one drops the signal.
    /// Where either rejects a signal or fails on it, the version in force decides.
    pub fn decide(&mut self, row: usize, stable: &Answer, tried: &Answer, cohort: Cohort, pair: &Pair) {
        let usable = |answer: &Answer| matches!(answer.outcome, outcome::OBSERVED | outcome::DROPPED);
        let named = if stable.is_observed() || !usable(tried) { stable } else { tried };
        let in_share = cohort.contains(self.text(named.key).as_bytes()) && usable(stable) && named.is_observed();
        let says = |answer: &Answer| {
            let key = (self.text(answer.key), self.text(answer.value));
            answer.is_observed().then_some((answer.state, answer.severity, key))
        };
        let differs = usable(stable) && usable(tried) && says(stable) != says(tried);
        let (counts, other) = if in_share && differs { (tried, stable) } else { (stable, tried) };
        let flag = match differs {
            false => Tried::same(in_share),
            true => {
                self.others.push(*other);
                Tried::differing(in_share, self.others.len() - 1)
            }
        };
        let row = &mut self.rows[row];
        row.set(counts, if in_share { pair.tried } else { pair.stable });
        row.tried = flag;
    }

    /// What the version that does not count says of a row, where two answered and they differ.
    pub fn other(&self, row: &Row) -> Option<&Answer> {
        self.others.get(row.tried.other()?)
    }

    /// A row as the version in force answers it, whatever is tried.
    pub(crate) fn in_force(&self, row: &Row) -> Row {
        let mut answered = *row;
        if row.tried.in_share()
            && let (Some(other), Some(pair)) = (self.other(row), self.pair(row.signal_type))
        {
            answered.set(other, pair.stable);
        }
        answered.tried = Tried::NONE;
        answered
    }

    /// Whether the other answer is about another entity, so that it goes a way of its own.
    pub(crate) fn echo(&self, row: &Row) -> Option<&Answer> {
        let here = |other: &&Answer| row.outcome == outcome::OBSERVED && self.text(row.key) == self.text(other.key);
        self.other(row).filter(|other| other.is_observed() && !here(other))
    }

    fn pair(&self, signal_type: u16) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.signal_type == signal_type)
    }
}

/// What one entity is told of a signal, by each version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer<'a> {
    /// What the version in force says, if it is about this entity.
    pub stable: Option<Observation<'a>>,
    /// What the tried one says; the same, where there is no other answer.
    pub tried: Option<Observation<'a>>,
    /// Whether the two may differ.
    pub differs: bool,
    /// Whether the tried version counts for this signal.
    pub in_share: bool,
    /// The place of the signal in the books is with this entity.
    pub counts: bool,
    /// The version that does not speak of this entity dropped the signal.
    pub other_dropped: bool,
    pub versions: Pair,
}

/// A trial that is over, and signals of it that still wait for the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Index of the signal type.
    pub signal_type: u16,
    /// The log position at which it ended.
    pub position: u64,
    /// The newest event time of its signals.
    pub until_us: i64,
    /// Whether the tried version was withdrawn; otherwise it is in force.
    pub withdrawn: bool,
}

/// What becomes of a signal that two versions answered for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    /// Its entity is told.
    Told(Offer<'a>),
    /// Its entity is told in its own right, though so far the signal was dropped.
    ToldAfterAll(Offer<'a>),
    /// It is dropped after all.
    Dropped,
    /// The other version's entity has it.
    Elsewhere,
}

impl<'a> Heard<'a> {
    /// As `over` says, if the trial has ended since.
    pub fn of(block: &'a Block, row: &'a Row, echo: bool, over: Option<&Over>) -> Self {
        let offer = Offer::of(block, row, echo);
        let Some(over) = over else { return Self::Told(offer) };
        let counts = match over.withdrawn {
            true => offer.stable,
            false => {
                if offer.in_share {
                    offer.tried
                } else {
                    offer.stable
                }
            }
        };
        let Some(seen) = counts else {
            let dropped = over.withdrawn && offer.in_share && !echo && offer.other_dropped;
            return if dropped { Self::Dropped } else { Self::Elsewhere };
        };
        let version = if over.withdrawn || !offer.in_share { offer.versions.stable } else { offer.versions.tried };
        let after_all = echo && row.outcome == outcome::DROPPED;
        let offer = Offer::alone(seen, Pair { stable: version, tried: version, ..offer.versions });
        if after_all { Self::ToldAfterAll(offer) } else { Self::Told(offer) }
    }
}

impl<'a> Offer<'a> {
    /// What the only version says that counts.
    pub fn alone(seen: Observation<'a>, versions: Pair) -> Self {
        let (stable, tried) = (Some(seen), Some(seen));
        Self { stable, tried, differs: false, in_share: false, counts: true, other_dropped: false, versions }
    }

    /// What the entity of `row`, or of its echo, is told.
    pub fn of(block: &'a Block, row: &'a Row, echo: bool) -> Self {
        let alone = Pair { signal_type: row.signal_type, stable: row.mapper, tried: row.mapper };
        let versions = block.pair(row.signal_type).copied().filter(|_| row.tried.is_on()).unwrap_or(alone);
        let in_share = row.tried.in_share();
        let other = block.other(row);
        let away = block.echo(row).is_some();
        let main = (!echo).then(|| Observation {
            time_us: row.time_us,
            state: row.state,
            value: block.text(row.value),
            fingerprint: row.fingerprint,
            severity: row.severity,
            id: block.text(row.id),
            source: row.source,
        });
        let beside = other.filter(|other| other.is_observed() && echo == away).map(|other| Observation {
            time_us: row.time_us,
            state: other.state,
            value: block.text(other.value),
            fingerprint: other.fingerprint,
            severity: other.severity,
            id: block.text(row.id),
            source: row.source,
        });
        let beside = if other.is_some() { beside } else { main };
        let (stable, tried) = if in_share { (beside, main) } else { (main, beside) };
        let other_dropped = match echo {
            true => row.outcome == outcome::DROPPED,
            false => other.is_some_and(|other| !other.is_observed()),
        };
        Self { stable, tried, differs: other.is_some(), in_share, counts: !echo, other_dropped, versions }
    }

    /// Whether an entity listens to the tried version. Who has something open stays with the version
    /// that opened it.
    pub fn listens_to_tried(&self, entity: &Entity, plan: &TypePlan) -> bool {
        let Pair { stable, tried, .. } = self.versions;
        if stable == tried || !entity.is_open(plan) {
            return self.in_share;
        }
        // What an older version opened was handed over to the one in force.
        entity.mapper == tried || entity.mapper != stable && !self.differs && self.in_share
    }

    /// The version that an entity listens to.
    pub fn version(&self, listens_to_tried: bool) -> u16 {
        if listens_to_tried { self.versions.tried } else { self.versions.stable }
    }
}

/// An entity as it would be if the tried version had never answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Twin {
    pub entity: Entity,
    past: Option<Past>,
    /// What it has said since it was parted from its entity.
    said: Vec<Candidate>,
    /// What its entity has said since.
    other_said: Vec<Candidate>,
    #[serde(with = "crate::ledger::plain")]
    books: Ledger,
    #[serde(with = "crate::ledger::plain")]
    other_books: Ledger,
    /// How many more observations it has taken in than its entity.
    extra: i64,
    /// Signals that the version in force would have dropped, less those that it would not.
    dropped: i64,
    /// Candidates that were let go at the bound.
    pub let_go: u64,
}

impl Twin {
    /// The twin of an entity from here on.
    pub fn of(entity: &Entity, past: Option<&Past>) -> Self {
        Self {
            entity: entity.clone(),
            past: past.cloned(),
            said: Vec::new(),
            other_said: Vec::new(),
            books: Ledger::default(),
            other_books: Ledger::default(),
            extra: 0,
            dropped: 0,
            let_go: 0,
        }
    }

    /// Its past is that of its entity: it begins at the watermark `now_us`.
    pub fn let_past_be(&mut self, now_us: i64) {
        self.past = Some(Past::from_now_on(self.entity.clone(), now_us));
    }

    /// Takes in what the version in force says; `taken`: its entity has taken in what it listens to.
    pub fn hear(&mut self, plan: &TypePlan, place: Place, offer: &Offer<'_>, taken: bool, late_at_us: Option<i64>) {
        let is_late = late_at_us.is_some();
        if let Some(stable) = &offer.stable {
            let mut out = Effects::default();
            live(&mut self.entity, self.past.as_mut(), plan, place, stable, late_at_us, &mut out);
            self.record(out);
        }
        let would_be_dropped = offer.other_dropped && offer.in_share;
        if is_late {
            // Whoever takes in a late signal has counted it; for one that it drops, it is not late.
            if would_be_dropped {
                self.books.dropped = self.books.dropped.wrapping_add(1);
                self.books.late = self.books.late.wrapping_sub(1);
            }
            return;
        }
        self.extra += i64::from(offer.stable.is_some()) - i64::from(taken || offer.counts);
        if would_be_dropped {
            // In force it would be here and not dropped, or dropped and not here.
            self.dropped += if offer.stable.is_some() { -1 } else { 1 };
        }
    }

    /// Its timers fire that are due at `to_us` or before.
    pub fn advance(&mut self, plan: &TypePlan, to_us: i64) {
        let mut out = Effects::default();
        match &mut self.past {
            Some(past) => past.advance(&mut self.entity, plan, to_us, &mut out),
            None => self.entity.advance(plan, to_us, &mut out),
        }
        self.record(out);
    }

    fn record(&mut self, out: Effects) {
        self.entity.forget_if_blank();
        note(&mut self.said, out.candidates, &out.corrections, &mut self.let_go);
        self.books.add(&out.ledger);
    }

    /// Notes what its entity said and settled.
    pub fn note_other(&mut self, candidates: &[Candidate], corrections: &[Correction], mut books: Ledger) {
        // What was echoed is counted in `extra`.
        books.open = books.open.wrapping_sub(std::mem::take(&mut books.echoed));
        note(&mut self.other_said, candidates.to_vec(), corrections, &mut self.let_go);
        self.other_books.add(&books);
    }

    /// The tried version is withdrawn: `entity` becomes what its twin is. Tells what was said and
    /// should have been something else.
    pub fn take_over(self, entity: &mut Entity, past: &mut Option<Past>, out: &mut Effects) -> Vec<Revised> {
        let armed_us = entity.armed_us;
        *entity = self.entity;
        entity.armed_us = armed_us;
        *past = self.past;
        out.ledger.add(&self.books);
        out.ledger.subtract(&self.other_books);
        let (extra, dropped) = (self.extra as u64, self.dropped as u64);
        out.ledger.open = out.ledger.open.wrapping_add(extra);
        out.ledger.dropped = out.ledger.dropped.wrapping_add(dropped);
        out.ledger.echoed = out.ledger.echoed.wrapping_add(extra).wrapping_add(dropped);
        compare(self.other_said, self.said)
    }
}

/// An entity takes in an observation, late or in time.
pub(crate) fn live(
    entity: &mut Entity,
    past: Option<&mut Past>,
    plan: &TypePlan,
    place: Place,
    seen: &Observation<'_>,
    late_at_us: Option<i64>,
    out: &mut Effects,
) {
    match (past, late_at_us) {
        (None, _) => entity.observe(plan, seen, out),
        (Some(past), None) => past.observe(entity, plan, place, seen, out),
        (Some(past), Some(late_at_us)) => past.correct(entity, plan, place, seen, late_at_us, out),
    }
}

/// Adds candidates, and lets corrections take the place of those that they correct.
fn note(said: &mut Vec<Candidate>, candidates: Vec<Candidate>, corrections: &[Correction], let_go: &mut u64) {
    for change in corrections.iter().flat_map(|correction| &correction.changes) {
        if let Some(at) = change.was.as_ref().and_then(|was| said.iter().position(|said| said == was)) {
            said.remove(at);
        }
        if let Some(is) = &change.is {
            let at = said.partition_point(|said| said.time_us <= is.time_us);
            said.insert(at, is.clone());
        }
    }
    said.extend(candidates);
    let over = said.len().saturating_sub(SAID_MAX);
    said.drain(..over);
    *let_go += over as u64;
}
