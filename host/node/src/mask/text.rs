//! Masks lines of text: the named groups of the patterns that read them, then whatever is found.

use std::ops::Range;
use std::sync::Arc;

use regex::{Captures, Regex};

use crate::config::PatternConfig;
use crate::mask::{Cover, InputMask};

/// A pattern and those of its groups that are secrets.
#[derive(Debug)]
pub struct Groups {
    line: Regex,
    each: Option<Regex>,
    hidden: Vec<(String, Arc<Cover>)>,
}

impl Groups {
    /// A pattern of which nothing is secret.
    pub(super) fn new(pattern: &PatternConfig) -> Self {
        Self { line: pattern.regex.clone(), each: pattern.each.clone(), hidden: Vec::new() }
    }

    /// Hides those of the fields that are groups of the pattern, and tells whether there are any.
    pub(super) fn hide(&mut self, fields: &[String], cover: &Arc<Cover>) -> bool {
        let before = self.hidden.len();
        for field in fields {
            let group = field.strip_prefix("data.").unwrap_or(field);
            let mut names = self.line.capture_names().chain(self.each.iter().flat_map(Regex::capture_names)).flatten();
            if names.any(|name| name == group) {
                self.hidden.push((group.to_owned(), Arc::clone(cover)));
            }
        }
        self.hidden.len() > before
    }

    /// Where the secrets of `line` are; `None` if the pattern does not match.
    fn find(&self, line: &str) -> Option<Vec<(Range<usize>, &Cover)>> {
        let first = self.line.captures(line)?;
        let mut found = Vec::new();
        let mut add = |captures: &Captures<'_>| {
            let groups = self.hidden.iter().filter_map(|(name, cover)| Some((captures.name(name)?.range(), &**cover)));
            found.extend(groups.filter(|(range, _)| !range.is_empty()));
        };
        add(&first);
        if let Some(each) = &self.each {
            let mut at = first.get(0).map_or(line.len(), |matched| matched.end());
            while let Some(captures) = each.captures_at(line, at) {
                add(&captures);
                // As the decoder goes on: an empty match must not stand still.
                let end = captures.get(0).map_or(line.len(), |matched| matched.end());
                at = if end > at { end } else { end + 1 };
                if at > line.len() || !line.is_char_boundary(at) {
                    break;
                }
            }
        }
        // Of groups inside each other the outer one counts.
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        Some(found)
    }
}

impl InputMask {
    /// The masked line; `None` if it must be withheld.
    pub(super) fn line(&self, line: &str) -> Option<String> {
        let mut masked = line.to_owned();
        if self.by_field {
            // The pattern that reads the line is the first that matches.
            let found = self.patterns.iter().find_map(|pattern| pattern.find(line))?;
            masked.clear();
            let mut at = 0;
            for (range, cover) in found {
                if range.start >= at {
                    masked.push_str(&line[at..range.start]);
                    cover.put(&line[range.clone()], &mut masked);
                    at = range.end;
                }
            }
            masked.push_str(&line[at..]);
        }
        Some(self.search(&masked).unwrap_or(masked))
    }
}
