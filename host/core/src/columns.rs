//! Columns: how rows cross a rule's boundary, and how a block of the log keeps them.

/// One text per row: row `i` is `data[offsets[i]..offsets[i + 1]]`.
///
/// `offsets` starts with 0 and has rows + 1 entries; `data` is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextColumn {
    /// Rows + 1 entries, never falling; the last is the length of `data`.
    pub offsets: Vec<u32>,
    /// The bytes of all rows, one after the other.
    pub data: Vec<u8>,
}

impl Default for TextColumn {
    fn default() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }
}

impl TextColumn {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all rows out and keeps the memory.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.offsets.push(0);
        self.data.clear();
    }

    /// Adds one row.
    pub fn push(&mut self, text: &str) {
        self.data.extend_from_slice(text.as_bytes());
        self.end_row();
    }

    /// Ends the row whose bytes were appended to `data`.
    pub fn end_row(&mut self) {
        self.offsets.push(self.data.len() as u32);
    }

    /// The bytes of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn bytes(&self, row: usize) -> &[u8] {
        &self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// The text of row `row`; empty if its bytes are not UTF-8, which a checked column never holds.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn get(&self, row: usize) -> &str {
        std::str::from_utf8(self.bytes(row)).unwrap_or("")
    }
}

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// One text per row.
    Text(TextColumn),
    /// Text of few distinct values: codes into `entries`.
    Dict {
        /// One per row.
        codes: Vec<u32>,
        /// The distinct values.
        entries: TextColumn,
    },
    /// Signed integers.
    Ints(Vec<i64>),
    /// Finite numbers.
    Floats(Vec<f64>),
    /// 0 or 1.
    Bools(Vec<u8>),
}

/// A column and which of its rows have a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// As many as the batch has rows; an absent row has empty text, 0 or false.
    pub values: Values,
    /// Empty: every row has a value. Else one byte per row, 0 = absent.
    pub present: Vec<u8>,
}

/// The columns of the fields that a rule declared, in that order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The number of rows of each column.
    pub rows: u32,
    /// One for each declared field.
    pub columns: Vec<Column>,
}

/// Codes into a small table of texts; both empty where no row needs one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons {
    /// One per row, or empty.
    pub codes: Vec<u32>,
    /// The distinct texts.
    pub entries: TextColumn,
}

impl Reasons {
    /// The reason of `row`; empty where there is none.
    pub fn get(&self, row: usize) -> &str {
        match self.codes.get(row) {
            Some(&code) if (code as usize) < self.entries.len() => self.entries.get(code as usize),
            _ => "",
        }
    }
}

/// What a mapper answered: one entry per row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observations {
    /// One of the constants in [`outcome`].
    pub outcome: Vec<u8>,
    /// Code of the canonical state; below the number of declared states for observed rows.
    pub state: Vec<u8>,
    /// 0 info to 3 critical.
    pub severity: Vec<u8>,
    /// The record key.
    pub key: TextColumn,
    /// What tells two observations of one state apart; no rows at all where no row has one.
    pub value: TextColumn,
    /// Why a row was dropped, rejected or failed.
    pub reason: Reasons,
}

/// The outcomes of mapping a signal.
pub mod outcome {
    /// The signal is an observation.
    pub const OBSERVED: u8 = 0;
    /// The signal says nothing about any state.
    pub const DROPPED: u8 = 1;
    /// The signal should say something and does not: a dead letter.
    pub const REJECTED: u8 = 2;
    /// The rule failed on this signal: a dead letter. Set by the host, never by a rule.
    pub const FAILED: u8 = 3;
}

/// One run of bytes per row: row `i` is `data[offsets[i]..offsets[i + 1]]`. Both empty: no row has
/// any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blobs {
    /// Rows + 1 entries, never falling; the last is the length of `data`.
    pub offsets: Vec<u32>,
    /// The bytes of all rows, one after the other.
    pub data: Vec<u8>,
}

impl Blobs {
    /// Adds one row.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.data.extend_from_slice(bytes);
        self.offsets.push(self.data.len() as u32);
    }

    /// The bytes of `row`; empty where it has none.
    pub fn get(&self, row: usize) -> &[u8] {
        match self.offsets.get(row..row + 2) {
            Some(&[start, end]) => self.data.get(start as usize..end as usize).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// What a suppressor answered: one entry per row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// One of the constants in [`verdict`].
    pub verdict: Vec<u8>,
    /// Microseconds since 1970; 0 leaves it to the host.
    pub until_us: Vec<i64>,
    /// The severity to escalate to.
    pub severity: Vec<u8>,
    /// Why.
    pub reason: Reasons,
    /// The memo of each row's entity from now on (see [`crate::rule::MemoPlan`]); no rows at all
    /// where the rule has none, or failed: then memos stay as they are.
    pub memo: Blobs,
}

impl Verdicts {
    /// One verdict that failed; the memo stays as it is.
    pub fn failed(reason: &str) -> Self {
        let mut entries = TextColumn::default();
        entries.push(reason);
        Self {
            verdict: vec![verdict::FAILED],
            until_us: vec![0],
            severity: vec![0],
            reason: Reasons { codes: vec![0], entries },
            memo: Blobs::default(),
        }
    }
}

/// The verdicts on a candidate.
pub mod verdict {
    /// It leaves.
    pub const EMIT: u8 = 0;
    /// It is held back until its state ends or its deadline comes.
    pub const SUPPRESS: u8 = 1;
    /// It is judged again later.
    pub const DELAY: u8 = 2;
    /// It leaves with another severity.
    pub const ESCALATE: u8 = 3;
    /// The rule failed on it: it leaves, tagged. Set by the host, never by a rule.
    pub const FAILED: u8 = 4;
}
