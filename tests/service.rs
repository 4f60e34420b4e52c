//! The host as a service: what the service manager is told, what the log looks like, the unit.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Host, HostDir, SOON, Sim, TROMMEL, output_of, repository, wait_for, wait_until,
};

const NEWS: &str = "[pipeline.main]\nfrom = [\"trommel\"]\nthrough = []\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n";

/// A service manager that listens all the time: few messages have room.
struct Manager {
    dir: TempDir,
    heard: Receiver<String>,
}

impl Manager {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let (hears, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                if hears.send(text).is_err() {
                    return;
                }
            }
        });
        Manager { dir, heard }
    }

    fn next(&self) -> String {
        self.heard.recv_timeout(SOON).expect("the service manager to be told")
    }

    /// Reads until somebody says this; gives back what was said before.
    fn wait_for(&self, text: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let said = self.next();
            if said.contains(text) {
                return before;
            }
            before.push(said);
        }
    }
}

#[test]
fn the_service_manager_hears_of_start_life_and_end() {
    let manager = Manager::new();
    let mut dir = HostDir::empty();
    dir.add(NEWS);
    let mut host = dir.run_with(|command| {
        command.env("NOTIFY_SOCKET", manager.dir.path().join("notify"));
        command.env("WATCHDOG_USEC", "100000");
    });
    assert_eq!(manager.next(), "READY=1\n", "nothing comes before it is ready");
    assert!(host.get("/readyz").contains("ready"));
    let before = manager.wait_for("STATUS=");
    assert!(before.iter().all(|said| said == "WATCHDOG=1\n"), "{before:?}");
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    host.running.signal(Signal::HUP);
    let mut said = manager.next();
    while !said.starts_with("RELOADING=1\nMONOTONIC_USEC=") {
        assert!(said.starts_with("WATCHDOG=1") || said.starts_with("STATUS="), "{said}");
        said = manager.next();
    }
    manager.wait_for("READY=1");
    host.stop();
    manager.wait_for("STOPPING=1");
    let more = manager.heard.recv_timeout(Duration::from_millis(20));
    assert!(more.is_err(), "nothing comes after it: {more:?}");
}

/// A host that takes its time to stop, for a plugin is in a long call.
fn busy(sim: &Sim) -> Host {
    let rest = "[pipeline.main]\nfrom = [\"hq\"]\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n";
    let dir = HostDir::new(sim, &["ap-events"], rest);
    let toml = "[config]\nmode = \"loop\"\n[limits]\ntime = \"60s\"\n";
    dir.plugin("10-loop", "misbehave-filter", toml);
    let host = dir.run();
    wait_until("the long call", || {
        let (page, main) = (host.page(), [("pipeline", "main")]);
        let value = |name| page.find(name, &main).unwrap_or(0.0);
        // More than waits in the queue: it was taken out of it.
        value("trommel_in_flight") > value("trommel_queue_events")
    });
    host
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    for signals in [[Signal::TERM, Signal::INT], [Signal::INT, Signal::TERM]] {
        let mut host = busy(&sim);
        // Two of one kind would be one to it already; it sees both when it goes on.
        for signal in [&[Signal::STOP][..], &signals, &[Signal::CONT]].concat() {
            host.running.signal(signal);
        }
        assert!(host.end().in_flight > 0, "it was stopped in order");
    }
}

#[test]
fn a_second_signal_ends_the_host_at_once() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events"]);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut host = busy(&sim);
        // Until one of them comes late enough to be another.
        let status = wait_for("the host to end", || {
            host.running.signal(signal);
            host.running.ended()
        });
        assert_eq!(status.code(), Some(code), "{}", host.running.log());
        assert!(!host.running.log().contains("tally"), "{}", host.running.log());
    }
}

#[test]
fn what_cannot_be_right_does_not_keep_the_host_from_running() {
    let mut dir = HostDir::empty();
    dir.add(NEWS);
    let mut host = dir.run_with(|command| {
        command.env("NOTIFY_SOCKET", "/nowhere/notify").env("WATCHDOG_USEC", "0");
    });
    host.wait_for_log("the service manager cannot be told");
    host.stop();
}

#[test]
fn the_log_is_json_where_nobody_looks_and_the_tally_is_its_last_line() {
    for (flag, env) in [(Some("json"), "human"), (None, "auto"), (None, "json")] {
        let mut dir = HostDir::empty();
        dir.add(NEWS);
        let mut host = dir.run_with(|command| {
            command.env("TROMMEL_LOG_FORMAT", env);
            command.args(flag.map(|format| ["--log-format", format]).iter().flatten());
        });
        host.wait_for_log("started");
        host.stop();
        let log = host.running.log();
        let (tally, lines) = log.trim_end().rsplit_once('\n').map(|(l, t)| (t, l)).unwrap();
        assert!(tally.starts_with("tally received="), "{log}");
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let started = lines.iter().find(|line| line["message"] == "started").expect(&log);
        assert_eq!(started["level"], "INFO");
        assert!(started["timestamp"].is_string() && started["address"].is_string(), "{started}");
    }
}

#[test]
fn the_level_says_how_much_is_logged() {
    for (args, env, is_told) in [
        (&["--log-level", "error"][..], "debug", false),
        (&[], "error", false),
        (&["--log-level", "trommel=info"], "error", true),
    ] {
        let mut dir = HostDir::empty();
        dir.add(NEWS);
        let mut host = dir.run_with(|command| {
            command.env("TROMMEL_LOG", env).args(args);
        });
        host.get("/healthz");
        host.stop();
        assert_eq!(host.running.log().contains("started"), is_told, "{args:?} {env}");
    }
    let mut command = Command::new(TROMMEL);
    command.args(["run", "--config", "/nowhere"]).env("TROMMEL_LOG_FORMAT", "xml");
    let output = output_of(&mut command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("TROMMEL_LOG_FORMAT"), "{text}");
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let unit = repository().join("packaging/systemd/trommel.service");
    let text = std::fs::read_to_string(unit).unwrap();
    for line in [
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "DynamicUser=yes",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing");
    }
    let dir = TempDir::new().unwrap();
    let installed = dir.path().join("trommel.service");
    std::fs::write(&installed, text.replace("/usr/local/bin/trommel", TROMMEL)).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&installed).output() else {
        eprintln!("no systemd-analyze here: the unit is not verified");
        return;
    };
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
