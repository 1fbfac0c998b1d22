//! One record of the audit trail, and how it is written.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RECORD_BYTES_MAX;
use crate::access::Role;
use crate::slots::Kind;

/// The longest `why` and `told`, in bytes as they are written.
const TEXT_BYTES_MAX: usize = 2048;

/// The longest of the other texts, in bytes as they are written.
const NAME_BYTES_MAX: usize = 256;

// Two texts, five names, each with the mark that it was cut, and all else.
const _: () = assert!(2 * (TEXT_BYTES_MAX + 3) + 5 * (NAME_BYTES_MAX + 3) + 1024 <= RECORD_BYTES_MAX);

/// What is written of one act.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// When.
    pub time: Timestamp,
    /// Who: a token's name, `uid N`, `stillhouse` for what the host decided, or `unknown`.
    pub who: String,
    /// What they may do, if they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What they did or tried.
    pub what: String,
    /// The signal type of the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The kind of the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// SHA-256 of the file concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why, as it was said.
    pub why: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The record that this one is the outcome of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// What came of it, or why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// How an act ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Not yet: it is about to be tried. A later record says how it ended; where none does, the host
    /// was stopped in between, and its log tells.
    Asked,
    /// It was done.
    Done,
    /// It was not done.
    Refused,
}

impl Outcome {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl Record {
    /// What the host did by itself.
    pub fn of_host(time: Timestamp, what: &str, why: &str) -> Self {
        Self {
            time,
            who: "stillhouse".into(),
            role: None,
            from: None,
            what: what.into(),
            signal: None,
            kind: None,
            digest: None,
            why: why.into(),
            outcome: Outcome::Done,
            of: None,
            told: None,
        }
    }

    /// With texts cut so that the record fits.
    pub(super) fn fitted(mut self) -> Self {
        for text in [Some(&mut self.why), self.told.as_mut()].into_iter().flatten() {
            cut(text, TEXT_BYTES_MAX);
        }
        let short = [Some(&mut self.who), Some(&mut self.what), self.from.as_mut(), self.digest.as_mut()];
        short.into_iter().flatten().chain(self.signal.as_mut()).for_each(|text| cut(text, NAME_BYTES_MAX));
        self
    }
}

/// Cuts a text to so many bytes as it is written in JSON.
fn cut(text: &mut String, bytes_max: usize) {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, letter)| {
        bytes += match letter {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            letter if (*letter as u32) < 0x20 => 6,
            letter => letter.len_utf8(),
        };
        bytes > bytes_max
    });
    if let Some((at, _)) = end {
        text.truncate(at);
        text.push('…');
    }
}

/// A record in its place in the chain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Its number, from 1; also the line it stands on.
    pub sequence: u64,
    /// What it says.
    #[serde(flatten)]
    pub record: Record,
    /// The hash of the record before it.
    pub previous: String,
    /// SHA-256 of its line up to this field, in hexadecimal.
    pub hash: String,
}

/// What is hashed, in the order in which it is written.
#[derive(Serialize)]
struct Body<'a> {
    sequence: u64,
    #[serde(flatten)]
    record: &'a Record,
    previous: &'a str,
}

const HASH_FIELD: &str = ",\"hash\":\"";

impl Entry {
    /// Puts a record into the chain; also gives its line.
    pub(super) fn seal(record: Record, sequence: u64, previous: &str) -> (Self, String) {
        let body = Body { sequence, record: &record, previous };
        let mut line = serde_json::to_string(&body).expect("texts and numbers can be written as JSON");
        line.pop();
        let hash = crate::sha256_hex(line.as_bytes());
        line.push_str(&format!("{HASH_FIELD}{hash}\"}}\n"));
        (Self { sequence, record, previous: previous.to_owned(), hash }, line)
    }

    /// Reads a line, without its end. Says what is wrong with it by itself.
    pub(super) fn read(line: &[u8]) -> Result<Self, String> {
        let end = HASH_FIELD.len() + 64 + 2;
        let body = line.len().checked_sub(end).map(|at| &line[..at]).ok_or("it is too short to be a record")?;
        let entry: Self = serde_json::from_slice(line).map_err(|error| format!("it is no record: {error}"))?;
        let is_last = line[body.len()..].starts_with(HASH_FIELD.as_bytes());
        if !is_last || crate::sha256_hex(body) != entry.hash {
            return Err("its hash does not fit what it says".into());
        }
        Ok(entry)
    }
}
