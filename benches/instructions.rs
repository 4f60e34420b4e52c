//! Fixed work whose instructions are counted: `instructions WHAT ROUNDS`. Only what `counted` does is to be
//! counted; `tools/instructions` calls this under valgrind and knows what to do with the figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot go on may panic"
)]

mod fixtures;

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use trommel::batch::Batch;
use trommel::columns::Fields;
use trommel::config::PluginFile;
use trommel::decode::{Decoder, Registry};
use trommel::plugin::{Compiler, Engine, Loader};
use trommel::runner::Factory as _;
use trommel::state::State;

use fixtures::{batch, payloads, recorded};

/// Events in a batch, as at medium load.
const BATCH: usize = 64;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(what), Some(Ok(rounds))) = (args.next(), args.next().map(|count| count.parse()))
    else {
        // `cargo bench` and `cargo test` ask for nothing of this.
        return;
    };
    let events = match what.as_str() {
        "json-audit" => json(0, rounds),
        "json-stat" => json(1, rounds),
        "envelope-audit" => decode("audit-trail-events", false, rounds),
        "envelope-ap" => decode("ap-events", false, rounds),
        "line-audit" => decode("audit-trail-events", true, rounds),
        "line-ap" => decode("ap-events", true, rounds),
        "filter-type" => filter("[config]\nkeep = [{ type = \"*.stats.*\" }]", rounds),
        "filter-field" => filter(
            "[config]\ndrop = [{ pointer = \"/serial_number\", equals = \"none such\" }]",
            rounds,
        ),
        _ => panic!("no work is called {what}"),
    };
    println!("{events} events");
}

/// Does `work` so often; once before, so that what is made on first use is there.
fn run(rounds: usize, mut work: impl FnMut()) {
    work();
    counted(rounds, &mut work);
}

/// By its name, the region that is counted.
#[inline(never)]
fn counted(rounds: usize, work: &mut dyn FnMut()) {
    for _ in 0..rounds {
        work();
    }
}

/// A payload as JSON.
fn json(which: usize, rounds: usize) -> usize {
    let registry = Registry::built_in();
    let (_, full_name, payload) = &payloads()[which];
    let message = registry.named(full_name).unwrap();
    let mut out = Vec::new();
    run(rounds, || {
        out.clear();
        registry.write_json_bytes(message, payload, &mut out).unwrap();
        std::hint::black_box(&out);
    });
    rounds
}

/// Frames into a batch, and its lines if they are wanted.
fn decode(stream: &str, with_lines: bool, rounds: usize) -> usize {
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    let (frames, _) = recorded(stream, BATCH as u64);
    let mut batch = Batch::default();
    run(rounds, || {
        batch.clear();
        for frame in &frames {
            decoder.decode(stream, frame.clone(), &mut batch).unwrap();
        }
        if with_lines {
            let rows = batch.live().to_vec();
            batch.prepare(&rows, Fields::WHOLE, &decoder);
            std::hint::black_box(batch.lines_of(&rows));
        }
    });
    rounds * BATCH
}

/// A batch through the bundled filter: its columns, the call, the answer.
fn filter(toml: &str, rounds: usize) -> usize {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let loader = Loader {
        compiler: Compiler::new(
            Engine::new().unwrap(),
            Some(&repository.join("target/instructions")),
        ),
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
    };
    let wasm = std::fs::read(repository.join("target/plugins/filter.wasm"));
    let wasm = wasm.expect("run `make plugins` first");
    let file = PluginFile::parse(toml, Path::new("bench.toml")).unwrap();
    let version = loader.load("bench", &wasm, &file).unwrap();
    let wants = version.info().wants.clone();
    let mut runner = version.make().unwrap();
    let mut state = State::default();
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    let mut batch = batch(BATCH);
    let rows = batch.live().to_vec();
    batch.prepare(&rows, Fields::DATA, &decoder);
    run(rounds, || {
        let rows = batch.live_of(|ty| wants.has_type(ty));
        let columns = batch.columns(&rows, wants.fields);
        std::hint::black_box(runner.run(&columns, 1, &mut state).unwrap());
    });
    rounds * BATCH
}
