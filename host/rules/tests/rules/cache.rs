//! Compiled code on disk: used, checked, and never trusted where others can write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stillhouse_rules::{EngineConfig, Limits, RuleEngine};

use crate::wat_rule::WatRule;

fn engine(cache: &Path) -> RuleEngine {
    RuleEngine::new(config(cache)).unwrap()
}

fn config(cache: &Path) -> EngineConfig {
    let limits = Limits { cache_files_max: 2, ..Limits::default() };
    EngineConfig { limits, cache_dir: Some(cache.to_owned()), instances_max: 4, ..EngineConfig::default() }
}

fn files(cache: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(cache).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

#[test]
fn compiled_code_is_kept_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let rule = WatRule::default().build();
    engine(&cache).load(&rule).unwrap();
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    let kept = [files(&cache, "cwasm"), files(&cache, "proof")].concat();
    assert_eq!(kept.len(), 2);
    let written = || kept.iter().map(|file| fs::metadata(file).unwrap()).collect::<Vec<_>>();
    let before = written();
    assert!(before.iter().all(|facts| facts.permissions().mode() & 0o777 == 0o600));
    engine(&cache).load(&rule).unwrap();
    // Not written again, so they were used.
    let times = |facts: Vec<fs::Metadata>| facts.iter().map(|facts| facts.modified().unwrap()).collect::<Vec<_>>();
    assert_eq!(times(before), times(written()));
}

#[test]
fn damaged_code_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let rule = WatRule::default().build();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    engine(folder.path()).load(&rule).unwrap();
    let file = files(folder.path(), "cwasm").remove(0);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let old_layout = [b"shcwasm0", &good[8..]].concat();
    for damage in [&flipped, &good[..good.len() - 1], &good[..20], b"", &old_layout] {
        fs::write(&file, damage).unwrap();
        engine(folder.path()).load(&rule).unwrap();
        assert!(fs::read(&file).unwrap().len() >= good.len() - 64, "it was written anew");
        assert_ne!(fs::read(&file).unwrap(), damage);
    }
    // A file that others may write is not read, however good.
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    engine(folder.path()).load(&rule).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let Err(error) = RuleEngine::new(config(folder.path())) else { panic!() };
    let text = error.to_string();
    assert!(text.contains("may be written by other users (mode 0777)"), "{text}");
    assert!(text.contains("chmod go-w"), "{text}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(RuleEngine::new(config(&file)).is_err());
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let Err(error) = RuleEngine::new(config(&link)) else { panic!() };
    assert!(error.to_string().contains("a link is not followed"), "{error}");
}

#[test]
fn the_folder_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let engine = engine(&cache);
    for version in ["1.0.0", "1.0.1", "1.0.2"] {
        engine.load(&WatRule { version, ..WatRule::default() }.build()).unwrap();
    }
    assert_eq!((files(&cache, "cwasm").len(), files(&cache, "proof").len()), (2, 2));
}
