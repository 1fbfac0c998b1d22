//! A block: consecutive signals of the log, decoded and mapped.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3;

use crate::columns::outcome;
use crate::trial::{Answer, Pair, Tried};

/// A piece of a block's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins, in bytes.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
}

/// One signal: what the decoder read and what its mapper answered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Event time; [`NO_TIME`] where none could be read (only for dead letters).
    pub time_us: i64,
    /// Orders signals of equal time: the source's own sequence number, else the number that the id
    /// ends with, else the line.
    pub rank: u64,
    /// Hash of source and id; see [`id_hash`].
    pub id_hash: u64,
    /// Hash of signal type and record key; see [`key_hash`].
    pub key_hash: u64,
    /// Hash of state and value; see [`fingerprint`].
    pub fingerprint: u64,
    /// The signal's id, in [`Block::text`].
    pub id: Span,
    /// The record key, in [`Block::text`].
    pub key: Span,
    /// What tells observations of one state apart, in [`Block::text`].
    pub value: Span,
    /// Why it was dropped or is a dead letter, in [`Block::text`].
    pub reason: Span,
    /// The signal as it came, in [`Block::raw`].
    pub raw: Span,
    /// Which source; an ordinal that the driver gave out.
    pub source: u32,
    /// Index of the signal type in the plan; [`NO_TYPE`] where it has none (only for dead letters).
    pub signal_type: u16,
    /// One of [`outcome`].
    pub outcome: u8,
    /// Code of the canonical state.
    pub state: u8,
    /// 0 info to 3 critical.
    pub severity: u8,
    /// Whether the source gave the id, so that an equal one means the same signal.
    pub has_id: bool,
    /// Which version of the mapper answered: an index into [`crate::plan::TypePlan::mappers`].
    pub mapper: u16,
    /// Whether two versions of the mapper answered, and where the other answer is.
    pub tried: Tried,
}

// There is one for each signal that waits.
const _: () = assert!(size_of::<Row>() <= 96);

/// The event time of a signal that has none.
pub const NO_TIME: i64 = i64::MIN;

/// The type of a signal whose type is not configured.
pub const NO_TYPE: u16 = u16::MAX;

/// The version of the algorithm behind [`fingerprint`]; it is part of every fingerprint.
pub const FINGERPRINT_VERSION: u64 = 1;

/// Consecutive signals of the log, decoded and mapped.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Log position of the first row; the others follow.
    pub position: u64,
    /// The signals, in log order.
    pub rows: Vec<Row>,
    /// Ids, keys, values and reasons.
    pub text: String,
    /// The signals as they came, for dead letters and late ones.
    pub raw: Vec<u8>,
    /// The answers of the other version, where two were asked and they differ.
    pub others: Vec<Answer>,
    /// The types of which two versions were asked, and which.
    pub pairs: Vec<Pair>,
}

impl Block {
    /// Adds a text and tells where it stands.
    pub fn push_text(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span { start, len: text.len() as u32 }
    }

    /// The text of a span; empty where it is none.
    pub fn text(&self, span: Span) -> &str {
        self.text.get(span.start as usize..(span.start + span.len) as usize).unwrap_or("")
    }

    /// The signal as it came; what is not UTF-8 is replaced.
    pub fn raw(&self, span: Span) -> std::borrow::Cow<'_, str> {
        let bytes = self.raw.get(span.start as usize..(span.start + span.len) as usize);
        String::from_utf8_lossy(bytes.unwrap_or_default())
    }
}

impl Row {
    /// A row that is a dead letter unless its mapper says otherwise.
    pub fn new(source: u32, rank: u64) -> Self {
        Self {
            time_us: NO_TIME,
            rank,
            id_hash: 0,
            key_hash: 0,
            fingerprint: 0,
            id: Span::default(),
            key: Span::default(),
            value: Span::default(),
            reason: Span::default(),
            raw: Span::default(),
            source,
            signal_type: NO_TYPE,
            outcome: outcome::FAILED,
            state: 0,
            severity: 0,
            has_id: false,
            mapper: 0,
            tried: Tried::NONE,
        }
    }
}

/// The hash of a signal's identity. An id is unique within its source (CloudEvents 1.0).
pub fn id_hash(source: &str, id: &str) -> u64 {
    xxh3::xxh3_64_with_seed(id.as_bytes(), xxh3::xxh3_64(source.as_bytes()))
}

/// The hash of an entity: it decides the shard.
pub fn key_hash(signal_type: u16, key: &[u8]) -> u64 {
    xxh3::xxh3_64_with_seed(key, u64::from(signal_type))
}

/// The fingerprint of an observation: its state and its value.
pub fn fingerprint(state: u8, value: &[u8]) -> u64 {
    xxh3::xxh3_64_with_seed(value, FINGERPRINT_VERSION << 8 | u64::from(state))
}

/// The number that an id ends with, or 0: so that `e-9` comes before `e-10` at equal times.
pub fn rank_of_id(id: &str) -> u64 {
    let digits = id.len() - id.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    id[id.len() - digits.min(18)..].parse().unwrap_or(0)
}
