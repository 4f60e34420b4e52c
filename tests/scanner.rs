//! The scanner for JSON pointers as it runs in WebAssembly, with vector instructions: the bundled
//! filter, in this process, against serde_json on random JSON. (`plugins/sdk/rust/tests` does the
//! same natively, and harder, where other instructions do the work.)

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use trommel::batch::{Batch, NewRow, Payload};
use trommel::columns::{Fields, Span};
use trommel::config::PluginFile;
use trommel::decode::{Decoder, Registry};
use trommel::frame::Frame;
use trommel::outcome::Answer;
use trommel::plugin::{Compiler, Engine, Loader};
use trommel::runner::Factory as _;
use trommel::state::State;

use crate::support::plugin;

const NAMES: [&str; 10] = [
    "a",
    "\\u0061",
    "",
    "0",
    "x/y",
    "x\\/y",
    "\\\"",
    "é",
    "long enough for two vectors of it",
    "a name that is longer than a block of sixty-four bytes, and then some",
];
const POINTERS: [&str; 12] = [
    "",
    "/a",
    "/a/a",
    "/",
    "/0",
    "/1/a",
    "/a/0",
    "/x~1y",
    "/\"",
    "/é/é",
    "/long enough for two vectors of it",
    "/a name that is longer than a block of sixty-four bytes, and then some",
];

#[test]
fn the_filter_finds_what_serde_json_finds() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let texts: Vec<String> = (0..1_000).map(|_| object(&mut random, 4)).collect();
    let values: Vec<Value> =
        texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let loader = Loader {
        compiler: Compiler::new(Engine::new().unwrap(), Some(cache.path())),
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
    };
    let wasm = std::fs::read(plugin("filter")).unwrap();
    let mut batch = batch(&texts);
    let rows = batch.live().to_vec();
    assert!(batch.prepare(&rows, Fields::DATA, &decoder()).is_empty());
    // One pointer takes another way than several.
    for others in [&[][..], &POINTERS] {
        for pointer in POINTERS {
            let rules: Vec<Value> = others
                .iter()
                .map(|other| serde_json::json!({"type": "none", "pointer": other}))
                .chain([serde_json::json!({"pointer": pointer})])
                .collect();
            let toml = format!("[config]\nkeep = {}", inline(&rules));
            let file = PluginFile::parse(&toml, "filter.toml".as_ref()).unwrap();
            let version = loader.load("filter", &wasm, &file).unwrap();
            let columns = batch.columns(&rows, Fields::DATA);
            let answer = version.make().unwrap().run(&columns, 1, &mut State::default()).unwrap();
            let Answer::Verdicts(verdicts) = answer else { panic!("a filter gives verdicts") };
            for (number, keep) in verdicts.keep.iter().enumerate() {
                let is_there = values[number].pointer(pointer).is_some();
                assert_eq!(*keep == 1, is_there, "seed {seed}: {pointer} in {}", texts[number]);
            }
        }
    }
}

/// Rules as TOML has them.
fn inline(rules: &[Value]) -> String {
    let member = |(name, value): (&String, &Value)| format!("{name} = {value}");
    let rule = |rule: &Value| {
        let members: Vec<_> = rule.as_object().unwrap().iter().map(member).collect();
        format!("{{ {} }}", members.join(", "))
    };
    format!("[{}]", rules.iter().map(rule).collect::<Vec<_>>().join(", "))
}

fn decoder() -> Decoder {
    Decoder::new(std::sync::Arc::new(Registry::built_in()))
}

fn batch(texts: &[String]) -> Batch {
    let mut batch = Batch::default();
    for text in texts {
        let bytes = text.clone().into_bytes();
        let at = Span { start: 0, end: bytes.len() as u32 };
        batch.push(&NewRow {
            id: "1",
            source: "/test",
            ty: "some",
            subject: "",
            time: None,
            content_type: "application/json",
            schema: "",
            stream: "test",
            extensions: "",
            payload: Payload::Json(at),
        });
        batch.push_frame(Frame::binary(bytes), None);
    }
    batch
}

/// Few names, so that some occur twice, and strings of all lengths with what means something.
fn object(random: &mut StdRng, depth: usize) -> String {
    let members: Vec<String> = (0..random.random_range(0..9))
        .map(|_| {
            format!("\"{}\":{}", NAMES[random.random_range(0..NAMES.len())], value(random, depth))
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

fn value(random: &mut StdRng, depth: usize) -> String {
    match random.random_range(0..if depth == 0 { 4 } else { 7 }) {
        0 => "null".to_owned(),
        1 => random.random_range(-1000..1000).to_string(),
        2 => format!("\"{}\"", NAMES[random.random_range(0..NAMES.len())]),
        3 => {
            let parts = ["{", "}", "[", "\\\\", "\\\"", ":", ",", "a", "é", "plain text"];
            let parts: String = (0..random.random_range(0..40))
                .map(|_| parts[random.random_range(0..parts.len())])
                .collect();
            format!("\"{parts}\"")
        }
        4 => {
            let elements: Vec<_> =
                (0..random.random_range(0..4)).map(|_| value(random, depth - 1)).collect();
            format!("[{}]", elements.join(","))
        }
        _ => object(random, depth - 1),
    }
}
