//! Configurations, right and wrong: what is said of a wrong one is under review like code. Run with
//! `UPDATE_GOLDEN=1` to write the expected texts anew.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{TROMMEL, output_of, repository};

/// Runs `trommel check` on a configuration in a folder of its own.
fn check(config: &str, args: &[&str]) -> (Option<i32>, String) {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("trommel.toml"), config).unwrap();
    fs::write(dir.path().join("secret"), "s3cr3t-value").unwrap();
    fs::write(dir.path().join("hook"), "https://hooks.example/s3cr3t-value").unwrap();
    fs::write(dir.path().join("lines"), "s3cr3t-value\nand another").unwrap();
    let mut command = Command::new(TROMMEL);
    command.current_dir(dir.path()).args(["check", "--config", "trommel.toml"]).args(args);
    let output = output_of(&mut command);
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!text.contains("s3cr3t-value"), "a secret was printed: {text}");
    // Where these tests run there may be little room.
    let is_of_machine = |line: &&str| line.starts_with("warning: journal.max_size is 8 GiB");
    let lines = text.lines().filter(|line| !is_of_machine(line));
    let text = lines.map(|line| line.to_owned() + "\n").collect::<String>();
    let text = if text.ends_with("\n\n") { text.trim_end().to_owned() + "\n" } else { text };
    (output.status.code(), text.replace(dir.path().to_str().unwrap(), "DIR"))
}

fn golden(kind: &str, code: i32) {
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("tests/config").join(kind)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        seen += 1;
        let (found_code, found) = check(&fs::read_to_string(&path).unwrap(), &[]);
        let expected_path = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected_path, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        assert_eq!(found, expected, "{}", path.display());
        assert_eq!(found_code, Some(code), "{}: {found}", path.display());
    }
    assert!(seen > 0);
}

#[test]
fn right_ones_are_told_so() {
    golden("valid", 0);
}

#[test]
fn wrong_ones_are_told_what_which_where_and_the_likely_fix() {
    golden("invalid", 2);
}

#[test]
fn a_journal_that_may_outgrow_the_disk_is_told() {
    let (code, text) = check(SMALL, &["--set", "journal.max_size=9000000GiB"]);
    assert_eq!(code, Some(0), "{text}");
    let says = "warning: journal.max_size is 9000000 GiB, and ";
    assert!(text.contains(says) && text.contains(" are free where data_dir is\n"), "{text}");
    let (_, text) = check(SMALL, &["--set", "journal.max_size=64MiB"]);
    assert!(!text.contains("warning"), "{text}");
}

const SMALL: &str =
    "[pipeline.main]\nfrom = [\"trommel\"]\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n";

#[test]
fn variables_and_flags_override_the_file() {
    let (code, text) = check(SMALL, &["--set", "listen=nonsense"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--set: listen: \"nonsense\" is not an address"), "{text}");
    let (_, text) = check(SMALL, &["--set", "journal.max_size=1MiB"]);
    assert!(text.contains("--set: journal.max_size: 64MiB is the least"), "{text}");
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("trommel.toml"), SMALL).unwrap();
    let mut command = Command::new(TROMMEL);
    command.current_dir(dir.path()).arg("check").env("TROMMEL_SINK__OUT__KIND", "nul");
    let output = output_of(&mut command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("sink.out.kind: \"nul\" is not a kind of sink"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output =
        output_of(Command::new(TROMMEL).args(["run", "--config", "/nowhere/trommel.toml"]));
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("cannot read /nowhere/trommel.toml"), "{text}");
}

#[test]
fn two_hosts_cannot_share_a_data_directory() {
    let mut dir = crate::support::HostDir::empty();
    dir.add(SMALL);
    let host = dir.run();
    host.get("/healthz");
    let mut command = Command::new(TROMMEL);
    command.args(["run", "--config"]).arg(host.path("trommel.toml"));
    let output = output_of(&mut command);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is another trommel running"), "{text}");
}

#[test]
fn plugins_are_listed_with_and_without_a_host() {
    let mut dir = crate::support::HostDir::empty();
    dir.add(SMALL);
    dir.plugin("10-filter", "filter", "");
    dir.plugin_file("20-broken", b"no wasm", "");
    let list = |host: &crate::support::Host| -> serde_json::Value {
        let mut command = Command::new(TROMMEL);
        command.args(["plugin", "list", "--json", "--config"]).arg(host.path("trommel.toml"));
        serde_json::from_slice(&output_of(&mut command).stdout).unwrap()
    };
    let mut host = dir.run();
    host.wait_for_log("is not WebAssembly");
    let asked = list(&host);
    host.running.terminate();
    host.running.wait();
    assert_eq!(asked, list(&host));
    assert_eq!((&asked[0]["name"], &asked[0]["role"]), (&"10-filter".into(), &"filter".into()));
    assert_eq!((&asked[0]["state"], &asked[1]["state"]), (&"serving".into(), &"failed".into()));
    assert_eq!(asked[0]["sha256"].as_str().unwrap().len(), 64);
    assert!(asked[0]["error"].is_null() && asked[1]["error"].is_string());
}
