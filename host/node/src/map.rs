//! Maps decoded signals: what a worker does with a chunk, on its own and in parallel with others.

use stillhouse_core::block::{fingerprint, key_hash};
use stillhouse_core::columns::{Batch, Observations, TextColumn, outcome};
use stillhouse_core::rule::Field;
use stillhouse_core::{Block, Span};

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
}

/// Decodes and maps chunks.
pub struct Worker {
    mappers: Vec<TypeMapper>,
    sources: Vec<String>,
    batch_rows: usize,
}

struct TypeMapper {
    mapper: Box<dyn Map>,
    columns: ColumnBuilder,
    /// The rows of the block that the rows of the batch are.
    rows: Vec<u32>,
    answers: Observations,
}

/// A block, and the names of the sources that its rows name by number.
#[derive(Debug, Default)]
pub struct Mapped {
    /// The signals.
    pub block: Block,
    /// The name of each source in the block.
    pub sources: Vec<String>,
}

impl Worker {
    /// A worker with a mapper for each signal type and the fields that it reads.
    pub fn new(mappers: Vec<(Box<dyn Map>, Vec<Field>)>, batch_rows: usize) -> Self {
        let of = |(mapper, fields): (Box<dyn Map>, Vec<Field>)| TypeMapper {
            mapper,
            columns: ColumnBuilder::new(&fields),
            rows: Vec::new(),
            answers: Observations::default(),
        };
        Self { mappers: mappers.into_iter().map(of).collect(), sources: Vec::new(), batch_rows }
    }

    /// Decodes and maps one chunk.
    pub fn map(&mut self, decoder: &Decoder, chunk: Chunk) -> Mapped {
        let mut block = Block::default();
        block.rows.reserve(chunk.bytes.len() / 256);
        block.text.reserve(chunk.bytes.len() / 4);
        self.sources.clear();
        decoder.decode(chunk, &mut block, self);
        for (signal_type, mapper) in self.mappers.iter_mut().enumerate() {
            mapper.flush(signal_type as u16, &mut block);
        }
        Mapped { block, sources: std::mem::take(&mut self.sources) }
    }
}

impl Rows for Worker {
    fn row(&mut self, block: &mut Block, signal_type: u16, row: usize, slots: &Slots<'_>, places: &[usize]) {
        let mapper = &mut self.mappers[signal_type as usize];
        mapper.columns.push(slots, places);
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
        let batch = self.mapper.map(self.columns.take(), &mut self.answers);
        self.columns.give_back(batch);
        let answers = &self.answers;
        // The runtime has checked that the columns are UTF-8; as text they cost one more look.
        let keys = simdutf8::basic::from_utf8(&answers.key.data).unwrap_or("");
        let values = simdutf8::basic::from_utf8(&answers.value.data).unwrap_or("");
        for (index, &row) in self.rows.iter().enumerate() {
            let mapped = answers.outcome[index];
            block.rows[row as usize].outcome = mapped;
            if mapped == outcome::OBSERVED {
                let key = row_of(&answers.key, keys, index);
                let value = row_of(&answers.value, values, index);
                let key_span = block.push_text(key);
                let value_span = if value.is_empty() { Span::default() } else { block.push_text(value) };
                let row = &mut block.rows[row as usize];
                row.state = answers.state[index];
                row.severity = answers.severity[index];
                row.key = key_span;
                row.value = value_span;
                row.key_hash = key_hash(signal_type, key.as_bytes());
                row.fingerprint = fingerprint(row.state, value.as_bytes());
            } else if mapped != outcome::DROPPED {
                let reason = block.push_text(answers.reason.get(index));
                block.rows[row as usize].reason = reason;
            }
        }
        self.rows.clear();
    }
}

/// Row `row` of a column whose data is `text`; empty if the column has no rows.
fn row_of<'t>(column: &TextColumn, text: &'t str, row: usize) -> &'t str {
    match column.offsets.get(row..row + 2) {
        Some(&[start, end]) => text.get(start as usize..end as usize).unwrap_or(""),
        _ => "",
    }
}
