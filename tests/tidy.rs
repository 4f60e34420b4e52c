//! The house rules, as far as a program can look after them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;

fn rust_files(dir: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut dirs = vec![repository().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(repository()).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// Code lines of a file that hold one of these texts; comments and inline tests are left out.
fn uses<'a>(text: &'a str, of: &[&str]) -> Vec<&'a str> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.filter(|line| of.iter().any(|text| line.contains(text))).collect()
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    for dir in [
        "host",
        "tests",
        "plugins/filter/src",
        "plugins/transform/src",
        "plugins/alert/src",
        "plugins/export/src",
        "plugins/sdk/rust/src",
    ] {
        for (path, text) in rust_files(dir) {
            assert!(text.starts_with("//! "), "{} does not open with //!", path.display());
        }
    }
}

#[test]
fn files_stay_small() {
    for (path, text) in rust_files("host") {
        let code = text.split("#[cfg(test)]").next().unwrap().lines().count();
        assert!(code <= 500, "{} has {code} lines without its tests", path.display());
    }
}

/// Who may use what: the texts, and the paths they may stand in.
const RULES: &[(&[&str], &[&str])] = &[
    (&["wasmtime::", "use wasmtime"], &["host/plugin/"]),
    (&["tokio_tungstenite"], &["host/source/", "host/sim/"]),
    (&["prost::", "prost_types::", "prost_reflect::"], &["host/decode/", "host/sim/"]),
    (&["figment"], &["host/config/"]),
    (&["std::env::var", "env::vars"], &["host/config/", "host/seglog/tests/"]),
    (&["std::process", "process::exit"], &["host/main.rs"]),
    // The library reads systemd's variables itself: the protocol has its place there.
    (&["sd_notify"], &["host/notify.rs"]),
    (&["crate::app"], &["host/cli/"]),
    (&["crate::seglog"], &["host/seglog/", "host/journal", "host/store"]),
];

/// Modules, and those they must not know.
const APART: &[(&str, &[&str])] = &[
    ("host/source/", &["crate::plugin", "crate::sink", "crate::sim"]),
    ("host/sink/", &["crate::plugin", "crate::source", "crate::sim"]),
    ("host/plugin/", &["crate::source", "crate::sink", "crate::pipeline", "crate::sim"]),
    ("host/pipeline/", &["crate::plugin", "crate::source", "crate::sim"]),
    (
        "host/gap/",
        &["crate::source", "crate::pipeline", "crate::plugin", "crate::sink", "crate::sim"],
    ),
    ("host/dial/", &["crate::source", "crate::sink", "crate::plugin", "crate::config"]),
    ("host/proxy.rs", &["crate::"]),
    ("host/batch.rs", &["crate::decode", "crate::plugin", "crate::pipeline", "std::fs", "tokio"]),
    ("host/columns.rs", &["crate::"]),
    ("host/frame.rs", &["crate::"]),
    ("host/tally.rs", &["crate::plugin", "crate::pipeline", "std::fs"]),
    ("host/outcome.rs", &["crate::plugin", "crate::pipeline", "std::fs"]),
];

/// Modules, and all that they may use of ours.
const ONLY: &[(&str, &[&str])] =
    &[("host/seglog/", &["crate::seglog", "crate::thread", "crate::dir"])];

#[test]
fn modules_know_only_whom_they_may() {
    for (path, text) in rust_files("host") {
        let name = path.to_str().unwrap();
        for (texts, allowed) in RULES {
            if allowed.iter().any(|allowed| name.starts_with(allowed)) {
                continue;
            }
            let found = uses(&text, texts);
            assert!(found.is_empty(), "{name} must not use {texts:?}: {found:?}");
        }
        for (_, allowed) in ONLY.iter().filter(|(module, _)| name.starts_with(module)) {
            let found = uses(&text, &["crate::"]);
            let is_allowed = |line: &&str| allowed.iter().any(|allowed| line.contains(allowed));
            let found: Vec<_> = found.into_iter().filter(|line| !is_allowed(line)).collect();
            assert!(found.is_empty(), "{name} may use {allowed:?} only: {found:?}");
        }
        for (module, others) in APART {
            if name.starts_with(module) {
                let found = uses(&text, others);
                assert!(found.is_empty(), "{name} must not know {others:?}: {found:?}");
            }
        }
    }
}

#[test]
fn every_item_of_the_contract_is_documented() {
    for entry in fs::read_dir(repository().join("wit")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        check_documented(&path, &text);
    }
}

fn check_documented(path: &Path, text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_item = |line: &str| {
        ["interface ", "world ", "record ", "variant ", "enum ", "flags ", "package "]
            .iter()
            .any(|word| line.starts_with(word))
            || line.contains(": func(")
    };
    for (number, line) in lines.iter().enumerate() {
        if !is_item(line) {
            continue;
        }
        // `@since` stands between the comment and its item.
        let above = lines[..number].iter().rev().find(|line| !line.starts_with('@'));
        let is_documented = above.is_some_and(|line| line.starts_with("///"));
        // Only the file that opens the package tells what it is.
        let is_later_package = line.starts_with("package ") && !is_documented;
        assert!(is_documented || is_later_package, "{}: {line} is not documented", path.display());
    }
}
