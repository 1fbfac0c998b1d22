//! The ways of writing a file into a watched folder.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version `n` of a rule, as far as a watcher looks into it; all are equally long.
pub fn version(n: u32) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 2) (func (export \"f\") (result i32) i32.const 7)
            (data (i32.const 0) \"version {n:08}{}\"))",
        "x".repeat(60_000)
    );
    wat::parse_str(text).expect("it is sound")
}

/// A way of writing a file.
pub struct Way {
    pub name: &'static str,
    /// Makes what is there before, and says which folder is watched; version 0, if any, is told first.
    pub before: fn(&Path) -> PathBuf,
    /// Writes under the root.
    pub write: fn(&Path),
    /// All that is told.
    pub told: &'static str,
    /// Whether it also goes without notifications. Without them, a pause longer than the patience of
    /// the watcher is an end.
    pub polled: bool,
}

/// A folder with version 0 of one rule.
pub fn plain(root: &Path) -> PathBuf {
    let folder = root.join("rules");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.wasm"), version(0)).unwrap();
    folder
}

fn linked(root: &Path) -> PathBuf {
    let folder = root.join("rules");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(root.join("elsewhere")).unwrap();
    fs::write(root.join("elsewhere/a-0.wasm"), version(0)).unwrap();
    symlink("../elsewhere/a-0.wasm", folder.join("a.wasm")).unwrap();
    folder
}

/// A config map as Kubernetes mounts it.
fn config_map(root: &Path) -> PathBuf {
    let folder = root.join("mount");
    fs::create_dir_all(folder.join("..2026_01/rules")).unwrap();
    fs::write(folder.join("..2026_01/a.wasm"), version(0)).unwrap();
    fs::write(folder.join("..2026_01/rules/a.wasm"), version(0)).unwrap();
    symlink("..2026_01", folder.join("..data")).unwrap();
    symlink("..data/a.wasm", folder.join("a.wasm")).unwrap();
    symlink("..data/rules", folder.join("rules")).unwrap();
    folder
}

fn swap_config_map(root: &Path) {
    let folder = root.join("mount");
    fs::create_dir_all(folder.join("..2026_02/rules")).unwrap();
    fs::write(folder.join("..2026_02/a.wasm"), version(1)).unwrap();
    fs::write(folder.join("..2026_02/rules/a.wasm"), version(1)).unwrap();
    symlink("..2026_02", folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    fs::remove_dir_all(folder.join("..2026_01")).unwrap();
}

fn linked_folder(root: &Path) -> PathBuf {
    for n in 0..2 {
        fs::create_dir(root.join(format!("rules-{n}"))).unwrap();
        fs::write(root.join(format!("rules-{n}/a.wasm")), version(n)).unwrap();
    }
    symlink("rules-0", root.join("rules")).unwrap();
    root.join("rules")
}

fn nothing(root: &Path) -> PathBuf {
    root.join("not/there/yet")
}

/// That rule's file.
pub fn file(root: &Path) -> PathBuf {
    root.join("rules/a.wasm")
}

/// Waits, where time itself is what is tried.
pub fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Writes version 1 in `parts`, with a pause after each, through one handle.
fn in_parts(root: &Path, cuts: &[usize], pause_ms: u64) {
    let bytes = version(1);
    let mut to = File::create(file(root)).unwrap();
    let mut from = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        to.write_all(&bytes[from..cut]).unwrap();
        to.flush().unwrap();
        pause(pause_ms);
        from = cut;
    }
}

/// Where version 1 looks whole before it is: its data are missing.
fn boundary() -> usize {
    let bytes = version(1);
    let looks_whole = |cut: &usize| stillhouse_rules::whole(&bytes[..*cut]).is_ok();
    (0..bytes.len()).rev().find(looks_whole).expect("a module may end before its data")
}

pub const WAYS: &[Way] = &[
    Way {
        name: "rename_into_place",
        before: plain,
        write: |root| {
            fs::write(root.join("rules/.a.wasm.tmp"), version(1)).unwrap();
            fs::rename(root.join("rules/.a.wasm.tmp"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "rename_from_another_folder",
        before: plain,
        write: |root| {
            fs::write(root.join("new"), version(1)).unwrap();
            fs::rename(root.join("new"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "write_in_place",
        before: plain,
        write: |root| fs::write(file(root), version(1)).unwrap(),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "overwrite_without_truncating",
        before: plain,
        write: |root| OpenOptions::new().write(true).open(file(root)).unwrap().write_all(&version(1)).unwrap(),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "truncate_and_write_later",
        before: plain,
        write: |root| {
            let mut to = File::create(file(root)).unwrap();
            pause(500);
            to.write_all(&version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "write_with_seconds_between_the_parts",
        before: plain,
        write: |root| in_parts(root, &[0, 1_000, 30_000], 2_500),
        told: "a 0, a 1",
        polled: false,
    },
    Way {
        name: "write_slowly",
        before: plain,
        write: |root| in_parts(root, &[0, 4, 8, 20, 1_000, 50_000], 300),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "pause_where_it_looks_whole",
        before: plain,
        write: |root| in_parts(root, &[boundary()], 700),
        told: "a 0, a 1",
        polled: false,
    },
    Way {
        name: "append_with_a_new_handle_each_time",
        before: plain,
        write: |root| {
            fs::write(file(root), "").unwrap();
            for part in version(1).chunks(10_000) {
                OpenOptions::new().append(true).open(file(root)).unwrap().write_all(part).unwrap();
                pause(150);
            }
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "delete_and_write_again",
        before: plain,
        write: |root| {
            fs::remove_file(file(root)).unwrap();
            pause(300);
            fs::write(file(root), version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "as_vim_does",
        before: plain,
        write: |root| {
            fs::write(root.join("rules/.a.wasm.swp"), "swap").unwrap();
            fs::write(root.join("rules/4913"), "").unwrap();
            fs::remove_file(root.join("rules/4913")).unwrap();
            fs::rename(file(root), root.join("rules/a.wasm~")).unwrap();
            fs::write(file(root), version(1)).unwrap();
            fs::remove_file(root.join("rules/a.wasm~")).unwrap();
            fs::remove_file(root.join("rules/.a.wasm.swp")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "as_emacs_does",
        before: plain,
        write: |root| {
            symlink("someone@somewhere.1", root.join("rules/.#a.wasm")).unwrap();
            fs::write(root.join("rules/#a.wasm#"), "auto-saved").unwrap();
            fs::copy(file(root), root.join("rules/a.wasm~")).unwrap();
            fs::write(file(root), version(1)).unwrap();
            fs::remove_file(root.join("rules/#a.wasm#")).unwrap();
            fs::remove_file(root.join("rules/.#a.wasm")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "hard_link",
        before: plain,
        write: |root| {
            fs::write(root.join("new"), version(1)).unwrap();
            fs::remove_file(file(root)).unwrap();
            fs::hard_link(root.join("new"), file(root)).unwrap();
            fs::remove_file(root.join("new")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "link_instead_of_a_file",
        before: plain,
        write: |root| {
            fs::write(root.join("new"), version(1)).unwrap();
            fs::remove_file(file(root)).unwrap();
            symlink(root.join("new"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "the_file_that_a_link_leads_to",
        before: linked,
        write: |root| fs::write(root.join("elsewhere/a-0.wasm"), version(1)).unwrap(),
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "link_swapped",
        before: linked,
        write: |root| {
            fs::write(root.join("elsewhere/a-1.wasm"), version(1)).unwrap();
            symlink("../elsewhere/a-1.wasm", root.join("rules/.new")).unwrap();
            fs::rename(root.join("rules/.new"), file(root)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way { name: "config_map", before: config_map, write: swap_config_map, told: "a 0, a 1", polled: true },
    Way {
        name: "folder_in_a_config_map",
        before: |root| config_map(root).join("rules"),
        write: swap_config_map,
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_removed_and_made_again",
        before: plain,
        write: |root| {
            fs::remove_dir_all(root.join("rules")).unwrap();
            pause(200);
            fs::create_dir(root.join("rules")).unwrap();
            pause(200);
            fs::write(file(root), version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_moved_away_and_another_moved_in",
        before: plain,
        write: |root| {
            fs::create_dir(root.join("new")).unwrap();
            fs::write(root.join("new/a.wasm"), version(1)).unwrap();
            fs::rename(root.join("rules"), root.join("old")).unwrap();
            fs::rename(root.join("new"), root.join("rules")).unwrap();
            // Nobody cares any more.
            fs::write(root.join("old/a.wasm"), version(2)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_link_swapped",
        before: linked_folder,
        write: |root| {
            symlink("rules-1", root.join("new")).unwrap();
            fs::rename(root.join("new"), root.join("rules")).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "folder_that_was_not_there",
        before: nothing,
        write: |root| {
            fs::create_dir(root.join("not")).unwrap();
            pause(100);
            fs::create_dir_all(root.join("not/there/yet")).unwrap();
            fs::write(root.join("not/there/yet/a.wasm"), version(1)).unwrap();
        },
        told: "a 1",
        polled: true,
    },
    Way {
        name: "permissions_come_later",
        before: plain,
        write: |root| {
            let mode = |mode| fs::set_permissions(file(root), fs::Permissions::from_mode(mode)).unwrap();
            mode(0o200);
            fs::write(file(root), version(1)).unwrap();
            mode(0o000);
            pause(300);
            mode(0o644);
        },
        told: "a 0, a 1",
        polled: true,
    },
    Way {
        name: "touched_and_written_with_the_same_bytes",
        before: plain,
        write: |root| {
            let now = std::time::SystemTime::now();
            OpenOptions::new().append(true).open(file(root)).unwrap().set_modified(now).unwrap();
            pause(200);
            fs::write(file(root), version(0)).unwrap();
            pause(200);
            fs::write(root.join("rules/.new"), version(0)).unwrap();
            fs::rename(root.join("rules/.new"), file(root)).unwrap();
        },
        told: "a 0",
        polled: true,
    },
    Way {
        name: "there_and_back",
        before: plain,
        write: |root| {
            fs::write(file(root), version(1)).unwrap();
            pause(1_000);
            fs::write(file(root), version(0)).unwrap();
        },
        told: "a 0, a 1, a 0",
        polled: true,
    },
    Way {
        name: "for_a_moment_something_else",
        before: plain,
        write: |root| {
            fs::remove_file(file(root)).unwrap();
            fs::create_dir(file(root)).unwrap();
            pause(200);
            fs::remove_dir(file(root)).unwrap();
            symlink("nowhere", file(root)).unwrap();
            pause(200);
            fs::remove_file(file(root)).unwrap();
            fs::write(file(root), "not a rule").unwrap();
            pause(200);
            fs::write(file(root), version(1)).unwrap();
        },
        told: "a 0, a 1",
        polled: true,
    },
];
