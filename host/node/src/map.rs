//! Maps decoded signals: what a worker does with a chunk, on its own and in parallel with others.

mod both;

use stillhouse_core::block::{fingerprint, key_hash};
use stillhouse_core::columns::{Batch, Observations, TextColumn, outcome};
use stillhouse_core::rule::Field;
use stillhouse_core::trial::{Answer, Cohort, Pair};
use stillhouse_core::{Block, Span};
use stillhouse_rollout::Evidence;

pub use self::both::{SAMPLES_MAX, Sample};

use crate::decode::Slots;
use crate::decode::columns::ColumnBuilder;
use crate::decode::framing::Chunk;
use crate::decode::record::{Decoder, Rows};

/// The most rows in one call of a mapper.
pub const BATCH_ROWS: usize = 1024;

/// Answers batches of one signal type. One for each worker, so that no worker waits for another.
pub trait Map: Send {
    /// Writes one answer for each row to `out` and gives the batch back, so that its memory can be
    /// used again.
    fn map(&mut self, batch: Batch, out: &mut Observations) -> Batch;

    /// After so many failed rows the rest of a batch is not asked, and fails too.
    fn give_up_after(&mut self, _failures: u32) {}

    /// Fuel and calls that the last batch took.
    fn spent(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// A version of a mapper as a worker has it.
pub struct Lane {
    mapper: Box<dyn Map>,
    /// Its index in [`stillhouse_core::plan::TypePlan::mappers`].
    version: u16,
    columns: ColumnBuilder,
    /// Its fields, as indexes into those that are decoded for its type.
    picks: Vec<usize>,
    answers: Observations,
}

/// Decodes and maps chunks.
pub struct Worker {
    mappers: Vec<TypeMapper>,
    sources: Vec<String>,
    batch_rows: usize,
}

struct TypeMapper {
    stable: Lane,
    tried: Option<(Lane, Cohort)>,
    /// How many more signals of this chunk the tried version may fail on before it is left alone.
    patience: u32,
    /// The rows of the block that the rows of the batch are.
    rows: Vec<u32>,
    evidence: Evidence,
    samples: Vec<Sample>,
}

/// A block, and the names of the sources that its rows name by number.
#[derive(Debug, Default)]
pub struct Mapped {
    /// The signals.
    pub block: Block,
    /// The name of each source in the block.
    pub sources: Vec<String>,
    /// What two versions said, by signal type, where two were asked; with samples of what differs, at
    /// most [`SAMPLES_MAX`] of a type.
    pub compared: Vec<(u16, Evidence, Vec<Sample>)>,
}

/// The fields that are decoded for a type of which two versions are asked: those of the one, then what
/// the other reads beside.
pub fn union(stable: &[Field], tried: &[Field]) -> Vec<Field> {
    let beside = tried.iter().filter(|field| !stable.iter().any(|known| known.path == field.path));
    stable.iter().chain(beside).cloned().collect()
}

impl Lane {
    /// A version that reads `fields`, of those that are `decoded`.
    pub fn new(mapper: Box<dyn Map>, version: u16, fields: &[Field], decoded: &[Field]) -> Self {
        let place = |field: &Field| decoded.iter().position(|known| known.path == field.path);
        Self {
            mapper,
            version,
            columns: ColumnBuilder::new(fields),
            picks: fields.iter().filter_map(place).collect(),
            answers: Observations::default(),
        }
    }

    /// Other fields are decoded from now on.
    fn pick(&mut self, fields: &[Field], decoded: &[Field]) {
        let place = |field: &Field| decoded.iter().position(|known| known.path == field.path);
        self.picks = fields.iter().filter_map(place).collect();
    }

    fn push(&mut self, slots: &Slots<'_>, places: &[usize]) {
        self.columns.push(slots, self.picks.iter().map(|&pick| places[pick]));
    }

    /// Asks about all rows so far.
    fn ask(&mut self) {
        let batch = self.mapper.map(self.columns.take(), &mut self.answers);
        self.columns.give_back(batch);
    }

    /// Asks about none of the rows so far.
    fn skip(&mut self) {
        let batch = self.columns.take();
        self.columns.give_back(batch);
    }

    /// Puts the answers into the block: `write` gets the index of each and what it says.
    fn answers(&self, signal_type: u16, block: &mut Block, mut write: impl FnMut(&mut Block, usize, Answer)) {
        let answers = &self.answers;
        // The runtime has checked that the columns are UTF-8; as text they cost one more look.
        let keys = simdutf8::basic::from_utf8(&answers.key.data).unwrap_or("");
        let values = simdutf8::basic::from_utf8(&answers.value.data).unwrap_or("");
        for (index, &mapped) in answers.outcome.iter().enumerate() {
            let mut answer = Answer { outcome: mapped, ..Answer::default() };
            if mapped == outcome::OBSERVED {
                let key = row_of(&answers.key, keys, index);
                let value = row_of(&answers.value, values, index);
                answer.key = block.push_text(key);
                answer.value = if value.is_empty() { Span::default() } else { block.push_text(value) };
                answer.state = answers.state[index];
                answer.severity = answers.severity[index];
                answer.key_hash = key_hash(signal_type, key.as_bytes());
                answer.fingerprint = fingerprint(answer.state, value.as_bytes());
            } else if mapped != outcome::DROPPED {
                answer.reason = block.push_text(answers.reason.get(index));
            }
            write(block, index, answer);
        }
    }
}

impl Worker {
    /// A worker with a mapper for each signal type and the fields that it reads.
    pub fn new(mappers: Vec<(Box<dyn Map>, Vec<Field>)>, batch_rows: usize) -> Self {
        let of = |(mapper, fields): (Box<dyn Map>, Vec<Field>)| TypeMapper {
            stable: Lane::new(mapper, 0, &fields, &fields),
            tried: None,
            patience: 0,
            rows: Vec::new(),
            evidence: Evidence::default(),
            samples: Vec::new(),
        };
        Self { mappers: mappers.into_iter().map(of).collect(), sources: Vec::new(), batch_rows }
    }

    /// Another version is asked beside the one in force, which reads `stable` of what is `decoded` from
    /// now on.
    pub fn try_beside(&mut self, signal_type: u16, tried: Lane, cohort: Cohort, stable: &[Field], decoded: &[Field]) {
        let mapper = &mut self.mappers[usize::from(signal_type)];
        mapper.stable.pick(stable, decoded);
        mapper.tried = Some((tried, cohort));
    }

    /// The tried version counts for another share of the record keys.
    pub fn set_share(&mut self, signal_type: u16, share_ppm: u32) {
        if let Some((_, cohort)) = &mut self.mappers[usize::from(signal_type)].tried {
            cohort.share_ppm = share_ppm;
        }
    }

    /// One version is asked from now on: the one in force, which reads `fields`, and no more is decoded.
    pub fn try_no_more(&mut self, signal_type: u16, fields: &[Field]) {
        let mapper = &mut self.mappers[usize::from(signal_type)];
        mapper.stable.pick(fields, fields);
        mapper.tried = None;
    }

    /// The tried version is in force, and reads all that is decoded.
    pub fn promote(&mut self, signal_type: u16, fields: &[Field]) {
        let mapper = &mut self.mappers[usize::from(signal_type)];
        if let Some((mut lane, _)) = mapper.tried.take() {
            lane.pick(fields, fields);
            mapper.stable = lane;
        }
    }

    /// Another version is in force.
    pub fn set_mapper(&mut self, signal_type: u16, lane: Lane) {
        let mapper = &mut self.mappers[usize::from(signal_type)];
        mapper.stable = lane;
        mapper.tried = None;
    }

    /// Decodes and maps one chunk.
    pub fn map(&mut self, decoder: &Decoder, chunk: Chunk) -> Mapped {
        let mut block = Block::default();
        block.rows.reserve(chunk.bytes.len() / 256);
        block.text.reserve(chunk.bytes.len() / 4);
        self.sources.clear();
        self.mappers.iter_mut().for_each(|mapper| mapper.patience = both::PATIENCE);
        decoder.decode(chunk, &mut block, self);
        let mut compared = Vec::new();
        for (signal_type, mapper) in (0..).zip(&mut self.mappers) {
            mapper.flush(signal_type, &mut block);
            if mapper.evidence.rows > 0 {
                compared.push((signal_type, mapper.evidence, std::mem::take(&mut mapper.samples)));
                mapper.evidence = Evidence::default();
            }
        }
        Mapped { block, sources: std::mem::take(&mut self.sources), compared }
    }
}

impl Rows for Worker {
    fn row(&mut self, block: &mut Block, signal_type: u16, row: usize, slots: &Slots<'_>, places: &[usize]) {
        let mapper = &mut self.mappers[signal_type as usize];
        mapper.stable.push(slots, places);
        if let Some((tried, _)) = &mut mapper.tried {
            tried.push(slots, places);
        }
        mapper.rows.push(row as u32);
        if mapper.rows.len() >= self.batch_rows {
            mapper.flush(signal_type, block);
        }
    }

    fn source(&mut self, name: &str) -> u32 {
        // The last one is nearly always right.
        let found = self.sources.iter().rposition(|known| known == name);
        found.unwrap_or_else(|| {
            self.sources.push(name.to_owned());
            self.sources.len() - 1
        }) as u32
    }
}

impl TypeMapper {
    fn flush(&mut self, signal_type: u16, block: &mut Block) {
        if self.rows.is_empty() {
            return;
        }
        if self.tried.is_some() {
            return self.flush_both(signal_type, block);
        }
        let (rows, version) = (&self.rows, self.stable.version);
        self.stable.ask();
        self.stable.answers(signal_type, block, |block, index, answer| {
            block.rows[rows[index] as usize].set(&answer, version);
        });
        self.rows.clear();
    }

    fn pair(&self, signal_type: u16, tried: &Lane) -> Pair {
        Pair { signal_type, stable: self.stable.version, tried: tried.version }
    }
}

/// Row `row` of a column whose data is `text`; empty if the column has no rows.
fn row_of<'t>(column: &TextColumn, text: &'t str, row: usize) -> &'t str {
    match column.offsets.get(row..row + 2) {
        Some(&[start, end]) => text.get(start as usize..end as usize).unwrap_or(""),
        _ => "",
    }
}
