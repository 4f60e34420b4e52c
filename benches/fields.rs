//! What a plugin costs per event: the boundary with the batch's columns built for it, and decoding
//! beside it. Prints medians and spread of several runs; `tools/bench` calls this.
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
use trommel::sim::central::frames;
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
    println!("ns per event, median (least to most) of {RUNS} runs");
    for (what, toml) in [
        ("filter by type", "[config]\nkeep = [{ type = \"*.stats.*\" }]"),
        (
            "filter by type, data crossing too",
            "[config]\ndrop = [{ type = \"*.none\", pointer = \"/a\" }]\nkeep = [{ type = \"*\" }]",
        ),
        (
            "filter by a JSON field",
            "[config]\ndrop = [{ pointer = \"/serial_number\", equals = \"none such\" }]",
        ),
    ] {
        for size in [1, 64, 256, 1024] {
            plugin(&loader, what, "filter", toml, size);
        }
    }
    fields(&loader);
    plugin(
        &loader,
        "transform, redact one field",
        "transform",
        "[config]\nredact = [\"/tenant_id\"]",
        64,
    );
    decoding();
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
        ("transform, remove two fields of 24", "transform", "[config]\nremove = [\"/site/name\", \"/last\"]"),
        ("transform, set one field of 24", "transform", "[config]\nset = { \"/site/zone\" = \"x\" }"),
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

/// Three fields, one of them long.
fn sparse(number: usize) -> String {
    let data = format!("{{\"serial_number\":\"CN{number:08}\",\"status\":true,\"filler\":\"");
    let filler = "x".repeat(512 - data.len() - 2);
    data + &filler + "\"}"
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

/// A batch of events with 512 B of JSON each, of the types of a real stream.
fn batch(size: usize) -> Batch {
    batch_of(size, sparse)
}

fn batch_of(size: usize, data: fn(usize) -> String) -> Batch {
    let mut batch = Batch::default();
    for number in 0..size {
        let bytes = data(number).into_bytes();
        let at = trommel::columns::Span { start: 0, end: bytes.len() as u32 };
        batch.push_frame(Frame::binary(bytes), None);
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
    }
    batch
}

/// One plugin on batches of one size: choosing the events, building the columns, the call, and
/// taking the answer in.
fn plugin(loader: &Loader, what: &str, built: &str, toml: &str, size: usize) {
    of_batch(loader, what, built, toml, batch(size));
}

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

fn decoding() {
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    for name in ["ap-events", "audit-trail-events"] {
        let stream = trommel::decode::catalog::Stream::named(name).unwrap();
        let recorded: Vec<Frame> = frames(stream, 1, 256).map(Frame::binary).collect();
        let bytes: usize = recorded.iter().map(|frame| frame.bytes.len()).sum();
        let about = format!("{name} of {} B", bytes / recorded.len());
        let read = |batch: &mut Batch| {
            for frame in &recorded {
                decoder.decode(name, frame.clone(), batch).unwrap();
            }
        };
        measure(&format!("envelope, {about}"), recorded.len(), || {
            let mut batch = Batch::default();
            read(&mut batch);
            std::hint::black_box(&batch);
        });
        measure(&format!("envelope and line of JSON, {about}"), recorded.len(), || {
            let mut batch = Batch::default();
            read(&mut batch);
            let rows = batch.live().to_vec();
            batch.prepare(&rows, Fields::WHOLE, &decoder);
            std::hint::black_box(batch.lines_of(&rows));
        });
    }
}
