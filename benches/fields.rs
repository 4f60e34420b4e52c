//! What the bundled plugins cost per event where they look into payloads, the crossing of the boundary
//! and the building of columns included; and how soon a plugin that never answers is stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on may panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use trommel::batch::{Batch, NewRow, Payload};
use trommel::columns::Fields;
use trommel::config::PluginFile;
use trommel::decode::{Decoder, Registry};
use trommel::frame::Frame;
use trommel::plugin::{Compiler, Engine, Loader};
use trommel::runner::Factory as _;
use trommel::state::State;

const RUNS: usize = 9;

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/cache");
    let loader = Loader {
        compiler: Compiler::new(Engine::new().unwrap(), Some(&cache)),
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
    };
    println!(
        "ns per event, median (least to most) of {RUNS} runs; 512 B, 24 fields, batches of 64"
    );
    fields(&loader);
    for (what, time) in [("runaway stopped, share of its 0.1 s", 100), ("share of its 1 s", 1_000)]
    {
        runaway(&loader, what, time);
    }
}

/// Plugins that look into or change payloads of 512 B with 24 fields, as real ones have them.
fn fields(loader: &Loader) {
    for (what, built, toml) in [
        (
            "filter by a field in the middle of 24",
            "filter",
            "[config]\ndrop = [{ pointer = \"/site/name\", equals = \"none such\" }]",
        ),
        (
            "filter by a field that is not there",
            "filter",
            "[config]\ndrop = [{ pointer = \"/none\", equals = \"none such\" }]",
        ),
        (
            "filter by four fields",
            "filter",
            "[config]\ndrop = [{ pointer = \"/site/name\", equals = \"x\" }, \
             { pointer = \"/serial_number\", equals = \"x\" }, \
             { pointer = \"/radios/1/channel\", equals = 7 }, { pointer = \"/last\", equals = \"x\" }]",
        ),
        ("transform, redact one field of 24", "transform", "[config]\nredact = [\"/site/name\"]"),
        (
            "transform, remove two fields of 24",
            "transform",
            "[config]\nremove = [\"/site/name\", \"/last\"]",
        ),
        (
            "transform, set one field of 24",
            "transform",
            "[config]\nset = { \"/site/zone\" = \"x\" }",
        ),
        (
            "alert, rule that matches none",
            "alert",
            "[[config.rules]]\nname = \"r\"\npointer = \"/site/name\"\nequals = \"x\"\ngroup = \"/serial_number\"",
        ),
    ] {
        of_batch(loader, what, built, toml, batch_of(64, dense));
    }
}

/// Runs `work`, which handles `events` events, and prints what one event costs. Only what has the
/// words of the command line in its name is measured.
fn measure(what: &str, events: usize, mut work: impl FnMut()) {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    if !words.all(|word| what.contains(&word)) {
        return;
    }
    let rounds = (200_000 / events).max(1);
    let mut figures: Vec<f64> = (0..=RUNS)
        .map(|_| {
            let begun = Instant::now();
            (0..rounds).for_each(|_| work());
            begun.elapsed().as_nanos() as f64 / (rounds * events) as f64
        })
        // The first warms up.
        .skip(1)
        .collect();
    figures.sort_by(f64::total_cmp);
    let (least, median, most) = (figures[0], figures[RUNS / 2], figures[RUNS - 1]);
    println!("{what:<58} {median:8.0} ({least:.0} to {most:.0})");
}

/// Many short fields.
fn dense(number: usize) -> String {
    let data = format!(
        "{{\"serial_number\":\"CN{number:08}\",\"status\":true,\"model\":\"AP-655\",\"mac\":\"00:11:22:33:44:55\",\
         \"radios\":[{{\"band\":\"2.4\",\"channel\":11,\"power\":17.5}},{{\"band\":\"5\",\"channel\":100,\"power\":21}}],\
         \"ip\":\"10.1.2.3\",\"uptime\":\"86400\",\"site\":{{\"id\":\"7\",\"name\":\"berlin-hq\",\"floor\":3}},\
         \"cpu\":17,\"memory\":42.5,\"clients\":31,\"group\":\"campus-west\",\"label\":null,\"up\":true,\
         \"firmware\":\"10.7.1.0-90123\",\"last\":\""
    );
    let filler = "x".repeat(512 - data.len() - 2);
    data + &filler + "\"}"
}

fn batch_of(size: usize, data: fn(usize) -> String) -> Batch {
    let mut batch = Batch::default();
    for number in 0..size {
        let bytes = data(number).into_bytes();
        let at = trommel::columns::Span { start: 0, end: bytes.len() as u32 };
        batch.push(&NewRow {
            id: "183fc20d-2948-4301-a9bb-0bd13ff60b62",
            source: "/network-monitoring/ap-events",
            ty: ["com.hpe.greenlake.aps.stats.device", "com.hpe.greenlake.aps.stats.radio"]
                [number % 2],
            subject: "",
            time: None,
            content_type: "application/json",
            schema: "",
            stream: "ap-events",
            extensions: "",
            payload: Payload::Json(at),
        });
        batch.push_frame(Frame::binary(bytes), None);
    }
    batch
}

/// One plugin on one batch: choosing the events, building the columns, the call, and taking the
/// answer in.
fn of_batch(loader: &Loader, what: &str, built: &str, toml: &str, mut batch: Batch) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/plugins/{built}.wasm"));
    let wasm = std::fs::read(&path).expect("run `make plugins` first");
    let file = PluginFile::parse(toml, Path::new("bench.toml")).unwrap();
    let version = loader.load("bench", &wasm, &file).unwrap();
    let wants = version.info().wants.clone();
    let mut runner = version.make().unwrap();
    let mut state = State::default();
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    let rows = batch.live().to_vec();
    let size = rows.len();
    batch.prepare(&rows, Fields::DATA, &decoder);
    measure(&format!("{what}, batch of {size}"), size, || {
        let rows = batch.live_of(|ty| wants.has_type(ty));
        assert_eq!(rows.len(), size);
        let columns = batch.columns(&rows, wants.fields);
        let answer = runner.run(&columns, 1, &mut state).unwrap();
        std::hint::black_box(answer);
    });
}

/// How long a plugin that never answers keeps its thread, beside what it may take.
fn runaway(loader: &Loader, what: &str, millis: u64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/plugins/misbehave-filter.wasm");
    let wasm = std::fs::read(&path).expect("run `make plugins` first");
    let toml = format!("[config]\nmode = \"loop\"\n[limits]\ntime = \"{millis}ms\"");
    let file = PluginFile::parse(&toml, Path::new("bench.toml")).unwrap();
    let version = loader.load("bench", &wasm, &file).unwrap();
    let wants = version.info().wants.clone();
    let batch = batch_of(1, dense);
    let columns = batch.columns(batch.live(), wants.fields);
    let mut shares: Vec<f64> = (0..RUNS)
        .map(|_| {
            let mut runner = version.make().unwrap();
            let begun = Instant::now();
            assert!(runner.run(&columns, 1, &mut State::default()).is_err());
            begun.elapsed().as_secs_f64() * 1e3 / millis as f64
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    let (least, median, most) = (shares[0], shares[RUNS / 2], shares[RUNS - 1]);
    println!("{what:<58} {median:8.2} ({least:.2} to {most:.2})");
}
