//! Reads the wanted fields out of a line of text by patterns with named groups.

use regex::{CaptureLocations, Regex};

use crate::decode::{Slot, Slots};

/// One pattern: the lines it matches are signals of one type.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// Index of the signal type.
    pub signal_type: u16,
    line: Matcher,
    each: Option<Matcher>,
}

#[derive(Clone, Debug)]
struct Matcher {
    regex: Regex,
    /// Group number and the slot it fills.
    groups: Vec<(usize, usize)>,
}

impl Matcher {
    fn new(regex: Regex, slot_of: &mut dyn FnMut(&str) -> Option<usize>) -> Self {
        let names = regex.capture_names().enumerate();
        let groups = names.filter_map(|(group, name)| Some((group, slot_of(name?)?))).collect();
        Self { regex, groups }
    }

    fn fill<'a>(&self, text: &'a str, found: &CaptureLocations, slots: &mut Slots<'a>) {
        for &(group, slot) in &self.groups {
            slots.values[slot] = found.get(group).map_or(Slot::Absent, |(start, end)| Slot::Text(&text[start..end]));
        }
    }
}

impl Pattern {
    /// A pattern whose named groups fill the slots that `slot_of` names. `each` is applied again and
    /// again to what follows the match of `line`; each of its matches is a record.
    pub fn new(
        signal_type: u16,
        line: Regex,
        each: Option<Regex>,
        slot_of: &mut dyn FnMut(&str) -> Option<usize>,
    ) -> Self {
        Self { signal_type, line: Matcher::new(line, slot_of), each: each.map(|each| Matcher::new(each, slot_of)) }
    }

    /// Calls `record` for each record in `line`, with the slots filled, and tells whether the
    /// pattern matched.
    pub fn read<'a>(&self, line: &'a str, slots: &mut Slots<'a>, record: &mut dyn FnMut(u64, &Slots<'a>)) -> bool {
        let mut found = self.line.regex.capture_locations();
        let Some(matched) = self.line.regex.captures_read(&mut found, line) else { return false };
        self.line.fill(line, &found, slots);
        let Some(each) = &self.each else {
            record(0, slots);
            return true;
        };
        let mut found = each.regex.capture_locations();
        let mut at = matched.end();
        let mut number = 0;
        while let Some(matched) = each.regex.captures_read_at(&mut found, line, at) {
            each.fill(line, &found, slots);
            record(number, slots);
            number += 1;
            // An empty match must not stand still.
            at = if matched.end() > at { matched.end() } else { matched.end() + 1 };
            if at > line.len() || !line.is_char_boundary(at) {
                break;
            }
        }
        true
    }
}
