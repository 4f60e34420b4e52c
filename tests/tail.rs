//! `trommel tail` as a person and a script use it: from flags and the environment, without a file.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{HostDir, Running, Sim, TROMMEL, output_of, wait_until};

const STATE: &str = "com.hpe.greenlake.network-monitoring.v1alpha1.aps.state.device";

/// `trommel tail` of a simulator's streams, with the access it accepts in the environment.
fn tail(sim: &Sim, streams: &str) -> Command {
    let ready = &sim.ready;
    let mut command = Command::new(TROMMEL);
    command
        .args(["tail", "--base-url", &ready.base_url, "--token-endpoint", &ready.token_endpoint])
        .arg("--ca-file")
        .arg(&ready.ca_file)
        .args(["--stream", streams])
        .env("CENTRAL_CLIENT_ID", &ready.client_id)
        .env("CENTRAL_CLIENT_SECRET", &ready.client_secret);
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn events_are_shown_a_line_each_and_counted_at_the_end() {
    // So slow that no stream shows 40 before the other is connected.
    let sim = Sim::start(&["--rate", "5", "--streams", "ap-events,wids"]);
    let output = output_of(tail(&sim, "ap-events,wids").args(["--count", "40"]));
    let (out, log) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert_eq!(out.lines().count(), 40);
    assert!(!out.contains('\x1b'), "colour where there is no terminal: {out}");
    for line in out.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words[0].len() == 8 && words[0].as_bytes()[2] == b':', "no time: {line}");
        assert!(words[1] == "ap" || words[1] == "wids", "no stream: {line}");
        assert!(words[2].contains('.') && !words[2].contains("greenlake"), "no type: {line}");
        assert!(words[3].contains('='), "no field: {line}");
    }
    assert!(log.contains("ap-events: connected\n"), "{log}");
    assert!(log.lines().last().unwrap().starts_with("40 of "), "{log}");
    assert!(log.contains("2 connections, the first after"), "{log}");
}

#[test]
fn lines_of_json_are_those_of_a_file_sink() {
    let sim = Sim::start(&["--rate", "500", "--streams", "ap-events"]);
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"archive\"]\n\
        [sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";
    let mut host = HostDir::new(&sim, &["ap-events"], rest).run();
    host.wait_for_log("connected");
    let output = output_of(tail(&sim, "ap-events").args(["--json", "--count", "100"]));
    let (out, log) = texts(&output);
    assert_eq!((output.status.code(), out.lines().count()), (Some(0), 100), "{log}");
    wait_until("the last of them in the file", || {
        let file = std::fs::read_to_string(host.path("events.jsonl")).unwrap();
        file.contains(out.lines().last().unwrap())
    });
    host.stop();
    let file = std::fs::read_to_string(host.path("events.jsonl")).unwrap();
    assert!(file.contains(&out), "not the same lines in the same order");
}

#[test]
fn events_are_chosen_by_type_and_by_value() {
    let mut sim = Sim::start(&["--rate", "max", "--count", "5000", "--streams", "ap-events"]);
    let mut command = tail(&sim, "ap-events");
    command.args(["--json", "--type", "aps.state.*", "--where", "/status=false", "--count", "5"]);
    let (out, log) = texts(&output_of(&mut command));
    let shown: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = shown.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let ledger = sim.stop();
    let wanted = ledger
        .iter()
        .filter(|line| line.ty.contains(".aps.state.") && line.data["status"] == false);
    let wanted: Vec<&str> = wanted.take(5).map(|line| line.id.as_str()).collect();
    assert_eq!(wanted.len(), 5);
    assert_eq!(ids, wanted, "{log}");
}

#[test]
fn the_server_is_asked_for_types() {
    let sim = Sim::start(&["--rate", "max", "--streams", "ap-events"]);
    let mut command = tail(&sim, "ap-events");
    command.args(["--json", "--count", "3", "--event-types", STATE]);
    let (out, log) = texts(&output_of(&mut command));
    assert_eq!((out.lines().count(), out.matches(STATE).count()), (3, 3), "{out}{log}");
}

#[test]
fn a_lost_connection_is_told_and_made_again() {
    let sim = Sim::start(&["--rate", "max", "--streams", "ap-events", "--fault", "drop=300"]);
    let output = output_of(tail(&sim, "ap-events").args(["--count", "1000"]));
    let (out, log) = texts(&output);
    assert_eq!((output.status.code(), out.lines().count()), (Some(0), 1000), "{log}");
    assert!(log.contains("tries again by itself"), "{log}");
    assert!(log.contains("ap-events: connected again"), "{log}");
}

#[test]
fn time_ends_it_and_tells_whether_it_was_ever_connected() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    let output = output_of(tail(&sim, "ap-events").args(["--for", "8s"]));
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    let mut command = tail(&sim, "ap-events");
    command.args(["--for", "8s"]).env("CENTRAL_CLIENT_SECRET", "s3cr3t-value");
    let output = output_of(&mut command);
    let (out, log) = texts(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(1), ""), "{log}");
    assert!(log.contains("ap-events: ") && log.contains("401"), "{log}");
    assert!(log.ends_with("never connected\n"), "{log}");
    assert!(!log.contains("s3cr3t-value"), "a secret was printed: {log}");
}

#[test]
fn a_signal_ends_it_in_order() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    let dir = TempDir::new().unwrap();
    let (out, log) = (dir.path().join("out"), dir.path().join("log"));
    let mut running = Running::start(&mut tail(&sim, "ap-events"), &out, &log);
    wait_until("an event", || std::fs::metadata(&out).unwrap().len() > 0);
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait().code(), Some(0), "{}", running.log());
    assert!(running.log().lines().last().unwrap().contains("events shown in"), "{}", running.log());
}

#[test]
fn whoever_reads_may_stop_reading() {
    let sim = Sim::start(&["--rate", "max", "--streams", "ap-events"]);
    let mut command = tail(&sim, "ap-events");
    let child = command.args(["--json"]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"specversion\""));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn access_comes_from_files_and_a_token_goes_first() {
    let sim = Sim::start(&["--rate", "max", "--streams", "ap-events"]);
    let dir = TempDir::new().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, format!("{}\n", sim.ready.client_secret)).unwrap();
    let mut command = tail(&sim, "ap-events");
    command.args(["--count", "1", "--client-id", &sim.ready.client_id, "--client-secret-file"]);
    command.arg(&secret).env_remove("CENTRAL_CLIENT_ID").env_remove("CENTRAL_CLIENT_SECRET");
    let output = output_of(&mut command);
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);

    let mut command = tail(&sim, "ap-events");
    let output = output_of(command.args(["--for", "8s"]).env("CENTRAL_TOKEN", "not-a-token"));
    let (_, log) = texts(&output);
    assert!(output.status.code() == Some(1) && log.contains("401"), "{log}");
}

#[test]
fn wrong_flags_are_told_by_flag() {
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(TROMMEL);
        command.arg("tail").args(args).envs(env.iter().copied()).current_dir("/");
        for name in ["CENTRAL_CLIENT_ID", "CENTRAL_CLIENT_SECRET", "CENTRAL_TOKEN"] {
            if !env.iter().any(|(set, _)| *set == name) {
                command.env_remove(name);
            }
        }
        let output = output_of(&mut command);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", texts(&output).1);
        texts(&output).1
    };
    let us = ["--cluster", "US-1", "--stream", "wids"];
    let token = [("CENTRAL_TOKEN", "t")];
    let with = |more: &[&'static str]| [&us[..], more].concat();
    /// Arguments, variables, and what is said of them.
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Case<'_>] = &[
        (&["--stream", "wids"], &token, "--cluster"),
        (&us[..2], &token, "--stream"),
        (&us, &[], "export CENTRAL_CLIENT_ID="),
        (&us, &[("CENTRAL_CLIENT_ID", "me")], "\"CENTRAL_CLIENT_SECRET\" is not set"),
        (
            &["--cluster", "US-7", "--stream", "wids"],
            &token,
            "--cluster: \"US-7\" is not a cluster",
        ),
        (
            &["--cluster", "UK", "--stream", "wid"],
            &token,
            "--stream: \"wid\" is not a known stream",
        ),
        (
            &["--base-url", "http://h", "--stream", "wids"],
            &token,
            "--base-url: \"http://h\" is not",
        ),
        (&with(&["--where", "status"]), &token, "is not a JSON pointer"),
        (&with(&["--for", "soon"]), &token, "\"soon\" is not a duration"),
        (&with(&["--count", "0"]), &token, "--count"),
        (&with(&["--token-file", "/nowhere"]), &[], "--token-file: cannot read /nowhere"),
        (&with(&["--token-file", "/x", "--client-id", "y"]), &[], "cannot be used with"),
        (&with(&["--set", "max_frme=1MiB"]), &token, "max_frme: unknown key"),
        (&with(&["--ca-file", "/nowhere.pem"]), &token, "/nowhere.pem"),
    ];
    for (args, env, says) in cases {
        let said = run(args, env);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    assert!(!Path::new("/data").exists(), "tail keeps nothing");
}
