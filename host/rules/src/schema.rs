//! Whether a mapper's list of canonical states may take the place of another.
//!
//! What was announced is kept as codes, so a code must go on meaning what it meant. Within one
//! version of the schema states may be added at the end, and nothing else; a higher version says
//! that the list begins anew, and nothing is compared: whoever keeps codes must forget them then.

use std::fmt;

use stillhouse_core::rule::{Condition, State};

/// Why one list of states may not take the place of another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The version is lower than the one in force.
    #[error("its schema has version {new}, but version {old} is in force; a version never falls")]
    Older {
        /// The version in force.
        old: u32,
        /// The version that was to follow.
        new: u32,
    },
    /// A known state is another one now, or is gone, and the version is the same.
    #[error(
        "its states are not those of before: {change}, but its schema still has version {version}; raise it, or \
         add states at the end only"
    )]
    Changed {
        /// The version of both.
        version: u32,
        /// The first difference.
        change: Change,
    },
}

/// What became of a known state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not in the list any more.
    Removed {
        /// The state.
        state: String,
    },
    /// It has another code.
    Moved {
        /// The state.
        state: String,
        /// Its code before.
        from: usize,
        /// Its code now.
        to: usize,
    },
    /// It means something else.
    Condition {
        /// The state.
        state: String,
        /// What it meant.
        old: Condition,
        /// What it means now.
        new: Condition,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { state } => write!(f, "`{state}` was removed or renamed"),
            Self::Moved { state, from, to } => write!(f, "`{state}` had code {from} and has {to}"),
            Self::Condition { state, old, new } => {
                write!(f, "`{state}` was {} and is {}", condition_name(*old), condition_name(*new))
            }
        }
    }
}

/// Whether the states `new` may take the place of `old`; each with its version.
///
/// # Errors
/// If the version falls, or stays and a code of `old` does not mean the same in `new`.
pub fn compatible(old: (u32, &[State]), new: (u32, &[State])) -> Result<(), Incompatible> {
    if new.0 != old.0 {
        return if new.0 > old.0 { Ok(()) } else { Err(Incompatible::Older { old: old.0, new: new.0 }) };
    }
    let change = old.1.iter().enumerate().find_map(|(code, state)| change(code, state, new.1));
    change.map_or(Ok(()), |change| Err(Incompatible::Changed { version: new.0, change }))
}

fn change(code: usize, known: &State, new: &[State]) -> Option<Change> {
    let state = known.name.clone();
    match new.iter().position(|other| other.name == known.name) {
        None => Some(Change::Removed { state }),
        Some(to) if to != code => Some(Change::Moved { state, from: code, to }),
        Some(to) if new[to].condition != known.condition => {
            Some(Change::Condition { state, old: known.condition, new: new[to].condition })
        }
        Some(_) => None,
    }
}

fn condition_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Healthy => "healthy",
        Condition::Problem => "a problem",
        Condition::Gone => "gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(names: &[(&str, Condition)]) -> Vec<State> {
        names.iter().map(|&(name, condition)| State { name: name.to_owned(), condition }).collect()
    }

    const UP: (&str, Condition) = ("up", Condition::Healthy);
    const DOWN: (&str, Condition) = ("down", Condition::Problem);
    const GONE: (&str, Condition) = ("gone", Condition::Gone);

    fn refused(old: &[(&str, Condition)], new: &[(&str, Condition)]) -> String {
        let (old, new) = (states(old), states(new));
        // A higher version may do what one version may not.
        assert_eq!(compatible((3, &old), (4, &new)), Ok(()));
        compatible((3, &old), (3, &new)).expect_err("it is refused").to_string()
    }

    #[test]
    fn states_may_be_added_at_the_end() {
        let (two, three) = (states(&[UP, DOWN]), states(&[UP, DOWN, GONE]));
        assert_eq!(compatible((1, &two), (1, &two)), Ok(()));
        assert_eq!(compatible((1, &two), (1, &three)), Ok(()));
        assert_eq!(compatible((1, &[]), (1, &three)), Ok(()));
    }

    #[test]
    fn whatever_else_needs_a_higher_version() {
        let text = |change| {
            format!(
                "its states are not those of before: {change}, but its schema still has version 3; raise it, or add \
                 states at the end only"
            )
        };
        assert_eq!(refused(&[UP, DOWN, GONE], &[UP, DOWN]), text("`gone` was removed or renamed"));
        assert_eq!(refused(&[UP, DOWN], &[("well", UP.1), DOWN]), text("`up` was removed or renamed"));
        assert_eq!(refused(&[UP, DOWN], &[DOWN, UP]), text("`up` had code 0 and has 1"));
        assert_eq!(refused(&[UP, DOWN], &[UP, GONE, DOWN]), text("`down` had code 1 and has 2"));
        assert_eq!(
            refused(&[UP, DOWN], &[UP, ("down", Condition::Healthy)]),
            text("`down` was a problem and is healthy")
        );
    }

    #[test]
    fn a_version_never_falls() {
        let two = states(&[UP, DOWN]);
        let error = compatible((2, &two), (1, &two)).expect_err("it is refused");
        assert_eq!(error.to_string(), "its schema has version 1, but version 2 is in force; a version never falls");
    }
}
