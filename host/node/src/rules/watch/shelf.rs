//! The files of the folder: how each looked last, what was told of it, and when to read it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::file::{self, Contents, Stamp};
use super::places::{Heard, Sign, Way};
use super::{Change, EXTENSION, SIGNATURE, Watching, rule_name};
use crate::config::hex;

/// All that is watched.
pub struct Shelf {
    folder: PathBuf,
    how: Watching,
    files: BTreeMap<String, Watched>,
    /// What the log was told last of the folder, so that it is told once.
    trouble: Option<String>,
}

/// What must be listened to.
pub struct Names {
    /// The folder of rules, without links, if it is there.
    pub folder: Option<PathBuf>,
    pub all: BTreeSet<PathBuf>,
}

/// A rule and its signature.
struct Watched {
    rule: Part,
    signature: Part,
    /// When to read it; `None` while nothing has changed since it was judged.
    judge_at: Option<Instant>,
    told: Option<Told>,
    /// Why it was refused, if that is what was told last.
    refused: Option<String>,
}

/// One of the two files.
struct Part {
    path: PathBuf,
    names: Vec<PathBuf>,
    there: bool,
    stamp: Option<Stamp>,
    sign: Option<Sign>,
    /// Since when it has been as it is.
    since: Instant,
}

/// The version that was told last.
struct Told {
    digest: String,
    /// `None` where the listener had it before, with a signature that nobody has told here.
    signature: Option<Option<String>>,
}

impl Shelf {
    pub fn new(folder: PathBuf, known: BTreeMap<String, String>, how: &Watching) -> Self {
        let mut shelf = Self { folder, how: how.clone(), files: BTreeMap::new(), trouble: None };
        for (name, digest) in known {
            let told = Some(Told { digest, signature: None });
            // It may have gone meanwhile, which no look shows as a change.
            let judge_at = Some(Instant::now() + how.refused_after);
            let watched = Watched { told, judge_at, ..Watched::new(shelf.path(&name)) };
            shelf.files.insert(name, watched);
        }
        shelf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{EXTENSION}"))
    }

    /// Looks at every file, but into none.
    pub fn look(&mut self, heard: &Heard) -> Names {
        let way = Way::from(Path::new("/"), &self.folder);
        let folder = way.end.filter(|end| end.is_dir());
        if let Some(folder) = &folder {
            for name in self.list(folder) {
                let path = self.path(&name);
                self.files.entry(name).or_insert_with(|| Watched::new(path));
            }
        }
        let mut all: BTreeSet<PathBuf> = way.names.iter().cloned().collect();
        for watched in self.files.values_mut() {
            watched.look(folder.as_deref(), &way.names, heard, &self.how);
            all.extend(watched.rule.names.iter().chain(&watched.signature.names).cloned());
        }
        Names { folder, all }
    }

    /// The names of the rules in the folder, as many as there may be.
    fn list(&mut self, folder: &Path) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut trouble = None;
        match fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let file = entry.file_name();
                    let Some(name) = file.to_str().and_then(rule_name) else { continue };
                    names.insert(name.to_owned());
                    if names.len() > self.how.files_max {
                        names.pop_last();
                        trouble =
                            Some(format!("more than {} rules; those after them are not looked at", self.how.files_max));
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => trouble = Some(error.to_string()),
        }
        if trouble != self.trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!(folder = %self.folder.display(), trouble, "folder of rules");
            }
            self.trouble = trouble;
        }
        names
    }

    /// The names of the files to judge now.
    pub fn due(&self) -> Vec<String> {
        let now = Instant::now();
        let due = self.files.iter().filter(|(_, file)| file.judge_at.is_some_and(|at| at <= now));
        due.map(|(name, _)| name.clone()).collect()
    }

    /// When the next file is due.
    pub fn next(&self) -> Option<Instant> {
        self.files.values().filter_map(|file| file.judge_at).min()
    }

    /// Reads a file and says what has changed, unless somebody is `writing` one of its names by now.
    pub fn judge(&mut self, name: &str, writing: impl FnMut(&[PathBuf]) -> bool) -> Option<Change> {
        let watched = self.files.get_mut(name)?;
        let path = watched.rule.path.clone();
        match watched.judge(&self.how, writing) {
            Verdict::Nothing => None,
            Verdict::Found { digest, bytes, signature } => {
                let (name, bytes) = (name.to_owned(), bytes.into());
                Some(Change::Found { name, path, digest, bytes, signature })
            }
            Verdict::Refused(why) => Some(Change::Refused { name: name.to_owned(), path, why }),
            Verdict::Gone => {
                let was_told = watched.told.is_some() || watched.refused.is_some();
                self.files.remove(name);
                was_told.then(|| Change::Gone { name: name.to_owned(), path })
            }
        }
    }
}

enum Verdict {
    Nothing,
    Found { digest: String, bytes: Vec<u8>, signature: Option<String> },
    Refused(String),
    Gone,
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        let mut signature = path.clone().into_os_string();
        signature.push(SIGNATURE);
        let (rule, signature) = (Part::new(path), Part::new(signature.into()));
        Self { rule, signature, judge_at: None, told: None, refused: None }
    }

    fn look(&mut self, folder: Option<&Path>, way: &[PathBuf], heard: &Heard, how: &Watching) {
        let rule = self.rule.look(folder, way, heard);
        let signature = self.signature.look(folder, way, heard);
        if rule || signature {
            self.judge_at = Some(if self.rule.there {
                self.rule.readable_at(how).max(self.signature.readable_at(how))
            } else {
                self.since() + how.refused_after
            });
        }
    }

    fn since(&self) -> Instant {
        self.rule.since.max(self.signature.since)
    }

    fn judge(&mut self, how: &Watching, writing: impl FnMut(&[PathBuf]) -> bool) -> Verdict {
        if !self.rule.there {
            return Verdict::Gone;
        }
        let contents = file::signature(&self.signature.path).and_then(|signature| {
            match file::read(&self.rule.path, how.file_bytes_max) {
                Contents::Bytes(bytes) => match stillhouse_rules::whole(&bytes) {
                    Ok(()) => Ok((bytes, signature)),
                    Err(why) => Err(Contents::Unfit(why)),
                },
                other => Err(other),
            }
        });
        match contents {
            Ok((bytes, signature)) => self.found(bytes, signature, how, writing),
            Err(Contents::Unfit(why)) => self.unfit(why, how),
            Err(_) => {
                self.judge_at = Some(Instant::now() + how.settled_after);
                Verdict::Nothing
            }
        }
    }

    fn found(
        &mut self,
        bytes: Vec<u8>,
        signature: Option<String>,
        how: &Watching,
        mut writing: impl FnMut(&[PathBuf]) -> bool,
    ) -> Verdict {
        let digest = hex(&Sha256::digest(&bytes));
        let told = self.told.as_ref();
        let same_digest = told.is_some_and(|told| told.digest == digest);
        let told_signature = told.and_then(|told| told.signature.as_ref());
        let same_signature = told_signature.is_none_or(|told| *told == signature);
        let was_signed = matches!(told_signature, Some(Some(_)));
        // One of the two is written before the other.
        let other_follows = if same_digest {
            was_signed && !same_signature
        } else {
            (was_signed && same_signature) || (signature.is_none() && (was_signed || how.signed))
        };
        let patience = self.since() + how.refused_after;
        if other_follows && Instant::now() < patience {
            self.judge_at = Some(patience);
            return Verdict::Nothing;
        }
        if writing(&self.rule.names) || writing(&self.signature.names) {
            // The next look says when to come again.
            return Verdict::Nothing;
        }
        self.judge_at = None;
        self.refused = None;
        let news = !(same_digest && same_signature);
        self.told = Some(Told { digest: digest.clone(), signature: Some(signature.clone()) });
        if news { Verdict::Found { digest, bytes, signature } } else { Verdict::Nothing }
    }

    fn unfit(&mut self, why: String, how: &Watching) -> Verdict {
        let writing = [self.rule.sign, self.signature.sign].contains(&Some(Sign::Writing));
        let patience = self.since() + if writing { how.abandoned_after } else { how.refused_after };
        if Instant::now() < patience {
            self.judge_at = Some(patience);
            return Verdict::Nothing;
        }
        self.judge_at = None;
        self.told = None;
        if self.refused.as_ref() == Some(&why) {
            return Verdict::Nothing;
        }
        self.refused = Some(why.clone());
        Verdict::Refused(why)
    }
}

impl Part {
    fn new(path: PathBuf) -> Self {
        Self { path, names: Vec::new(), there: false, stamp: None, sign: None, since: Instant::now() }
    }

    /// Says whether it has changed, or may have.
    fn look(&mut self, folder: Option<&Path>, way: &[PathBuf], heard: &Heard) -> bool {
        self.names.clear();
        self.names.extend_from_slice(way);
        if let (Some(folder), Some(name)) = (folder, self.path.file_name()) {
            self.names.extend(Way::from(folder, Path::new(name as &OsStr)).names);
        }
        let gone = |error: std::io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        let there = !fs::symlink_metadata(&self.path).is_err_and(gone);
        let stamp = Stamp::at(&self.path);
        let sign = heard.of(&self.names);
        let differs = there != self.there || stamp != self.stamp;
        if !(differs || sign.is_some() || heard.lost) {
            return false;
        }
        (self.there, self.stamp, self.since) = (there, stamp, Instant::now());
        self.sign = match (sign, self.sign) {
            _ if heard.lost => None,
            (None, Some(Sign::Writing)) if there => Some(Sign::Writing),
            (sign, _) => sign,
        };
        true
    }

    /// When it may be taken for written, if nothing else happens.
    fn readable_at(&self, how: &Watching) -> Instant {
        match self.sign {
            _ if !self.there => self.since,
            Some(Sign::Ended) => self.since,
            Some(Sign::Writing) => self.since + how.abandoned_after,
            None => self.since + how.settled_after,
        }
    }
}
