//! Whether a chain of records holds, and if not, where and how it is broken.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, Read};

use super::record::Entry;
use super::{Head, NEWEST_MAX, NO_RECORD, RECORD_BYTES_MAX};

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The end of the chain, as far as it holds.
    pub head: Head,
    /// The first line that is wrong.
    pub fault: Option<Fault>,
    /// Bytes after the last line end: a record that a crash left unfinished.
    pub torn_bytes: u64,
}

/// The first line that is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; 0 if it is not known.
    pub line: u64,
    /// How.
    pub kind: FaultKind,
    /// What was expected and what is there.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

/// How a chain is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A record says something else than was written.
    Changed,
    /// Records are missing.
    Removed,
    /// A record stands where none was written.
    Inserted,
    /// A record stands before one that was written earlier.
    Reordered,
    /// The end is missing, or was written again.
    CutShort,
}

impl FaultKind {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::CutShort => "cut short",
        }
    }
}

/// Verifies a whole chain. `head` is a hash that was its head once: if no record has it, the chain is
/// not the one that was. `progress` is told how many bytes each line had.
///
/// # Errors
/// If it cannot be read.
pub fn verify(reader: &mut impl BufRead, head: Option<&str>, progress: &mut dyn FnMut(u64)) -> io::Result<Verified> {
    let mut end = Head { records: 0, hash: NO_RECORD.into() };
    let mut seen = head.is_none_or(|head| head == NO_RECORD);
    let mut line = Vec::new();
    let mut number = 0;
    let mut torn_bytes = 0;
    let mut fault = None;
    while read_line(reader, &mut line)? > 0 {
        progress(line.len() as u64);
        number += 1;
        let Some(text) = line.strip_suffix(b"\n") else {
            torn_bytes = line.len() as u64;
            break;
        };
        match next(text, &end) {
            Ok(entry) => {
                seen |= head == Some(entry.hash.as_str());
                end = Head { records: entry.sequence, hash: entry.hash };
            }
            Err(wrong) => {
                let (kind, message) = wrong.told(&end, reader, number)?;
                fault = Some(Fault { line: number, kind, message });
                break;
            }
        }
    }
    if fault.is_none() && !seen {
        let message = format!(
            "no record has the hash {} that was the head; the file ends with record {} of hash {}: records at its end \
             were removed, or written again",
            head.unwrap_or_default(),
            end.records,
            end.hash
        );
        fault = Some(Fault { line: number, kind: FaultKind::CutShort, message });
    }
    Ok(Verified { head: end, fault, torn_bytes })
}

/// Verifies the end of a file, in whole lines; `from_start` if it is the whole file.
pub(super) fn verify_tail(tail: &[u8], from_start: bool) -> Result<(Head, VecDeque<Entry>), Fault> {
    let mut end = from_start.then(|| Head { records: 0, hash: NO_RECORD.into() });
    let mut newest = VecDeque::new();
    for line in tail.split_inclusive(|&byte| byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let read = match &end {
            Some(end) => next(text, end),
            // What is before it is not read: it must only hold by itself.
            None => Entry::read(text).map_err(Wrong::Itself),
        };
        let entry = read.map_err(|_| Fault {
            line: 0,
            kind: FaultKind::Changed,
            message: "a record at its end does not fit the one before it".into(),
        })?;
        end = Some(Head { records: entry.sequence, hash: entry.hash.clone() });
        newest.push_back(entry);
        if newest.len() > NEWEST_MAX {
            newest.pop_front();
        }
    }
    Ok((end.unwrap_or(Head { records: 0, hash: NO_RECORD.into() }), newest))
}

/// How a line does not follow the one before it.
enum Wrong {
    /// It does not even hold by itself.
    Itself(String),
    /// It is another record than the next.
    Sequence(u64),
    /// It is the next record, of another chain.
    Previous,
}

fn next(text: &[u8], end: &Head) -> Result<Entry, Wrong> {
    let entry = Entry::read(text).map_err(Wrong::Itself)?;
    if entry.sequence != end.records + 1 {
        return Err(Wrong::Sequence(entry.sequence));
    }
    if entry.previous != end.hash {
        return Err(Wrong::Previous);
    }
    Ok(entry)
}

impl Wrong {
    /// What happened, as far as the rest of the file tells.
    fn told(self, end: &Head, rest: &mut impl BufRead, line: u64) -> io::Result<(FaultKind, String)> {
        let expected = end.records + 1;
        Ok(match self {
            Self::Itself(why) => (FaultKind::Changed, why),
            Self::Previous => {
                let message = format!(
                    "record {expected} does not follow the record before it: one of the two was written again, with \
                     a hash that fits it alone"
                );
                (FaultKind::Changed, message)
            }
            Self::Sequence(found) if found < expected => {
                let message = format!(
                    "expected record {expected}, found record {found}, which stands further up: one of the two was \
                     put in"
                );
                (FaultKind::Inserted, message)
            }
            Self::Sequence(found) => match find(rest, expected, line)? {
                Some(at) => {
                    let message =
                        format!("expected record {expected}, found record {found}; {expected} is in line {at}");
                    (FaultKind::Reordered, message)
                }
                None => {
                    let last = found - 1;
                    let missing = if last == expected {
                        format!("record {last} is")
                    } else {
                        format!("records {expected} to {last} are")
                    };
                    (FaultKind::Removed, format!("expected record {expected}, found record {found}: {missing} missing"))
                }
            },
        })
    }
}

/// The line on which the record of a sequence stands after all.
fn find(rest: &mut impl BufRead, sequence: u64, mut number: u64) -> io::Result<Option<u64>> {
    let mut line = Vec::new();
    while read_line(rest, &mut line)? > 0 {
        number += 1;
        let entry = line.strip_suffix(b"\n").and_then(|text| Entry::read(text).ok());
        if entry.is_some_and(|entry| entry.sequence == sequence) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// The next line with its end. One that is too long to be a record comes cut, which is no record
/// either; what follows of it is left out.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    let limit = RECORD_BYTES_MAX as u64 + 1;
    let read = reader.by_ref().take(limit).read_until(b'\n', line)?;
    if read as u64 == limit && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        line.truncate(64);
        line.push(b'\n');
    }
    Ok(read)
}
