//! The state of the core as bytes, so that a run can go on where another stopped.
//!
//! A checkpoint has a head, which holds all that is not of one entity, and parts, which hold entities. Each
//! holds the entities that have changed since the one before, and one of [`BUCKETS`] of all the others in
//! turn: so the last [`BUCKETS`] of them hold every entity, none costs more than what has changed and its
//! share, and nothing is ever written whole. It does not depend on the number of shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, Xxh3DefaultBuilder};

use crate::block::{Block, Row, Span, key_hash};
use crate::derive::Derive;
use crate::entity::Entity;
use crate::event::{Data, DeadLetter, Event, Late, RuleView, Time};
use crate::gate::Gate;
use crate::ledger::Ledger;
use crate::past::Past;
use crate::plan::Plan;
use crate::reconcile::Reconcile;
use crate::sequencer;
use crate::shard::Shard;
use crate::step::{Core, Place};
use crate::table::{Table, Tables};
use crate::trial::{Answer, Over, Pair, Twin};

/// So many checkpoints in a row hold every entity: the upper four bits of a hash.
pub const BUCKETS: u8 = 16;

/// A part is closed once it is longer than this.
const PART_BYTES: usize = 1 << 20;

/// Which entities a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slice {
    /// All of them.
    All,
    /// Those that have changed since the last one, and this bucket of the others.
    Changed(u8),
}

impl Slice {
    /// Whether all entities of a key hash are in it.
    fn holds(self, key_hash: u64) -> bool {
        match self {
            Self::All => true,
            Self::Changed(bucket) => (key_hash >> 60) as u8 == bucket,
        }
    }
}

/// The state of the core at one place of the log, together with the checkpoints before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// A digest of all the rest, and all that is not of one entity.
    pub head: Vec<u8>,
    /// Entities.
    pub parts: Vec<Vec<u8>>,
}

impl Checkpoint {
    /// A checkpoint that says of itself that it is whole. What is counted in a state is believed where it is used,
    /// so a state is taken over as it was written, or not at all.
    pub fn sealed(head: &[u8], parts: Vec<Vec<u8>>) -> Self {
        let digest = digest(head, &parts).to_le_bytes();
        Self { head: [digest.as_slice(), head].concat(), parts }
    }

    /// The head without its digest, which is compared.
    fn open(&self) -> Result<&[u8], Unreadable> {
        let Some((known, head)) = self.head.split_first_chunk() else {
            return Err(Unreadable::Bytes(format!("its head has {} bytes", self.head.len())));
        };
        let (known, digest) = (u128::from_le_bytes(*known), digest(head, &self.parts));
        match known == digest {
            true => Ok(head),
            false => Err(Unreadable::Bytes(format!("its digest is {digest:032x}, expected {known:032x}"))),
        }
    }
}

fn digest(head: &[u8], parts: &[Vec<u8>]) -> u128 {
    let mut hasher = Xxh3Default::new();
    for bytes in std::iter::once(head).chain(parts.iter().map(Vec::as_slice)) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.digest128()
}

/// Why a state cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Bytes that were not written by [`Core::save`].
    #[error("a checkpoint cannot be read: {0}")]
    Bytes(String),
    /// The plan has other signal types.
    #[error("the state has the signal types {then}, and the configuration has {now}: it may add some after them")]
    Types {
        /// Those of the state.
        then: String,
        /// Those of the plan.
        now: String,
    },
    /// A table is not there.
    #[error("the table `{name}` of digest {digest} is not there")]
    Table {
        /// Its name.
        name: String,
        /// SHA-256 of its file.
        digest: String,
    },
}

/// The gate, what is derived, and the snapshots follow it.
#[derive(Deserialize, Serialize)]
struct Head {
    slice: Slice,
    config_digest: String,
    types: Vec<String>,
    derived: Vec<Box<str>>,
    sources: Vec<Box<str>>,
    sequencer: sequencer::Saved,
    tables: Vec<(Box<str>, i64, Box<str>)>,
    #[serde(with = "crate::ledger::plain")]
    ledger: Ledger,
    waiting: Vec<(Place, Single)>,
    over: Vec<Over>,
    rows: Vec<Rows>,
    uncorrected: u64,
    not_taken_back: u64,
}

/// An event about a single signal that waits for its place.
#[derive(Deserialize, Serialize)]
struct Single {
    id: String,
    subject: Option<Box<str>>,
    time_us: Option<i64>,
    source: Box<str>,
    of: Box<str>,
    raw: Box<str>,
    what: What,
}

#[derive(Deserialize, Serialize)]
enum What {
    Late { signal: Box<str>, watermark_us: i64, late_us: i64 },
    Dead { signal: Option<Box<str>>, reason: Box<str>, mapper: Option<[Box<str>; 3]> },
}

impl Single {
    fn of(event: &Event) -> Option<Self> {
        let (source, of, raw, what) = match &event.data {
            Data::Late(late) => {
                let (signal, watermark_us, late_us) = (late.signal.clone(), late.watermark.0, late.late_us);
                (&late.source, &late.id, &late.raw, What::Late { signal, watermark_us, late_us })
            }
            Data::DeadLetter(dead) => {
                let mapper = dead.mapper.clone().map(|mapper| [mapper.name, mapper.version, mapper.digest]);
                let (signal, reason) = (dead.signal.clone(), dead.reason.clone());
                (&dead.source, &dead.id, &dead.raw, What::Dead { signal, reason, mapper })
            }
            _ => return None,
        };
        let (id, subject, time_us) = (event.id.clone(), event.subject.clone(), event.time.map(|time| time.0));
        Some(Self { id, subject, time_us, source: source.clone(), of: of.clone(), raw: raw.clone(), what })
    }

    fn event(self) -> Event {
        let Self { id, subject, time_us, source, of, raw, what } = self;
        let (kind, data) = match what {
            What::Late { signal, watermark_us, late_us } => {
                let late = Late { signal, source, id: of, watermark: Time(watermark_us), late_us, raw };
                ("stillhouse.late", Data::Late(Box::new(late)))
            }
            What::Dead { signal, reason, mapper } => {
                let mapper = mapper.map(|[name, version, digest]| RuleView { name, version, digest });
                let dead = DeadLetter { signal, source, id: of, reason, mapper, raw };
                ("stillhouse.dead-letter", Data::DeadLetter(Box::new(dead)))
            }
        };
        Event::new(kind, id, subject, time_us.map(Time), data)
    }
}

/// Rows of one block that wait for the watermark.
#[derive(Default, Deserialize, Serialize)]
struct Rows {
    rows: Vec<Row>,
    text: String,
    others: Vec<Answer>,
    pairs: Vec<Pair>,
    /// Row, log position, the watermark that it missed, whether it is an echo.
    waiting: Vec<(u32, u64, Option<i64>, bool)>,
}

impl Rows {
    fn add(&mut self, block: &Block, row: &Row) -> u32 {
        let mut copy = |span: Span| {
            let start = self.text.len() as u32;
            self.text.push_str(block.text(span));
            Span { start, len: self.text.len() as u32 - start }
        };
        let mut saved = Row { id: copy(row.id), key: copy(row.key), value: copy(row.value), ..*row };
        (saved.reason, saved.raw) = (Span::default(), Span::default());
        if let Some(other) = block.other(row) {
            let (key, value) = (copy(other.key), copy(other.value));
            self.others.push(Answer { key, value, reason: Span::default(), ..*other });
            saved.tried = row.tried.moved(self.others.len() - 1);
        }
        self.rows.push(saved);
        self.rows.len() as u32 - 1
    }
}

/// What a part holds of one entity.
#[derive(Serialize)]
enum Known<'a> {
    Gone(u16, &'a str),
    Entity(&'a Entity, Option<&'a Past>, Option<&'a Twin>),
}

#[derive(Deserialize)]
// It is taken apart at once.
#[allow(clippy::large_enum_variant)]
enum Restored {
    Gone(u16, Box<str>),
    Entity(Entity, Option<Past>, Option<Twin>),
}

/// Parts as they grow.
#[derive(Default)]
pub(crate) struct Parts {
    done: Vec<Vec<u8>>,
    open: Vec<u8>,
}

impl Parts {
    pub fn gone(&mut self, signal_type: u16, key: &str) {
        self.push(&Known::Gone(signal_type, key));
    }

    pub fn entity(&mut self, entity: &Entity, past: Option<&Past>, twin: Option<&Twin>) {
        self.push(&Known::Entity(entity, past, twin));
    }

    fn push(&mut self, known: &Known<'_>) {
        self.open = postcard::to_extend(known, std::mem::take(&mut self.open)).expect("state is plain data");
        if self.open.len() > PART_BYTES {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn end(mut self) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}

impl Core {
    /// From now on it is noted which entities change, so that [`Slice::Changed`] can be saved.
    pub fn note_changes(&mut self) {
        self.shards.iter_mut().for_each(Shard::note_changes);
    }

    /// The state, to be taken over by [`Core::restore`].
    ///
    /// # Panics
    /// Never: the state is plain data.
    pub fn save(&mut self, slice: Slice) -> Checkpoint {
        let mut parts = Parts::default();
        for shard in &mut self.shards {
            shard.save(|key_hash| slice.holds(key_hash), &mut parts);
        }
        Checkpoint::sealed(&self.head(slice), parts.end())
    }

    fn head(&mut self, slice: Slice) -> Vec<u8> {
        let head = Head {
            slice,
            config_digest: self.plan.config_digest.clone(),
            types: self.plan.types.iter().map(|plan| plan.name.clone()).collect(),
            derived: self.plan.derive.names(),
            sources: self.sources.clone(),
            sequencer: self.sequencer.save(),
            tables: self.tables.named(),
            ledger: self.ledger,
            waiting: self.waiting.iter().filter_map(|(place, event)| Some((*place, Single::of(event)?))).collect(),
            over: self.shards[0].over().to_vec(),
            rows: self.rows(),
            uncorrected: self.uncorrected,
            not_taken_back: self.not_taken_back,
        };
        postcard::to_allocvec(&(head, &self.gate, &self.derive, &self.reconcile)).expect("state is plain data")
    }

    /// What waits for the watermark, in log order.
    fn rows(&self) -> Vec<Rows> {
        let mut waiting: Vec<_> = self.shards.iter().flat_map(Shard::waiting).collect();
        waiting.sort_by_key(|&(_, _, position, late_at_us, echo)| (position, late_at_us.is_some(), echo));
        let mut rows: Vec<Rows> = Vec::new();
        let mut last: Option<(*const Block, u32)> = None;
        for (block, row, position, late_at_us, echo) in waiting {
            let is_same = last.is_some_and(|(known, _)| std::ptr::eq(known, Arc::as_ptr(block)));
            if !is_same {
                let mut pairs = block.pairs.clone();
                // In which order they were asked depends on how rows are divided into batches.
                pairs.sort_unstable_by_key(|pair| pair.signal_type);
                rows.push(Rows { pairs, ..Rows::default() });
            }
            let Some(of) = rows.last_mut() else { continue };
            let index = match last.filter(|&(_, known)| is_same && known == row) {
                Some(_) => of.rows.len() as u32 - 1,
                None => of.add(block, &block.rows[row as usize]),
            };
            of.waiting.push((index, position, late_at_us, echo));
            last = Some((Arc::as_ptr(block), row));
        }
        rows
    }

    /// A core that goes on from `checkpoints`: the newest first, then those before it, until one is
    /// [`Slice::All`] or [`BUCKETS`] are there or there are no more since the core began. `tables`
    /// finds a table by its digest.
    ///
    /// # Errors
    /// If they cannot be read, a table is missing, or the plan has other signal types. It may have more.
    ///
    /// # Panics
    /// If `shards` is 0.
    pub fn restore(
        plan: Arc<Plan>,
        shards: usize,
        checkpoints: impl IntoIterator<Item = Checkpoint>,
        tables: &mut dyn FnMut(&str) -> Option<Arc<Table>>,
    ) -> Result<Self, Unreadable> {
        let mut core = Self::new(plan, shards);
        let (mut since, mut is_of_another_plan) = (Since::default(), false);
        for (at, checkpoint) in checkpoints.into_iter().enumerate() {
            let (head, rest) = postcard::take_from_bytes::<Head>(checkpoint.open()?).map_err(unreadable)?;
            let is_whole = head.slice == Slice::All;
            if at == 0 {
                is_of_another_plan = head.config_digest != core.plan.config_digest;
                core.take_over(head, postcard::from_bytes(rest).map_err(unreadable)?, tables)?;
            }
            core.take_entities(&checkpoint.parts, &mut since)?;
            if is_whole {
                break;
            }
            since.settle();
        }
        let (types, now_us) = (&core.plan.types, core.sequencer.watermark_us());
        if is_of_another_plan {
            core.shards.iter_mut().for_each(|shard| shard.let_pasts_be(types, now_us));
        }
        core.shards.iter_mut().for_each(|shard| shard.arm_all(types));
        Ok(core)
    }

    fn take_over(
        &mut self,
        head: Head,
        (gate, derive, reconcile): (Gate, Derive, Reconcile),
        tables: &mut dyn FnMut(&str) -> Option<Arc<Table>>,
    ) -> Result<(), Unreadable> {
        let now = self.plan.types.iter().map(|plan| &plan.name);
        if !(head.types.len() <= now.len() && head.types.iter().zip(now).all(|(then, now)| then == now)) {
            let now: Vec<String> = self.plan.types.iter().map(|plan| plan.name.clone()).collect();
            return Err(Unreadable::Types { then: head.types.join(", "), now: now.join(", ") });
        }
        self.sources = head.sources;
        self.sequencer = sequencer::Sequencer::restore(self.plan.order.clone(), head.sequencer);
        (self.gate, self.reconcile) = (gate, reconcile);
        if head.derived == self.plan.derive.names() {
            self.derive = derive;
        }
        self.tables = Tables::default();
        for (name, from_us, digest) in head.tables {
            let Some(table) = tables(&digest) else {
                return Err(Unreadable::Table { name: name.into(), digest: digest.into() });
            };
            self.tables.set(table, from_us);
        }
        self.ledger = head.ledger;
        self.waiting = head.waiting.into_iter().map(|(place, single)| (place, single.event())).collect();
        (self.uncorrected, self.not_taken_back) = (head.uncorrected, head.not_taken_back);
        for over in head.over {
            let (types, now_us) = (&self.plan.types, self.sequencer.watermark_us());
            self.shards.iter_mut().for_each(|shard| shard.end_trial(types, over, now_us));
        }
        for rows in head.rows {
            self.push_rows(rows)?;
        }
        Ok(())
    }

    fn push_rows(&mut self, rows: Rows) -> Result<(), Unreadable> {
        let Rows { rows, text, others, pairs, waiting } = rows;
        let block = Arc::new(Block { rows, text, others, pairs, ..Block::default() });
        let shards = self.shards.len() as u64;
        for (index, position, late_at_us, echo) in waiting {
            let row = block.rows.get(index as usize).ok_or_else(|| Unreadable::Bytes("a row is missing".into()))?;
            let of_type = usize::from(row.signal_type) < self.plan.types.len();
            let key_hash = match block.echo(row).filter(|_| echo) {
                Some(other) => other.key_hash,
                None => row.key_hash,
            };
            if !of_type {
                return Err(Unreadable::Bytes("a row has no signal type".into()));
            }
            self.shards[(key_hash % shards) as usize].push_saved(&block, index, position, late_at_us, echo);
        }
        Ok(())
    }

    fn take_entities(&mut self, parts: &[Vec<u8>], since: &mut Since) -> Result<(), Unreadable> {
        let shards = self.shards.len() as u64;
        for part in parts {
            let mut rest = part.as_slice();
            while !rest.is_empty() {
                let (restored, left) = postcard::take_from_bytes::<Restored>(rest).map_err(unreadable)?;
                rest = left;
                let (signal_type, key) = match &restored {
                    Restored::Gone(signal_type, key) => (*signal_type, key),
                    Restored::Entity(entity, ..) => (entity.signal_type, &entity.key),
                };
                if usize::from(signal_type) >= self.plan.types.len() {
                    return Err(Unreadable::Bytes("an entity has no signal type".into()));
                }
                let hash = key_hash(signal_type, key.as_bytes());
                let shard = &mut self.shards[(hash % shards) as usize];
                match restored {
                    Restored::Gone(signal_type, key) => since.gone(signal_type, key),
                    Restored::Entity(entity, past, twin) => {
                        if !since.is_gone(&entity) {
                            shard.put(entity, hash, past, twin);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A hash of the whole state, the same for any number of shards, and for a state that was saved and
    /// restored. Slow: it reads all of it.
    pub fn state_hash(&mut self) -> u128 {
        let mut hash = Xxh3Default::new();
        hash.update(&self.head(Slice::All));
        let mut entities: BTreeMap<(u16, Box<str>), Vec<u8>> = BTreeMap::new();
        for shard in &self.shards {
            shard.each(|entity, past, twin| {
                let bytes = postcard::to_allocvec(&Known::Entity(entity, past, twin)).expect("state is plain data");
                entities.insert((entity.signal_type, entity.key.clone()), bytes);
            });
        }
        entities.values().for_each(|bytes| hash.update(bytes));
        hash.digest128()
    }
}

fn unreadable(error: postcard::Error) -> Unreadable {
    Unreadable::Bytes(error.to_string())
}

/// What newer checkpoints have said already.
#[derive(Default)]
struct Since {
    // Looked up only.
    gone: HashSet<(u16, Box<str>), Xxh3DefaultBuilder>,
    /// Of the checkpoint that is being read: one may be gone and come again within it.
    gone_here: Vec<(u16, Box<str>)>,
}

impl Since {
    fn gone(&mut self, signal_type: u16, key: Box<str>) {
        self.gone_here.push((signal_type, key));
    }

    fn is_gone(&self, entity: &Entity) -> bool {
        !self.gone.is_empty() && self.gone.contains(&(entity.signal_type, entity.key.clone()))
    }

    fn settle(&mut self) {
        self.gone.extend(self.gone_here.drain(..));
    }
}
