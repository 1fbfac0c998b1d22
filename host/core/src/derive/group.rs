//! What belongs together: groups of record keys.

use crate::table::Tables;

/// The group of every key of [`By::All`].
pub const ALL: &str = "all";

/// What makes keys belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// All of them do.
    All,
    /// Each key is its own group.
    #[default]
    Key,
    /// What stands before the first of this text; a key without it is its own group.
    Prefix(Box<str>),
    /// What a table says of the key when the group is asked for; a key of which it says nothing is
    /// its own group.
    Table {
        /// The table.
        name: Box<str>,
        /// The column.
        column: Box<str>,
    },
}

impl By {
    /// The group of a key, as far as the key alone tells: what shards count by.
    pub(crate) fn part<'a>(&self, key: &'a str) -> &'a str {
        match self {
            Self::All => ALL,
            Self::Prefix(separator) => key.split_once(&**separator).map_or(key, |(before, _)| before),
            Self::Key | Self::Table { .. } => key,
        }
    }

    /// The group, for an event of `time_us`, of what [`By::part`] gave. Whether a timer or a signal made
    /// the event is not known here, so tables that came at a watermark count after it for both.
    pub(crate) fn group<'a>(&self, part: &'a str, tables: &'a Tables, time_us: i64) -> &'a str {
        match self {
            Self::Table { name, column } => tables.get(name, part, column, time_us.saturating_sub(1)).unwrap_or(part),
            _ => part,
        }
    }
}
