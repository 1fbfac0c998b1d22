//! The tools of who writes rules: what `stillhouse rule` does, apart from the command line.
//!
//! [`scaffold`] makes the folder of a new rule, [`folder`] builds and tests one, [`places`] finds the
//! line of a text in it. [`rows`] reads signals as a rule is given
//! them, [`candidates`] makes what a suppressor is given, [`asking`] asks it, and
//! [`bench`] takes the time. [`lint`] looks for what works but is unwise. [`keys`] are the files of
//! keys, [`table`] lays cells out.

pub mod asking;
pub mod bench;
pub mod candidates;
pub mod folder;
pub mod keys;
pub mod lint;
pub mod places;
pub mod rows;
pub mod scaffold;
pub mod table;
