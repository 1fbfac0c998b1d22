//! Masks: takes out of the records what must not be seen, before anything is stored, decoded or said
//! of them.
//!
//! A chunk is masked record by record, so that where chunks end changes nothing. Where it cannot be
//! known that nothing is left, the whole record is withheld: a note stands in its place, which is a
//! dead letter like the record would have been.

mod json;
mod kind;
mod text;

use std::sync::Arc;

use regex::Regex;
use sha2::{Digest, Sha256};
use stillhouse_core::Span;

use crate::config::schema::Format;
use crate::config::{Config, ConfigError, InputConfig, MaskConfig, hex, pseudonym, refuse};
use crate::decode::framing::{Chunk, RECORD_BYTES_MAX};
use crate::decode::json::Projection;

/// Stands in the place of a record that is withheld.
pub const WITHHELD: &str = "[withheld: it cannot be known what a mask would have hidden]";

/// A shorter salt is refused: whoever sees a pseudonym could try them all.
const SALT_BYTES_MIN: usize = 16;

/// How many hexadecimal digits of its hash a pseudonym has: with 16, a million values stay distinct
/// but for a chance of one in 36 millions.
const HASH_DIGITS: usize = 16;

/// The masks of a configuration.
#[derive(Debug, Default)]
pub struct Masks(Vec<(MaskConfig, Arc<Cover>)>);

/// What stands in the place of a secret.
struct Cover {
    with: String,
    salt: Option<String>,
}

impl std::fmt::Debug for Cover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The salt is nowhere to be seen.
        f.debug_struct("Cover").field("with", &self.with).finish_non_exhaustive()
    }
}

impl Cover {
    /// Appends what is shown instead of `secret`: `[email]`, or `[email:59f2c1d07a3be846]`.
    fn put(&self, secret: &str, out: &mut String) {
        let Some(salt) = &self.salt else { return out.push_str(&self.with) };
        let hash = hex(&Sha256::new().chain_update(salt).chain_update(secret).finalize());
        out.push_str(&pseudonym(&self.with, &hash[..HASH_DIGITS]));
    }

    fn text(&self, secret: &str) -> String {
        let mut out = String::new();
        self.put(secret, &mut out);
        out
    }
}

impl Masks {
    /// The masks of `config`. `env` reads environment variables.
    ///
    /// # Errors
    /// If a salt is not there or too short, with the line that names it.
    pub fn new(config: &Config, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let salt_of = |mask: &MaskConfig| {
            let Some((name, span)) = &mask.salt_env else { return Ok(None) };
            match env(name) {
                Some(salt) if salt.len() >= SALT_BYTES_MIN => Ok(Some(salt)),
                found => {
                    let came = found.map_or("is not set".to_owned(), |salt| format!("has {}", salt.len()));
                    let message = format!(
                        "expected a salt of at least {SALT_BYTES_MIN} bytes in the environment variable `{name}`, which {came}"
                    );
                    Err(config.error(refuse(span.clone(), message)))
                }
            }
        };
        let with_salt = |mask: &MaskConfig| {
            let cover = Cover { with: mask.with.clone(), salt: salt_of(mask)? };
            Ok((mask.clone(), Arc::new(cover)))
        };
        config.masks.iter().map(with_salt).collect::<Result<_, _>>().map(Self)
    }

    /// What is masked in the input `file_name`; `None` if nothing is.
    pub fn input(&self, input: &InputConfig, file_name: &str) -> Option<InputMask> {
        let of_input: Vec<_> = self.0.iter().filter(|(mask, _)| mask.files.matches(file_name)).collect();
        if of_input.is_empty() {
            return None;
        }
        let mut found = InputMask { format: input.format, ..InputMask::new() };
        for (mask, cover) in of_input {
            found.add_fields(mask, cover, input);
            let patterns = mask.pattern.iter().cloned().chain(mask.kind.iter().flat_map(|kind| kind::patterns(*kind)));
            found.searches.extend(patterns.map(|regex| Search::new(regex, cover)));
            found.names.extend(mask.kind.and_then(kind::names).map(|regex| (regex, Arc::clone(cover))));
        }
        Some(found)
    }
}

/// What is masked in one input.
#[derive(Debug)]
pub struct InputMask {
    format: Format,
    searches: Vec<Search>,
    /// JSON: keys whose value is a secret.
    names: Vec<(Regex, Arc<Cover>)>,
    /// JSON: fields whose value is a secret, as indices of `covers`.
    fields: Projection,
    covers: Vec<Arc<Cover>>,
    /// Text: the patterns and their groups that are secrets.
    patterns: Vec<text::Groups>,
    /// Whether a record must be understood to be masked.
    by_field: bool,
}

/// What is looked for in every text.
#[derive(Debug)]
struct Search {
    regex: Regex,
    /// Whether only the group of this name is masked.
    group: bool,
    cover: Arc<Cover>,
}

/// The group of a pattern that limits what is masked.
const GROUP: &str = "secret";

impl Search {
    fn new(regex: Regex, cover: &Arc<Cover>) -> Self {
        let group = regex.capture_names().flatten().any(|name| name == GROUP);
        Self { regex, group, cover: Arc::clone(cover) }
    }

    /// The text with every find covered; `None` if there is none.
    fn cover(&self, text: &str) -> Option<String> {
        let mut covered = String::new();
        let mut at = 0;
        let mut put = |found: regex::Match<'_>| {
            if !found.is_empty() {
                covered.push_str(&text[at..found.start()]);
                self.cover.put(found.as_str(), &mut covered);
                at = found.end();
            }
        };
        if self.group {
            self.regex.captures_iter(text).filter_map(|found| found.name(GROUP)).for_each(&mut put);
        } else {
            self.regex.find_iter(text).for_each(&mut put);
        }
        (at > 0).then(|| covered + &text[at..])
    }
}

impl InputMask {
    fn new() -> Self {
        Self {
            format: Format::Text,
            searches: Vec::new(),
            names: Vec::new(),
            fields: Projection::default(),
            covers: Vec::new(),
            patterns: Vec::new(),
            by_field: false,
        }
    }

    fn add_fields(&mut self, mask: &MaskConfig, cover: &Arc<Cover>, input: &InputConfig) {
        let slot = self.covers.len();
        self.covers.push(Arc::clone(cover));
        if self.format == Format::CloudEvents {
            // Nothing can be found in what is encoded, so all of it is covered.
            self.fields.want("data_base64", slot);
        }
        for field in &mask.fields {
            self.fields.want(field, slot);
            if self.format == Format::Json {
                field.strip_prefix("data.").into_iter().for_each(|path| self.fields.want(path, slot));
                let named = [("subject", &input.subject), ("id", &input.id)];
                let named = named.into_iter().filter(|(name, _)| name == field);
                named.filter_map(|(_, path)| path.as_ref()).for_each(|path| self.fields.want(path, slot));
            }
        }
        if self.patterns.is_empty() {
            self.patterns = input.patterns.iter().map(text::Groups::new).collect();
        }
        let hidden = self.patterns.iter_mut().map(|pattern| pattern.hide(&mask.fields, cover));
        let in_patterns = hidden.fold(false, |any, hidden| any | hidden);
        self.by_field |= in_patterns || self.format != Format::Text && !mask.fields.is_empty();
    }

    /// Masks a chunk and tells how many of its records were withheld.
    pub fn chunk(&self, chunk: &mut Chunk) -> u64 {
        let bytes = std::mem::take(&mut chunk.bytes);
        let spans = chunk.records.take();
        let (mut out, mut records) = (Vec::with_capacity(bytes.len()), Vec::new());
        let mut withheld = 0;
        let mut record = |raw: &[u8]| {
            let start = out.len() as u32;
            withheld += u64::from(self.record(raw, &mut out));
            records.push(Span { start, len: out.len() as u32 - start });
            out.push(b'\n');
        };
        match &spans {
            // What stands between records is no part of any, and is not kept.
            Some(spans) => {
                spans.iter().for_each(|span| record(&bytes[span.start as usize..(span.start + span.len) as usize]))
            }
            None => bytes
                .split_inclusive(|&byte| byte == b'\n')
                .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
                .for_each(|line| record(line.strip_suffix(b"\r").unwrap_or(line))),
        }
        chunk.bytes = out;
        chunk.records = spans.map(|_| records);
        // Where the beginning of a record was cut off, a secret may have been cut in two.
        for (_, kept, _) in chunk.broken.iter_mut().filter(|(_, kept, _)| !kept.is_empty()) {
            *kept = WITHHELD.into();
            withheld += 1;
        }
        withheld
    }

    /// Appends a masked record and tells whether it was withheld.
    fn record(&self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(text) = std::str::from_utf8(raw) else {
            let masked = self.unread(&String::from_utf8_lossy(raw)).filter(|_| !self.by_field);
            out.extend_from_slice(masked.as_deref().unwrap_or(WITHHELD).as_bytes());
            // It was not UTF-8 and stays so: what it is taken for must not depend on a mask.
            out.push(0xff);
            return masked.is_none();
        };
        let masked = match self.format {
            _ if text.trim_ascii().is_empty() => Some(text.to_owned()),
            Format::Text => self.line(text),
            Format::Json | Format::CloudEvents => match self.object(text) {
                None if !self.by_field => self.unread(text),
                masked => masked,
            },
        };
        let masked = masked.filter(|masked| masked.len() <= RECORD_BYTES_MAX);
        out.extend_from_slice(masked.as_deref().unwrap_or(WITHHELD).as_bytes());
        masked.is_none()
    }

    /// Masks what cannot be read. In JSON a backslash may stand for any character, so that a secret
    /// need not look like one.
    fn unread(&self, text: &str) -> Option<String> {
        let hidden = self.format != Format::Text && text.contains('\\');
        (!hidden).then(|| self.search(text).unwrap_or_else(|| text.to_owned()))
    }

    /// The text with all that is found covered; `None` if nothing is.
    fn search(&self, text: &str) -> Option<String> {
        let mut covered: Option<String> = None;
        for search in &self.searches {
            covered = search.cover(covered.as_deref().unwrap_or(text)).or(covered);
        }
        covered
    }
}
