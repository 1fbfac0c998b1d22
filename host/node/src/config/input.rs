//! How an input is read: format, event time, patterns.

use jiff::tz::TimeZone;
use regex::Regex;

use crate::config::schema::{Format, Input, Time, Unmatched};
use crate::config::{Overrides, Refusal, did_you_mean, listed, refuse};
use crate::decode::time::TimeFormat;

/// A checked `[[input]]`.
#[derive(Clone, Debug)]
pub struct InputConfig {
    /// Which files it reads, by file name.
    pub files: glob::Pattern,
    /// What they are made of.
    pub format: Format,
    /// Named groups on the file name become fields.
    pub file_fields: Option<Regex>,
    /// What becomes of text that no pattern matches.
    pub unmatched: Unmatched,
    /// JSON: index of the signal type.
    pub signal_type: Option<u16>,
    /// The name of the source, instead of the file name.
    pub source: Option<String>,
    /// JSON: path of the id.
    pub id: Option<String>,
    /// JSON: path of the subject.
    pub subject: Option<String>,
    /// Path or group of what orders signals of equal time.
    pub sequence: Option<String>,
    /// How event time is read.
    pub time: TimeConfig,
    /// Text: the patterns, in order.
    pub patterns: Vec<PatternConfig>,
    /// When its signals are let go rather than waited with.
    pub shed: Option<crate::input::Shed>,
}

/// How event time is read.
#[derive(Clone, Debug)]
pub struct TimeConfig {
    /// Paths or groups; the first that is there counts.
    pub fields: Vec<String>,
    /// One signal for each field that is there, instead.
    pub each_field: bool,
    /// How it is written.
    pub format: TimeFormat,
}

/// A checked `[[input.pattern]]`.
#[derive(Clone, Debug)]
pub struct PatternConfig {
    /// Index of the signal type.
    pub signal_type: u16,
    /// Matches the line.
    pub regex: Regex,
    /// Matches again and again what follows.
    pub each: Option<Regex>,
}

impl PatternConfig {
    /// The named groups: what becomes a field.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().chain(self.each.iter().flat_map(Regex::capture_names)).flatten()
    }
}

impl InputConfig {
    pub(super) fn check(file: Input, types: &[String], overrides: &Overrides) -> Result<Self, Refusal> {
        let files = glob::Pattern::new(file.files.get_ref())
            .map_err(|error| refuse(file.files.span(), format!("not a pattern for file names: {error}")))?;
        let format = *file.format.get_ref();
        let regex = |text: &toml::Spanned<String>| {
            Regex::new(text.get_ref())
                .map_err(|error| refuse(text.span(), format!("not a regular expression: {error}")))
        };
        let signal_type = |name: &toml::Spanned<String>| type_index(name, types);
        let only = |what: &str, wanted: Format, span: Option<std::ops::Range<usize>>| match span {
            Some(span) if format != wanted => {
                let wanted = if wanted == Format::Text { "text" } else { "json" };
                Err(refuse(span, format!("`{what}` is for `format = \"{wanted}\"` only")))
            }
            _ => Ok(()),
        };
        only("pattern", Format::Text, file.pattern.first().map(|pattern| pattern.regex.span()))?;
        only("unmatched", Format::Text, file.unmatched.as_ref().map(toml::Spanned::span))?;
        only("type", Format::Json, file.signal_type.as_ref().map(toml::Spanned::span))?;
        only("id", Format::Json, file.id.as_ref().map(toml::Spanned::span))?;
        only("subject", Format::Json, file.subject.as_ref().map(toml::Spanned::span))?;
        let json_type = file.signal_type.as_ref().map(signal_type).transpose()?;
        match format {
            Format::Text if file.pattern.is_empty() => {
                return Err(refuse(
                    file.format.span(),
                    "text needs at least one `[[input.pattern]]` with `type` and `regex`",
                ));
            }
            Format::Json if json_type.is_none() => {
                return Err(refuse(file.format.span(), "json needs a `type`: the signal type of its objects"));
            }
            _ => {}
        }
        let mut patterns = Vec::new();
        for pattern in &file.pattern {
            patterns.push(PatternConfig {
                signal_type: signal_type(&pattern.signal_type)?,
                regex: regex(&pattern.regex)?,
                each: pattern.each.as_ref().map(regex).transpose()?,
            });
        }
        let time = time(file.time, format, overrides)?;
        for (pattern, checked) in file.pattern.iter().zip(&patterns) {
            let groups: Vec<&str> = checked.groups().collect();
            if !time.fields.iter().any(|field| groups.contains(&field.as_str())) {
                let message = format!(
                    "no group gives the event time: expected one of {}, the pattern has {}",
                    listed(&time.fields.iter().map(|field| field.as_str()).collect::<Vec<_>>()),
                    if groups.is_empty() { "none".into() } else { listed(&groups) }
                );
                return Err(refuse(pattern.regex.span(), message));
            }
        }
        Ok(Self {
            files,
            format,
            file_fields: file.file_fields.as_ref().map(regex).transpose()?,
            unmatched: file.unmatched.map_or(Unmatched::DeadLetter, |unmatched| *unmatched.get_ref()),
            signal_type: json_type,
            source: file.source,
            id: file.id.map(toml::Spanned::into_inner),
            subject: file.subject.map(toml::Spanned::into_inner),
            sequence: file.sequence.map(toml::Spanned::into_inner),
            time,
            patterns,
            shed: file.shed,
        })
    }
}

fn type_index(name: &toml::Spanned<String>, types: &[String]) -> Result<u16, Refusal> {
    if let Some(index) = types.iter().position(|known| known == name.get_ref()) {
        return Ok(index as u16);
    }
    let known: Vec<&str> = types.iter().map(|known| known.as_str()).collect();
    let message = format!(
        "there is no `[signal.\"{}\"]`; there is {}{}",
        name.get_ref(),
        listed(&known),
        did_you_mean(name.get_ref(), &known)
    );
    Err(refuse(name.span(), message))
}

fn time(time: Option<Time>, format: Format, overrides: &Overrides) -> Result<TimeConfig, Refusal> {
    let default = || TimeConfig { fields: vec!["time".into()], each_field: false, format: TimeFormat::Rfc3339 };
    let Some(time) = time else { return Ok(default()) };
    if let (Format::CloudEvents, Some(fields)) = (format, &time.fields) {
        return Err(refuse(fields.span(), "a CloudEvent has its time in `time`; leave `fields` out"));
    }
    if let Some(empty) = time.fields.as_ref().filter(|fields| fields.get_ref().is_empty()) {
        return Err(refuse(empty.span(), "`fields` needs at least one name"));
    }
    let written = time.format.as_ref().map_or("rfc3339", |format| format.get_ref().as_str());
    let read = match written {
        "rfc3339" => TimeFormat::Rfc3339,
        "unix" => TimeFormat::Unix(1_000_000),
        "unix-ms" => TimeFormat::Unix(1_000),
        "unix-us" => TimeFormat::Unix(1),
        custom if custom.contains('%') => {
            let zone = match &time.zone {
                None => TimeZone::UTC,
                Some(zone) => zone_of(zone.get_ref()).ok_or_else(|| {
                    let message = format!(
                        "expected `UTC`, an offset such as `-07:00` or a name such as `Europe/Berlin`, got `{}`",
                        zone.get_ref()
                    );
                    refuse(zone.span(), message)
                })?,
            };
            let year = overrides.year.or(time.year.as_ref().map(|year| *year.get_ref()));
            let has_year = ["%Y", "%y", "%F", "%D", "%s", "%c", "%G"].iter().any(|part| custom.contains(part));
            if !has_year && year.is_none() {
                let span = time.format.as_ref().map_or(0..0, toml::Spanned::span);
                return Err(refuse(span, "the format has no year: add `year = ..` or give --year"));
            }
            TimeFormat::Custom { format: custom.into(), zone, year }
        }
        other => {
            let span = time.format.as_ref().map_or(0..0, toml::Spanned::span);
            let known = ["rfc3339", "unix", "unix-ms", "unix-us"];
            let message = format!(
                "expected {} or a format with `%`, got `{other}`{}",
                listed(&known),
                did_you_mean(other, &known)
            );
            return Err(refuse(span, message));
        }
    };
    let fields = time.fields.map_or_else(|| default().fields, toml::Spanned::into_inner);
    Ok(TimeConfig { fields, each_field: time.each_field, format: read })
}

fn zone_of(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("utc") || name == "Z" {
        return Some(TimeZone::UTC);
    }
    let (sign, digits) = match name.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return TimeZone::get(name).ok(),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    jiff::tz::Offset::from_seconds(sign * seconds).ok().map(TimeZone::fixed)
}
