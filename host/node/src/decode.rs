//! Decoding: from the bytes of an input to the fields that the rules ask for.
//!
//! [`framing`] cuts bytes into records, [`json`] and [`text`] read the wanted fields of a record
//! and nothing else, [`shape`] those of records that look like others, [`lookup`] adds what tables know, [`time`] reads event time, [`columns`] turns
//! fields into a rule's columns.

pub mod columns;
pub mod framing;
pub mod json;
pub mod lookup;
pub mod record;
pub mod shape;
pub mod text;
pub mod time;

/// The value of one wanted field of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Slot<'a> {
    /// The record does not have it, or it is null.
    #[default]
    Absent,
    /// A text, borrowed from the record.
    Text(&'a str),
    /// A text that had to be unescaped: a range of [`Slots::unescaped`].
    Unescaped(u32, u32),
    /// A whole number.
    Int(i64),
    /// A number that is not whole, or too large to be held as one.
    Float(f64),
    /// True or false.
    Bool(bool),
}

/// The wanted fields of one record; used again for the next.
#[derive(Debug, Default)]
pub struct Slots<'a> {
    /// One for each wanted path.
    pub values: Vec<Slot<'a>>,
    /// The texts that had to be unescaped.
    pub unescaped: String,
}

impl<'a> Slots<'a> {
    /// Makes all `count` fields absent.
    pub fn reset(&mut self, count: usize) {
        self.values.clear();
        self.values.resize(count, Slot::Absent);
        self.unescaped.clear();
    }

    /// The text of a field, if it is one.
    pub fn text(&self, index: usize) -> Option<&str> {
        match self.values[index] {
            Slot::Text(text) => Some(text),
            Slot::Unescaped(start, end) => Some(&self.unescaped[start as usize..end as usize]),
            _ => None,
        }
    }

    /// Whether the field is there.
    pub fn is_present(&self, index: usize) -> bool {
        self.values[index] != Slot::Absent
    }
}
