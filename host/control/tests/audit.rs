//! The audit trail: what is done to it shows.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use stillhouse_control::audit::{Audit, AuditError, FaultKind, NO_RECORD, Outcome, Record, Verified, verify};

const RECORDS: usize = 8;

fn now() -> Timestamp {
    Timestamp::from_second(1_772_445_600).expect("in range")
}

fn record(number: usize) -> Record {
    let told = (number == 3).then(|| "\"quoted\"\n\u{1b}[31m".to_owned());
    Record { told, ..Record::of_host(now(), "advance", &format!("reason {number}")) }
}

/// A file with some records.
struct Trail {
    _folder: tempfile::TempDir,
    path: PathBuf,
    lines: Vec<String>,
    head: String,
}

impl Trail {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let (audit, _) = Audit::open(&path, now()).expect("a new file");
        for number in 1..=RECORDS {
            assert_eq!(audit.append(record(number)).expect("written"), number as u64);
        }
        let head = audit.head().hash;
        let text = fs::read_to_string(&path).expect("UTF-8");
        Self { _folder: folder, path, lines: text.lines().map(str::to_owned).collect(), head }
    }

    fn write(&self, lines: &[String]) {
        fs::write(&self.path, lines.join("\n") + "\n").expect("written");
    }

    fn verify(&self, head: Option<&str>) -> Verified {
        check(&self.path, head)
    }

    /// The line and the kind of the fault, which opening finds too.
    fn fault(&self) -> (u64, FaultKind) {
        let fault = self.verify(None).fault.expect("it is found");
        let told = Audit::open(&self.path, now()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(&format!("audit.jsonl:{}: the audit trail is broken: {fault}", fault.line)), "{told}");
        (fault.line, fault.kind)
    }
}

fn check(path: &Path, head: Option<&str>) -> Verified {
    let file = fs::File::open(path).expect("it is there");
    let mut bytes = 0;
    let verified = verify(&mut BufReader::new(&file), head, &mut |read| bytes += read).expect("readable");
    if verified.fault.is_none() {
        assert_eq!(bytes, file.metadata().expect("a file").len(), "progress tells of all of it");
    }
    verified
}

#[test]
fn what_was_written_holds() {
    let trail = Trail::new();
    let verified = trail.verify(Some(&trail.head));
    assert_eq!((verified.fault, verified.torn_bytes), (None, 0));
    assert_eq!((verified.head.records, verified.head.hash.as_str()), (RECORDS as u64, trail.head.as_str()));
    // It grows on, and a head that was one is found.
    let (audit, opened) = Audit::open(&trail.path, now()).expect("whole");
    assert_eq!(opened.torn_bytes, 0);
    audit.append(record(9)).expect("written");
    assert_eq!(trail.verify(Some(&trail.head)).fault, None);
    assert_eq!(audit.newest(2).iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [8, 9]);
    assert!(trail.lines[0].contains(&format!("\"previous\":\"{NO_RECORD}\"")));
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let trail = Trail::new();
    for (at, line) in trail.lines.iter().enumerate() {
        for position in 0..line.len() {
            let mut lines = trail.lines.clone();
            let letter = line.as_bytes()[position];
            lines[at].replace_range(position..=position, if letter == b'x' { "y" } else { "x" });
            trail.write(&lines);
            let fault = trail.verify(None).fault.map(|fault| (fault.line, fault.kind));
            assert_eq!(fault, Some((at as u64 + 1, FaultKind::Changed)), "{}", lines[at]);
        }
    }
    trail.write(&[&trail.lines[..3], &[trail.lines[3].replace("reason 4", "reason 5")], &trail.lines[4..]].concat());
    assert_eq!(trail.fault(), (4, FaultKind::Changed));
}

#[test]
fn space_and_other_fields_are_changes() {
    let trail = Trail::new();
    for line in [
        trail.lines[2].replace("{\"seq", "{ \"seq"),
        trail.lines[2].replace("}", ",\"more\":1}"),
        trail.lines[2].replace("\"why\"", "\"more\":1,\"why\""),
        format!("{} ", trail.lines[2]),
        String::new(),
        "x".repeat(100_000),
    ] {
        let mut lines = trail.lines.clone();
        lines[2] = line;
        trail.write(&lines);
        assert_eq!(trail.fault(), (3, FaultKind::Changed), "{}", &lines[2][..lines[2].len().min(200)]);
    }
}

#[test]
fn a_record_that_is_written_again_with_its_hash_is_found_at_the_next() {
    let trail = Trail::new();
    // Another trail, in which all but the reason is the same, has a record that holds by itself.
    let folder = tempfile::tempdir().expect("a folder");
    let (other, _) = Audit::open(&folder.path().join("a"), now()).expect("a new file");
    for number in 1..=4 {
        other.append(if number == 4 { record(40) } else { record(number) }).expect("written");
    }
    let forged = fs::read_to_string(other.path()).expect("UTF-8").lines().nth(3).expect("four").to_owned();
    trail.write(&[&trail.lines[..3], std::slice::from_ref(&forged), &trail.lines[4..]].concat());
    assert_eq!(trail.fault(), (5, FaultKind::Changed));
    // Put in beside the true one, both are number 4.
    trail.write(&[&trail.lines[..3], std::slice::from_ref(&forged), &trail.lines[3..]].concat());
    assert_eq!(trail.fault(), (5, FaultKind::Inserted));
    // As the new end it holds: only a head that was kept tells.
    trail.write(&[&trail.lines[..3], &[forged]].concat());
    assert_eq!(trail.verify(None).fault, None);
    assert_eq!(trail.verify(Some(&trail.head)).fault.map(|fault| fault.kind), Some(FaultKind::CutShort));
}

#[test]
fn removed_inserted_and_moved_records_are_told_apart() {
    let trail = Trail::new();
    let edited = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines = trail.lines.clone();
        edit(&mut lines);
        trail.write(&lines);
        trail.fault()
    };
    for at in 0..RECORDS - 1 {
        assert_eq!(edited(&|lines| drop(lines.remove(at))), (at as u64 + 1, FaultKind::Removed));
        assert_eq!(edited(&|lines| lines.swap(at, at + 1)), (at as u64 + 1, FaultKind::Reordered));
        assert_eq!(edited(&|lines| lines.insert(at + 1, lines[at].clone())), (at as u64 + 2, FaultKind::Inserted));
    }
    assert_eq!(edited(&|lines| drop(lines.drain(2..5))), (3, FaultKind::Removed));
    assert!(trail.verify(None).fault.expect("found").message.ends_with("records 3 to 5 are missing"));
    assert_eq!(edited(&|lines| lines.swap(1, 6)), (2, FaultKind::Reordered));
    assert!(trail.verify(None).fault.expect("found").message.ends_with("2 is in line 7"));
}

#[test]
fn a_cut_is_found_with_the_head() {
    let trail = Trail::new();
    for left in 0..RECORDS {
        fs::write(&trail.path, trail.lines[..left].iter().map(|line| format!("{line}\n")).collect::<String>())
            .expect("written");
        assert_eq!(trail.verify(None).fault, None);
        let fault = trail.verify(Some(&trail.head)).fault.expect("found");
        assert_eq!((fault.line, fault.kind), (left as u64, FaultKind::CutShort));
    }
    assert_eq!(trail.verify(Some(NO_RECORD)).fault, None, "the head of no records");
}

#[test]
fn a_torn_last_record_is_cut_off_and_told() {
    let trail = Trail::new();
    let whole = fs::read(&trail.path).expect("readable");
    let last = trail.lines[RECORDS - 1].len() + 1;
    for torn in [1, 2, last / 2, last - 1] {
        fs::write(&trail.path, &whole[..whole.len() - last + torn]).expect("written");
        assert_eq!(trail.verify(None).torn_bytes, torn as u64);
        let (audit, opened) = Audit::open(&trail.path, now()).expect("it goes on");
        assert_eq!(opened.torn_bytes, torn as u64);
        let entry = audit.newest(1).remove(0);
        assert_eq!((entry.sequence, entry.record.outcome), (RECORDS as u64, Outcome::Done));
        assert!(entry.record.why.starts_with(&format!("{torn} bytes")), "{entry:?}");
        drop(audit);
        let verified = trail.verify(None);
        assert_eq!((verified.fault, verified.torn_bytes, verified.head.records), (None, 0, RECORDS as u64));
    }
    // The first record, torn.
    fs::write(&trail.path, b"{\"seq").expect("written");
    let (audit, opened) = Audit::open(&trail.path, now()).expect("it goes on");
    assert_eq!((opened.torn_bytes, audit.head().records), (5, 1));
}

#[test]
fn the_end_of_a_long_trail_is_enough_to_open_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    // Written in one go: the test is about reading.
    let (audit, _) = Audit::open(&path, now()).expect("a new file");
    while fs::metadata(&path).expect("a file").len() < 1_200_000 {
        audit.append(Record { why: "é".repeat(5000), ..record(1) }).expect("written");
    }
    let head = audit.head();
    drop(audit);
    let (audit, _) = Audit::open(&path, now()).expect("whole");
    assert_eq!(audit.head(), head);
    assert!(audit.newest(1)[0].record.why.ends_with('…'), "a long text is cut");
    drop(audit);
    assert_eq!(check(&path, Some(&head.hash)).head, head);
    // Broken far from its end, it opens; broken near it, it does not, and the line is told.
    let text = fs::read_to_string(&path).expect("UTF-8");
    fs::write(&path, text.replacen("advance", "advancE", 1)).expect("written");
    assert!(Audit::open(&path, now()).is_ok());
    let at = text.rfind("advance").expect("there");
    fs::write(&path, format!("{}advancE{}", &text[..at], &text[at + 7..])).expect("written");
    let told = Audit::open(&path, now()).expect_err("broken").to_string();
    assert!(told.contains(&format!("audit.jsonl:{}: ", head.records)), "{told}");
}

#[test]
fn one_process_has_it() {
    let trail = Trail::new();
    let (_audit, _) = Audit::open(&trail.path, now()).expect("free");
    let second = Audit::open(&trail.path, now());
    assert!(matches!(second, Err(AuditError::InUse { .. })), "{second:?}");
    // Another process sees the lock as well: this test again, in one.
    let test = Command::new(std::env::current_exe().expect("a test"))
        .args(["--exact", "audit::opens_what_it_is_told", "--nocapture"])
        .env("OPEN_AUDIT", &trail.path)
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&test.stderr).into_owned();
    assert!(told.contains("in use by another process"), "{told}");
}

/// What [`one_process_has_it`] runs in another process; by itself there is nothing to open.
#[test]
fn opens_what_it_is_told() {
    if let Some(path) = std::env::var_os("OPEN_AUDIT") {
        match Audit::open(Path::new(&path), now()) {
            Ok(_) => eprintln!("opened"),
            Err(error) => eprintln!("{error}"),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_written_after_a_write_that_failed() {
    // A device that is always full: opening finds it empty, writing fails.
    let (audit, _) = Audit::open(Path::new("/dev/full"), now()).expect("it opens as an empty file");
    let failed = audit.append(record(1)).expect_err("no space");
    assert!(failed.to_string().contains("cannot be written"), "{failed}");
    let stopped = audit.append(record(2)).expect_err("stopped");
    assert!(matches!(stopped, AuditError::Stopped { .. }), "{stopped}");
    assert_eq!((audit.head().records, audit.broken().is_some()), (0, true));
}
