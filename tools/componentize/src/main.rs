//! Makes a component of a core module that knows nothing of components, such as the Go compiler
//! writes.
//!
//! Puts the description of a world into the module, then wraps both, with an adapter in the place
//! of WASI if one is given. Rust guests need none of this: their modules describe themselves, and
//! the host wraps them.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const USAGE: &str =
    "usage: componentize --wit FOLDER --world NAME [--adapter FILE] --output FILE MODULE";

/// The module that guests built for WASI preview 1 import, and that the adapter stands in for.
const WASI: &str = "wasi_snapshot_preview1";

/// The command line.
#[derive(Default)]
struct Arguments {
    wit: PathBuf,
    world: String,
    adapter: Option<PathBuf>,
    output: PathBuf,
    module: PathBuf,
}

fn main() {
    if let Err(error) = arguments(env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        eprintln!("componentize: {error:#}");
        process::exit(1);
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(name) = given.next() {
        if !name.starts_with("--") {
            arguments.module = name.into();
            continue;
        }
        let value = given.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--wit" => arguments.wit = value.into(),
            "--world" => arguments.world = value,
            "--adapter" => arguments.adapter = Some(value.into()),
            "--output" => arguments.output = value.into(),
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    let missing = [&arguments.wit, &arguments.output, &arguments.module];
    if arguments.world.is_empty() || missing.iter().any(|path| path.as_os_str().is_empty()) {
        bail!("{USAGE}");
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut module = read(&arguments.module)?;
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_path(&arguments.wit)
        .with_context(|| format!("cannot read the interfaces in {}", arguments.wit.display()))?;
    let world = resolve.select_world(&[package], Some(&arguments.world))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;

    let mut encoder = ComponentEncoder::default().validate(true).module(&module)?;
    if let Some(path) = &arguments.adapter {
        encoder = encoder.adapter(WASI, &read(path)?)?;
    }
    let component = encoder.encode().context("the module does not fit the world")?;
    fs::write(&arguments.output, component)
        .with_context(|| format!("cannot write {}", arguments.output.display()))
}

/// A module, as text or in binary.
fn read(path: &Path) -> Result<Vec<u8>> {
    wat::parse_file(path).with_context(|| format!("cannot read {}", path.display()))
}
