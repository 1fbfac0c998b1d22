//! What cannot be opened, and what is said of it.

use std::fs;
use std::path::Path;

use stillhouse_store::{Batch, Map, MemoryStorage, Sequence, Store, StoreError};

fn opened(path: &Path) -> [String; 2] {
    [Store::open(path).unwrap_err(), Store::open_to_read(path).unwrap_err()].map(|error| error.to_string())
}

#[test]
fn what_is_no_store_is_refused_in_words_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| folder.path().join(name);
    fs::write(named("empty"), "").unwrap();
    fs::write(named("text"), "key = \"value\"\n".repeat(500)).unwrap();
    fs::write(named("short"), "{}").unwrap();
    fs::write(named("zeros"), [0; 8192]).unwrap();
    fs::create_dir(named("folder")).unwrap();
    for (name, what) in [
        ("empty", "it is empty"),
        ("text", "it has 7000 bytes and begins with \"key = \\\"value\\\"\\nke\""),
        ("short", "it has 2 bytes and begins with \"{}\""),
        ("zeros", "it has 8192 bytes and begins with \"\\x00"),
        ("folder", "it is a folder"),
    ] {
        let before = fs::read(named(name)).ok();
        for text in opened(&named(name)) {
            assert!(text.contains(&format!("{name} is no store: {what}")), "{text}");
            assert!(text.contains("; name another file, or move this one away"), "{text}");
        }
        assert_eq!(fs::read(named(name)).ok(), before);
    }
    let missing = Store::open_to_read(&named("missing")).unwrap_err().to_string();
    assert!(missing.contains("there is no store at ") && missing.contains("missing; check the path"), "{missing}");
    assert!(!named("missing").exists());
    let nowhere = Store::open(&named("nowhere/store")).unwrap_err().to_string();
    assert!(nowhere.contains("there is no folder "), "{nowhere}");
}

#[test]
fn a_store_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    for text in opened(&path) {
        assert!(text.contains("is in use by another process; stop that first"), "{text}");
    }
    drop(store);
    let readers = [(); 2].map(|()| Store::open_to_read(&path).unwrap());
    assert!(matches!(Store::open(&path), Err(StoreError::InUse { .. })));
    drop(readers);
    Store::open(&path).unwrap();
}

#[test]
fn reading_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::open(&path).unwrap();
    let mut batch = Batch::default();
    batch.append(Sequence::Log, 0, 0, b"record");
    batch.put(Map::Meta, b"key", b"value".to_vec());
    store.write(&batch).unwrap();
    // As a crash leaves it, and only to be read.
    let crashed = folder.path().join("crashed");
    fs::copy(&path, &crashed).unwrap();
    let mut permissions = fs::metadata(&crashed).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&crashed, permissions).unwrap();
    let before = fs::read(&crashed).unwrap();
    let store = Store::open_to_read(&crashed).unwrap();
    assert_eq!(store.get(Map::Meta, b"key").unwrap().unwrap(), b"value");
    assert_eq!(store.read(Sequence::Log, 0).unwrap().next().unwrap().unwrap().bytes(), b"record");
    let refused = store.write(&Batch::default()).unwrap_err().to_string();
    assert!(refused.contains("cannot be written: it was opened to be read"), "{refused}");
    drop(store);
    assert_eq!(fs::read(&crashed).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    for text in opened(&path) {
        assert!(text.contains("it is a redb database with 1 tables of another program"), "{text}");
    }
}

#[test]
fn storage_that_holds_something_else_is_not_made_a_store() {
    let refused = Store::open_on(MemoryStorage::new(b"something".to_vec())).unwrap_err();
    assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
    Store::open_on(MemoryStorage::new(vec![0; 100_000])).unwrap();
}
