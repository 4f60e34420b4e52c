//! Export plugins reach out: only where they may, and never with a secret in their own hands.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use crate::support::{HostDir, Sim, count_lines, wait_until};

/// A server on plain HTTP that answers every request with what it got, and hands it to the test.
fn echo_server() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).unwrap_or(0) > 2 {}
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                })
                .unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let request = head + &String::from_utf8_lossy(&body);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{request}",
                request.len()
            );
            // Before the answer: who has that may look at once.
            if sender.send(request).is_err() {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, receiver)
}

const EXPORT: &str = "[pipeline.main]\nfrom = [\"hq\"]\nthrough = [\"90-out\"]\n\
    to = [\"archive\"]\n[sink.archive]\nkind = \"file\"\npath = \"events.jsonl\"\n";

#[test]
fn a_secret_arrives_at_the_other_side_and_is_in_no_guests_memory() {
    const SECRET: &str = "correct-horse-battery-staple";
    let (url, requests) = echo_server();
    let sim = Sim::start(&["--rate", "max", "--count", "5", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], EXPORT);
    std::fs::write(dir.path("plugins.d/secret"), SECRET).unwrap();
    let reversed: String = SECRET.chars().rev().collect();
    dir.plugin(
        "90-out",
        "misbehave-export",
        &format!(
            "[config]\nmode = \"search-secret\"\nurl = \"{url}/in/{{secret:hook}}\"\nreversed = \"{reversed}\"\n\
             [egress]\nallow = [\"{url}\"]\nsecrets = {{ hook = {{ file = \"secret\" }} }}\n\
             [limits]\ntime = \"10s\"\n"
        ),
    );
    let mut host = dir.run();
    let request = requests.recv().unwrap();
    assert!(request.starts_with(&format!("POST /in/{SECRET} ")), "{request}");
    host.wait_for_log("secret found in");
    host.stop();
    let log = host.running.log();
    assert!(log.contains("status 200"), "{log}");
    assert!(log.contains("secret found in 0 places"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn what_is_not_allowed_is_refused_and_told() {
    let (url, requests) = echo_server();
    let sim = Sim::start(&["--rate", "max", "--count", "5", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], EXPORT);
    let toml = format!(
        "[config]\nmode = \"http-to\"\nurl = \"{url}/\"\n[egress]\nallow = [\"https://elsewhere.example\"]\n"
    );
    dir.plugin("90-out", "misbehave-export", &toml);
    let mut host = dir.run();
    host.wait_for_log("is not in [egress] allow");
    host.stop();
    assert!(requests.try_recv().is_err(), "nothing may arrive");
}

#[test]
fn the_bundled_export_plugin_posts_each_event() {
    let (url, requests) = echo_server();
    let sim = Sim::start(&["--rate", "max", "--count", "20", "--streams", "ap-events"]);
    let dir = HostDir::new(&sim, &["ap-events"], EXPORT);
    dir.plugin(
        "90-out",
        "export",
        &format!(
            "[config]\nurl = \"{url}/in\"\ntemplate = '{{\"id\": \"{{{{id}}}}\"}}'\nbatch = \"each\"\n\
             [egress]\nallow = [\"{url}\"]\n"
        ),
    );
    let mut host = dir.run();
    wait_until("20 events", || count_lines(&host.path("events.jsonl")) == 20);
    let tally = host.stop();
    assert_eq!(tally.delivered, 20);
    let posted: Vec<String> = requests
        .try_iter()
        .map(|request| {
            let body = request.split_once("\r\n\r\n").unwrap().1;
            let body: serde_json::Value = serde_json::from_str(body).expect(body);
            body["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(posted, host.ids("events.jsonl", "ap-events"));
}
