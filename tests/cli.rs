//! The commands around `run`: init, check, status, completions, man; what they print and how they end.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Host, HostDir, Running, Sim, TROMMEL, output_of, wait_until};

/// Runs the program in a folder.
fn trommel(dir: &Path, args: &[&str]) -> Output {
    output_of(access(Command::new(TROMMEL).current_dir(dir).args(args)))
}

fn access(command: &mut Command) -> &mut Command {
    command.env("CENTRAL_CLIENT_ID", "me").env("CENTRAL_CLIENT_SECRET", "s3cr3t-value")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Both outputs, and the exit code.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_init_writes_is_a_configuration_that_check_accepts() {
    for (kind, next) in [("central", "check --online"), ("replay", "sim frames")] {
        let dir = TempDir::new().unwrap();
        let (code, out) = said(&trommel(dir.path(), &["init", "--kind", kind, "new/place"]));
        assert_eq!(code, Some(0), "{out}");
        assert!(out.contains(next) && out.contains("--config new/place/trommel.toml"), "{out}");
        let place = dir.path().join("new/place");
        fs::write(place.join("input.frames"), "").unwrap();
        let (code, out) = said(&trommel(&place, &["check", "--set", "listen=127.0.0.1:0"]));
        assert_eq!(code, Some(0), "{out}");
        assert!(out.contains("ok: 1 source with"), "{out}");
        assert_eq!(
            files(&place),
            ["input.frames", "plugins.d", "trommel.toml"],
            "check made files"
        );
    }
}

#[test]
fn init_overwrites_nothing() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("trommel.toml"), "mine").unwrap();
    let (code, out) = said(&trommel(dir.path(), &["init"]));
    assert!(code == Some(2) && out.contains("./trommel.toml: there already"), "{code:?}: {out}");
    assert_eq!(files(dir.path()), ["trommel.toml"]);
    assert_eq!(fs::read_to_string(dir.path().join("trommel.toml")).unwrap(), "mine");
    let (code, out) = said(&trommel(dir.path(), &["init", "/proc/nowhere"]));
    assert!(code == Some(3) && out.contains("/proc/nowhere"), "{code:?}: {out}");
}

#[test]
fn init_explains_every_key_there_is() {
    let dir = TempDir::new().unwrap();
    trommel(dir.path(), &["init"]);
    let written = fs::read_to_string(dir.path().join("trommel.toml")).unwrap();
    // An unknown key is told together with those known.
    for table in ["", "source.hq.", "pipeline.main.", "sink.archive.", "journal."] {
        let wrong = format!("{table}qqqqqqqq=1");
        let (_, out) = said(&trommel(dir.path(), &["check", "--set", &wrong]));
        let known = out.split("known here: ").nth(1).unwrap_or_else(|| panic!("{wrong}: {out}"));
        for key in known.lines().next().unwrap().split(", ") {
            let is_there = [format!("{key} = "), format!("[{key}.")].iter().any(|text| {
                written.lines().any(|l| l.trim_start_matches(['#', ' ']).starts_with(text))
            });
            assert!(is_there, "{table}{key} is not in what init writes");
        }
    }
}

const SMALL: &str = "listen = \"127.0.0.1:0\"\n[pipeline.main]\nfrom = [\"trommel\"]\n\
    to = [\"out\"]\n[sink.out]\nkind = \"file\"\npath = \"out.jsonl\"\n";

#[test]
fn check_looks_at_the_machine_and_leaves_it_as_it_was() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen={}", taken.local_addr().unwrap());
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("trommel.toml"), SMALL).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let cases = [
        (&*listen, 3, "listen: cannot listen on 127.0.0.1:"),
        ("data_dir=file/data", 3, "data_dir: cannot write to"),
        ("plugin_dir=file", 3, "file"),
        ("sink.out.path=file/out.jsonl", 3, "sink.out: cannot open "),
        ("sink.out.path=.", 3, "is a directory"),
        ("sink.out.path=new/out.jsonl", 0, "ok: "),
        ("pipeline.main.to=[\"file\"]", 2, "pipeline.main.to: there is no sink \"file\""),
    ];
    for (set, expected, says) in cases {
        let (code, out) = said(&trommel(dir.path(), &["check", "--set", set]));
        assert!(code == Some(expected) && out.contains(says), "{set}: {code:?}: {out}");
    }
    assert_eq!(files(dir.path()), ["file", "trommel.toml"]);
}

#[test]
fn check_draws_pipelines_and_finds_files_that_belong_to_no_plugin() {
    let mut dir = HostDir::empty();
    dir.add("[pipeline.main]\nfrom = [\"trommel\"]\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n");
    dir.add("[sink.idle]\nkind = \"null\"\n");
    dir.plugin("50-export", "export", "[config]\nurl = \"https://siem.example/in\"\n");
    dir.plugin("60-filter", "filter", "");
    let check = |args: &[&str]| {
        let config = dir.write_config();
        said(&trommel(config.parent().unwrap(), &[&["check"], args].concat()))
    };
    let (code, out) = check(&[]);
    assert_eq!(code, Some(0), "{out}");
    // Export plugins run last.
    let at = |text: &str| out.find(text).unwrap_or_else(|| panic!("{text} is not in {out}"));
    assert!(at("from") < at("60-filter") && at("60-filter") < at("50-export"), "{out}");
    assert!(at("50-export") < at("to "), "{out}");
    assert!(out.contains("warning: sink.idle: no pipeline writes to it"), "{out}");

    fs::write(dir.path("plugins.d/70-flter.toml"), "").unwrap();
    let (code, out) = check(&[]);
    assert!(code == Some(2) && out.contains("there is no 70-flter.wasm"), "{code:?}: {out}");
    let (code, out) = check(&["--json"]);
    let report: Value = serde_json::from_str(&out).expect(&out);
    assert_eq!((code, &report["ok"]), (Some(2), &Value::Bool(false)));
    assert_eq!(report["problems"][0]["where"], "70-flter.toml");
    assert_eq!(report["pipelines"][0]["through"][0]["plugin"], "60-filter");

    let (code, out) = check(&["--json", "--set", "lsten=1"]);
    let report: Value = serde_json::from_str(&out).expect(&out);
    assert_eq!((code, &report["problems"][0]["where"]), (Some(2), &"lsten".into()));
    assert_eq!(report["problems"][0]["hint"], "did you mean \"listen\"?");
}

const NULL: &str =
    "[pipeline.main]\nfrom = [\"hq\"]\nthrough = []\nto = [\"out\"]\n[sink.out]\nkind = \"null\"\n";

#[test]
fn check_online_closes_each_stream_as_soon_as_it_is_known_how_it_went() {
    let sim = Sim::start(&["--log-level", "debug", "--streams", "ap-events"]);
    // It takes connections and says nothing.
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dir = HostDir::new(&sim, &["ap-events"], NULL);
    dir.add(&format!(
        "[source.slow]\nkind = \"central\"\nbase_url = \"https://{}\"\ntoken = {{ env = \"SLOW\" }}\n\
         streams = [\"wids\"]\n[pipeline.slow]\nfrom = [\"slow\"]\n",
        slow.local_addr().unwrap()
    ));
    let mut command = Command::new(TROMMEL);
    command.args(["check", "--online", "--config"]).arg(dir.write_config()).env("SLOW", "token");
    let (out, log) = (dir.path("out"), dir.path("log"));
    let mut check = Running::start(&mut command, &out, &log);
    let (held, _) = slow.accept().unwrap();
    let sim_log = sim.dir.path().join("sim.log");
    wait_until("the quick stream to be closed", || {
        fs::read_to_string(&sim_log).unwrap().contains("closed by the peer")
    });
    held.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4_096];
    let is_open = loop {
        match (&held).read(&mut bytes) {
            Ok(0) => break false,
            // Its half of a handshake.
            Ok(_) => {}
            Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
        }
    };
    assert!(is_open && check.ended().is_none(), "the other is still being tried");
    drop((held, slow));
    assert_eq!(check.wait().code(), Some(1));
    let out = fs::read_to_string(out).unwrap();
    let line = |name: &str| out.lines().find(|line| line.contains(name)).unwrap_or_default();
    assert!(line("  hq/ap-events").ends_with("ok"), "{out}");
    assert!(!line("  slow/wids").ends_with("ok"), "{out}");
}

#[test]
fn check_online_connects_each_stream_once() {
    let sim = Sim::start(&["--rate", "100", "--streams", "ap-events,wids"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], NULL);
    dir.streams("hq", "[\"ap-events\", { path = \"network-services/v1/nothing\" }]");
    let check = |dir: &HostDir, args: &[&str]| {
        let config = dir.write_config();
        said(&trommel(config.parent().unwrap(), &[&["check", "--online"], args].concat()))
    };
    let (code, out) = check(&dir, &[]);
    assert_eq!(code, Some(1), "{out}");
    let line = |name: &str| out.lines().find(|line| line.contains(name)).unwrap_or_default();
    assert!(line("  hq/ap-events").ends_with("ok"), "{out}");
    assert!(line("  hq/nothing").contains("404"), "{out}");
    assert!(out.contains("1 stream could not be connected"), "{out}");

    dir.streams("hq", "[\"ap-events\", \"wids\"]");
    let (code, out) = check(&dir, &["--json"]);
    let report: Value = serde_json::from_str(&out).expect(&out);
    assert_eq!((code, report["streams"].as_array().unwrap().len()), (Some(0), 2), "{out}");
    assert_eq!(report["streams"][1]["ok"], true);

    fs::write(dir.path("hq.secret"), "wrong").unwrap();
    let (code, out) = check(&dir, &[]);
    assert!(code == Some(1) && out.contains("401"), "{code:?}: {out}");
}

fn status(host: &Host, args: &[&str]) -> (Option<i32>, String) {
    let config = host.path("trommel.toml");
    let mut command = Command::new(TROMMEL);
    command.arg("status").args(args).arg("--config").arg(config);
    said(&output_of(&mut command))
}

#[test]
fn status_tells_how_a_running_host_is_doing() {
    let sim = Sim::start(&["--rate", "max", "--count", "500", "--streams", "ap-events"]);
    let mut dir = HostDir::new(&sim, &["ap-events"], NULL).without_journal();
    dir.add("[pipeline.waiting]\nfrom = [\"hq\"]\nthrough = [\"10-missing\"]\nto = [\"out\"]\n");
    // Whoever asks needs none of the host's secrets.
    let mut host = dir.run();
    wait_until("all events", || host.settled("main") == 500);
    wait_until("the same events in the other", || {
        let page = host.page();
        let waiting = |name| page.find(name, &[("pipeline", "waiting")]) == Some(500.0);
        waiting("trommel_in_flight") && waiting("trommel_queue_events")
    });
    fs::remove_file(host.path("hq.secret")).unwrap();

    let (code, out) = status(&host, &["--json"]);
    assert_eq!(code, Some(0), "{out}");
    let report: Value = serde_json::from_str(&out).expect(&out);
    let stream = &report["sources"][0];
    assert_eq!((&stream["stream"], &stream["state"]), (&"ap-events".into(), &"streaming".into()));
    assert_eq!(stream["frames"], 500);
    let row = |name: &str| {
        let rows = report["pipelines"].as_array().unwrap().iter();
        rows.clone().find(|row| row["name"] == name).unwrap().clone()
    };
    assert_eq!((&row("main")["delivered"], &row("main")["held"]), (&500.into(), &Value::Null));
    assert_eq!(
        (&row("waiting")["in_flight"], &row("waiting")["queue_events"]),
        (&500.into(), &500.into())
    );
    assert!(row("waiting")["queue_bytes"].as_u64().unwrap() > 0);
    assert!(row("waiting")["held"].as_str().unwrap().contains("10-missing"));
    assert!(report["version"].is_string() && report["started"].as_u64().unwrap() > 0);

    let (code, out) = status(&host, &[]);
    assert_eq!(code, Some(0), "{out}");
    for text in ["hq/ap-events", "streaming", "held: plugin \"10-missing\" is not there", "total"] {
        assert!(out.contains(text), "{text} is not in {out}");
    }
    host.stop();
    let (code, out) = status(&host, &[]);
    assert!(code == Some(1) && out.contains("no host is running"), "{code:?}: {out}");
    // One that died leaves its address behind.
    fs::write(host.path("data/listen.addr"), "127.0.0.1:1\n").unwrap();
    let (code, out) = status(&host, &[]);
    assert!(code == Some(1) && out.contains("does not answer"), "{code:?}: {out}");
}

#[test]
fn completions_and_manual_pages_know_all_commands() {
    let dir = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out) = said(&trommel(dir.path(), &["completions", shell]));
        assert_eq!(code, Some(0));
        for word in ["tail", "client-secret-file", "status"] {
            assert!(out.contains(word), "{shell}: {word}");
        }
    }
    let (code, out) = said(&trommel(dir.path(), &["man"]));
    assert!(code == Some(0) && out.starts_with(".ie") && out.contains(".TH"), "{out}");
    assert_eq!(trommel(dir.path(), &["man", "--dir", "man/man1"]).status.code(), Some(0));
    let pages = files(&dir.path().join("man/man1"));
    for page in ["trommel.1", "trommel-tail.1", "trommel-plugin-list.1", "trommel-sim-central.1"] {
        assert!(pages.iter().any(|found| found == page), "{page} is not in {pages:?}");
    }
    fs::write(dir.path().join("file"), "").unwrap();
    let (code, out) = said(&trommel(dir.path(), &["man", "--dir", "file"]));
    assert!(code == Some(3) && out.contains("cannot write to file"), "{code:?}: {out}");
}

#[test]
fn every_kind_of_failure_has_its_exit_code() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("trommel.toml"), SMALL).unwrap();
    let broken = "[source.tape]\nkind = \"replay\"\npath = \"torn\"\nstream = \"wids\"\n\
        [pipeline.main]\nfrom = [\"tape\"]\n";
    fs::write(dir.path().join("broken.toml"), format!("listen = \"127.0.0.1:0\"\n{broken}"))
        .unwrap();
    fs::write(dir.path().join("torn"), [0, 0, 0, 9, 1]).unwrap();
    for (args, expected) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["check"], 0),
        (&["decode", "torn"], 1),
        (&["run", "--config", "broken.toml"], 1),
        (&["status"], 1),
        (&[], 2),
        (&["tial"], 2),
        (&["run", "--config", "nowhere.toml"], 2),
        (&["run", "--set", "listen=x"], 2),
        (&["run", "--log-level", "loud"], 2),
        (&["decode", "nowhere"], 3),
        (&["run", "--set", "data_dir=/proc/nowhere"], 3),
        (&["sim", "central", "--listen", "192.0.2.1:1"], 3),
    ] {
        let (code, out) = said(&trommel(dir.path(), args));
        assert_eq!(code, Some(expected), "{args:?}: {out}");
    }
    let (_, out) = said(&trommel(dir.path(), &["tial"]));
    assert!(out.contains("'tail'"), "{out}");
}
