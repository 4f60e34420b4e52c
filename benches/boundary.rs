//! What a plugin costs per event: the boundary with the batch's columns built for it, and decoding
//! beside it. Prints medians and spread of several runs; `tools/bench` calls this.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on may panic")]

mod fixtures;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use trommel::batch::Batch;
use trommel::columns::Fields;
use trommel::config::PluginFile;
use trommel::decode::{Decoder, Registry};
use trommel::plugin::{Compiler, Engine, Loader};
use trommel::runner::Factory as _;
use trommel::state::State;

use fixtures::{batch, payloads, recorded};

const RUNS: usize = 9;

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let loader = Loader {
        compiler: Compiler::new(Engine::new().unwrap(), None),
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
    plugin(
        &loader,
        "transform, redact one field",
        "transform",
        "[config]\nredact = [\"/tenant_id\"]",
        64,
    );
    payloads_to_json();
    decoding();
}

/// Runs `work`, which handles `events` events, and prints what one event costs.
fn measure(what: &str, events: usize, mut work: impl FnMut()) {
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

/// One plugin on batches of one size: choosing the events, building the columns, the call, and
/// taking the answer in.
fn plugin(loader: &Loader, what: &str, built: &str, toml: &str, size: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/plugins/{built}.wasm"));
    let wasm = std::fs::read(&path).expect("run `make plugins` first");
    let file = PluginFile::parse(toml, Path::new("bench.toml")).unwrap();
    let version = loader.load("bench", &wasm, &file).unwrap();
    let wants = version.info().wants.clone();
    let mut runner = version.make().unwrap();
    let mut state = State::default();
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    let mut batch = batch(size);
    let rows = batch.live().to_vec();
    batch.prepare(&rows, Fields::DATA, &decoder);
    measure(&format!("{what}, batch of {size}"), size, || {
        let rows = batch.live_of(|ty| wants.has_type(ty));
        assert_eq!(rows.len(), size);
        let columns = batch.columns(&rows, wants.fields);
        let answer = runner.run(&columns, 1, &mut state).unwrap();
        std::hint::black_box(answer);
    });
}

fn payloads_to_json() {
    let registry = Registry::built_in();
    for (name, full_name, payload) in payloads() {
        let message = registry.named(full_name).unwrap();
        let about = format!("{name} of {} B to JSON", payload.len());
        let mut out = Vec::new();
        measure(&format!("{about}, by table"), 1, || {
            out.clear();
            registry.write_json_bytes(message, &payload, &mut out).unwrap();
            std::hint::black_box(&out);
        });
        let mut out = String::new();
        measure(&format!("{about}, by dynamic message"), 1, || {
            out.clear();
            registry.write_json_slowly(message, &payload, &mut out).unwrap();
            std::hint::black_box(&out);
        });
    }
}

fn decoding() {
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    for name in ["ap-events", "audit-trail-events"] {
        let (recorded, about) = recorded(name, 256);
        let read = |batch: &mut Batch| {
            for frame in &recorded {
                decoder.decode(name, frame.clone(), batch).unwrap();
            }
        };
        let mut batch = Batch::default();
        measure(&format!("envelope, {about}"), recorded.len(), || {
            batch.clear();
            read(&mut batch);
            std::hint::black_box(&batch);
        });
        measure(&format!("envelope and line of JSON, {about}"), recorded.len(), || {
            batch.clear();
            read(&mut batch);
            let rows = batch.live().to_vec();
            batch.prepare(&rows, Fields::WHOLE, &decoder);
            std::hint::black_box(batch.lines_of(&rows));
        });
    }
}
