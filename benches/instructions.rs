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

use prost::Message as _;
use tokio_util::sync::CancellationToken;
use trommel::batch::Batch;
use trommel::columns::Fields;
use trommel::config::PluginFile;
use trommel::decode::proto::audittrail::{AuditTrail, ScopeInfo};
use trommel::decode::proto::cloudevents::v1 as cloudevents;
use trommel::decode::{Decoder, Registry};
use trommel::frame::Frame;
use trommel::outcome::Answer;
use trommel::plugin::{Compiler, Engine, Loader};
use trommel::runner::{Factory as _, Runner};
use trommel::state::State;

use fixtures::{batch, payloads, recorded};

/// Events in a batch, as at medium load.
const BATCH: usize = 64;
/// Events in a batch, as at full speed.
const LARGE_BATCH: usize = 512;

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
        "path" => path(&[], rounds),
        "path-filter" => path(&[("filter", FILTER)], rounds),
        "path-transform" => path(&[("transform", TRANSFORM)], rounds),
        "path-alert" => path(&[("alert", ALERT)], rounds),
        "path-all" => {
            path(&[("filter", FILTER), ("transform", TRANSFORM), ("alert", ALERT)], rounds)
        }
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

/// As `tests/python/bench.py` has them.
const FILTER: &str = "[config]\nkeep = [{ pointer = \"/category\", equals = \"Config\" }]";
const TRANSFORM: &str = "[config]\nredact = [\"/ip_address\"]";
const ALERT: &str =
    "[[config.rules]]\nname = \"deletes\"\npointer = \"/action\"\nequals = \"DELETE\"";

/// The audit events that all is measured on, of 264 bytes each, as `tests/python/frame_server.py` has them.
fn audit_frames(count: usize) -> Vec<Frame> {
    let frame = |number: usize| {
        let payload = AuditTrail {
            tenant_id: "t-7".into(),
            occurred_on: 1_764_000_000_123 + number as i64,
            action: "UPDATE".into(),
            category: "Config".into(),
            sub_category: "AP".into(),
            destination: "ap-1".into(),
            ip_address: "10.0.0.7".into(),
            source: "UI".into(),
            service_name: "cfg".into(),
            scope_info: Some(ScopeInfo { scope_type: "SITE".into(), scope_ids: vec!["12".into()] }),
            description: "save".into(),
            ..Default::default()
        };
        let subject = cloudevents::cloud_event_attribute_value::Value::CeString("t-7".into());
        let mut event = cloudevents::CloudEvent {
            id: format!("{number:08x}-0000-4000-8000-000000000000"),
            source: "/audit".into(),
            specversion: "1.0".into(),
            r#type: "com.hpe.greenlake.network-services.v1alpha1.audit-trail".into(),
            attributes: [(
                "subject".to_owned(),
                cloudevents::CloudEventAttributeValue { value: Some(subject) },
            )]
            .into(),
            time: Some(prost_types::Timestamp {
                seconds: 1_764_000_000 + number as i64 / 1_000,
                nanos: 300_000_000 + number as i32 % 1_000,
            }),
            ..Default::default()
        };
        event.data = Some(cloudevents::cloud_event::Data::ProtoData(prost_types::Any {
            type_url: "x/audittrail.AuditTrail".into(),
            value: payload.encode_to_vec(),
        }));
        event.source += &"/".repeat(264 - event.encoded_len());
        Frame::binary(event.encode_to_vec())
    };
    (0..count).map(frame).collect()
}

/// Frames into a batch, through plugins, and to lines: what a pipeline does.
fn path(plugins: &[(&str, &str)], rounds: usize) -> usize {
    let (runtime, loader) = loader();
    let _entered = runtime.enter();
    let mut runners: Vec<Box<dyn Runner>> =
        plugins.iter().map(|(name, toml)| plugin(&loader, name, toml)).collect();
    let mut states: Vec<State> = plugins.iter().map(|_| State::default()).collect();
    let decoder = Decoder::new(Arc::new(Registry::built_in()));
    let frames = audit_frames(LARGE_BATCH);
    let mut batch = Batch::default();
    run(rounds, || {
        batch.clear();
        for frame in &frames {
            decoder.decode("audit-trail-events", frame.clone(), &mut batch).unwrap();
        }
        for (runner, state) in runners.iter_mut().zip(&mut states) {
            let wants = runner.info().wants.clone();
            let rows = batch.live_of(|ty| wants.has_type(ty));
            batch.prepare(&rows, wants.fields, &decoder);
            let answer = runner.run(&batch.columns(&rows, wants.fields), 1, state).unwrap();
            match &answer {
                Answer::Verdicts(verdicts) => batch.filter(&rows, verdicts),
                Answer::Outcomes(outcomes) => batch.transform(&rows, outcomes),
                _ => {}
            }
            batch.settle();
        }
        let rows = batch.live().to_vec();
        assert_eq!(rows.len(), frames.len());
        batch.prepare(&rows, Fields::WHOLE, &decoder);
        std::hint::black_box(batch.lines_of(&rows));
        std::hint::black_box(batch.finish());
    });
    rounds * LARGE_BATCH
}

fn loader() -> (tokio::runtime::Runtime, Loader) {
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
    (runtime, loader)
}

fn plugin(loader: &Loader, name: &str, toml: &str) -> Box<dyn Runner> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/plugins");
    let wasm = std::fs::read(plugins.join(name).with_extension("wasm"));
    let wasm = wasm.expect("run `make plugins` first");
    let file = PluginFile::parse(toml, Path::new("bench.toml")).unwrap();
    loader.load("bench", &wasm, &file).unwrap().make().unwrap()
}

/// A batch through the bundled filter: its columns, the call, the answer.
fn filter(toml: &str, rounds: usize) -> usize {
    let (_runtime, loader) = loader();
    let mut runner = plugin(&loader, "filter", toml);
    let wants = runner.info().wants.clone();
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
