//! `[[mask]]`: what nothing that is stored or written may show.

use std::ops::Range;

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};
use serde::Deserialize;
use toml::Spanned;

use crate::config::schema::Format;
use crate::config::{InputConfig, Refusal, did_you_mean, listed, refuse};

/// The text that stands for what was masked is not longer.
const WITH_BYTES_MAX: usize = 64;

/// `[[mask]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// The inputs that it is for: a pattern with `*` for the file name (all).
    pub files: Option<Spanned<String>>,
    /// Paths of the signal, or named groups of text patterns: their whole value is masked.
    pub fields: Option<Spanned<Vec<String>>>,
    /// A regular expression: what it matches is masked, or only its group `secret` if it has one.
    pub pattern: Option<Spanned<String>>,
    /// A known kind of secret.
    pub kind: Option<Spanned<MaskKind>>,
    /// What stands in its place (`[KIND]`, or `[masked]`).
    pub with: Option<Spanned<String>>,
    /// Whether a pseudonym stands in its place: equal values have equal ones.
    #[serde(default)]
    pub hash: bool,
    /// The environment variable with the salt of the pseudonyms.
    pub salt_env: Option<Spanned<String>>,
}

/// `kind`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// Addresses of mail.
    Email,
    /// IPv4 and IPv6 addresses.
    Address,
    /// Passwords, keys, and tokens.
    Token,
}

impl MaskKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Address => "address",
            Self::Token => "token",
        }
    }
}

/// A checked `[[mask]]`.
#[derive(Clone, Debug)]
pub struct MaskConfig {
    /// The inputs that it is for, by file name.
    pub files: glob::Pattern,
    /// Fields whose value is masked.
    pub fields: Vec<String>,
    /// What is masked wherever it stands.
    pub pattern: Option<Regex>,
    /// What is masked wherever it stands.
    pub kind: Option<MaskKind>,
    /// What stands in its place.
    pub with: String,
    /// Pseudonyms: the environment variable with their salt, and where the configuration names it.
    pub salt_env: Option<(String, Range<usize>)>,
}

impl MaskConfig {
    pub(super) fn check(file: Spanned<Mask>, inputs: &[InputConfig]) -> Result<Self, Refusal> {
        let (span, file) = (file.span(), file.into_inner());
        let files = file.files.unwrap_or_else(|| Spanned::new(0..0, "*".into()));
        let files = glob::Pattern::new(files.get_ref())
            .map_err(|error| refuse(files.span(), format!("not a pattern for file names: {error}")))?;
        if file.fields.is_none() && file.pattern.is_none() && file.kind.is_none() {
            return Err(refuse(span, "a mask needs `fields`, `pattern` or `kind`: what is to be masked"));
        }
        if let Some(fields) = &file.fields {
            check_fields(fields, inputs)?;
        }
        let with_span = file.with.as_ref().map_or(span.clone(), Spanned::span);
        let pattern = file.pattern.as_ref().map(|pattern| {
            let regex = Regex::new(pattern.get_ref());
            regex.map_err(|error| refuse(pattern.span(), format!("not a regular expression: {error}")))
        });
        let kind = file.kind.map(Spanned::into_inner);
        let with = match file.with {
            None => format!("[{}]", kind.map_or("masked", MaskKind::name)),
            Some(with) if with.get_ref().is_empty() || with.get_ref().len() > WITH_BYTES_MAX => {
                return Err(refuse(with.span(), format!("expected a text of 1 to {WITH_BYTES_MAX} bytes")));
            }
            Some(with) if with.get_ref().contains(char::is_control) => {
                return Err(refuse(with.span(), "expected a text of one line, without control characters"));
            }
            Some(with) => with.into_inner(),
        };
        let salt_env = match (file.hash, file.salt_env) {
            (true, Some(name)) => Some((name.get_ref().clone(), name.span())),
            (true, None) => {
                let message = "`hash` needs `salt_env`: without a salt, what is masked can be guessed";
                return Err(refuse(span, message));
            }
            (false, Some(name)) => return Err(refuse(name.span(), "`salt_env` without `hash = true`")),
            (false, None) => None,
        };
        let fields = file.fields.map(Spanned::into_inner).unwrap_or_default();
        let shown = if salt_env.is_some() { pseudonym(&with, SAMPLE_HASH) } else { with.clone() };
        if let Some((group, pattern)) = refusing_group(&fields, &shown, inputs) {
            let message = format!(
                "`{shown}` would not be read: the group `{group}` takes `{pattern}` only; \
                 set `with` to a text that it takes, such as `masked` or `0`"
            );
            return Err(refuse(with_span, message));
        }
        Ok(Self { files, fields, pattern: pattern.transpose()?, kind, with, salt_env })
    }
}

/// Which fields JSON has is not known; but where every input is text, a field is one of the groups.
fn check_fields(fields: &Spanned<Vec<String>>, inputs: &[InputConfig]) -> Result<(), Refusal> {
    if fields.get_ref().is_empty() || fields.get_ref().iter().any(String::is_empty) {
        return Err(refuse(fields.span(), "`fields` needs at least one path or group"));
    }
    if inputs.iter().any(|input| input.format != Format::Text) {
        return Ok(());
    }
    let groups: Vec<&str> =
        inputs.iter().flat_map(|input| &input.patterns).flat_map(|pattern| pattern.groups()).collect();
    let unknown = fields.get_ref().iter().find(|field| !groups.contains(&field.strip_prefix("data.").unwrap_or(field)));
    match unknown {
        None => Ok(()),
        Some(field) => {
            let message = format!(
                "no pattern has a group `{field}`; there is {}{}",
                listed(&groups),
                did_you_mean(field, &groups)
            );
            Err(refuse(fields.span(), message))
        }
    }
}

/// As long as a hash is.
const SAMPLE_HASH: &str = "59f2c1d07a3be846";

/// What stands in the place of a value: `[email:59f2c1d07a3be846]`, or `user_59f2c1d07a3be846` where
/// the text has no brackets.
pub fn pseudonym(with: &str, hash: &str) -> String {
    match with.strip_suffix(']') {
        Some(open) => format!("{open}:{hash}]"),
        None => format!("{with}_{hash}"),
    }
}

/// A group that is masked by `shown` but does not match it, and the pattern inside it: a line with it
/// would no longer be read.
fn refusing_group(fields: &[String], shown: &str, inputs: &[InputConfig]) -> Option<(String, String)> {
    let patterns = inputs.iter().flat_map(|input| &input.patterns);
    let regexes = patterns.flat_map(|pattern| std::iter::once(&pattern.regex).chain(&pattern.each));
    for regex in regexes {
        let Ok(parsed) = regex_syntax::parse(regex.as_str()) else { continue };
        for field in fields {
            let name = field.strip_prefix("data.").unwrap_or(field);
            let inside = group(&parsed, name).map(ToString::to_string);
            let takes =
                |inside: &String| Regex::new(&format!("^(?:{inside})$")).is_ok_and(|regex| regex.is_match(shown));
            if let Some(inside) = inside.filter(|inside| !takes(inside)) {
                return Some((name.to_owned(), inside));
            }
        }
    }
    None
}

/// What stands inside the group `name`.
fn group<'h>(pattern: &'h Hir, name: &str) -> Option<&'h Hir> {
    match pattern.kind() {
        HirKind::Capture(capture) if capture.name.as_deref() == Some(name) => Some(&capture.sub),
        HirKind::Capture(capture) => group(&capture.sub, name),
        HirKind::Repetition(repetition) => group(&repetition.sub, name),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().find_map(|part| group(part, name)),
        _ => None,
    }
}
