//! `trommel init`: a configuration to begin with, every key of it explained. Key type: [`InitArgs`].

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Exit;

/// Arguments of `trommel init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  trommel init\n  trommel init --kind replay try\n\n\
    Nothing that exists is overwritten.")]
pub(super) struct InitArgs {
    /// The directory; made if missing
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Where events come from
    #[arg(long, value_name = "KIND", default_value = "central")]
    kind: Kind,
}

/// Kinds of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// HPE Aruba Networking Central
    Central,
    /// A file of recorded frames
    Replay,
}

const HEAD: &str = include_str!("head.toml");
const CENTRAL: &str = include_str!("central.toml");
const REPLAY: &str = include_str!("replay.toml");
const REST: &str = include_str!("rest.toml");
const PLUGINS: &str = include_str!("plugins.md");

pub(super) fn run(args: &InitArgs) -> Result<(), Exit> {
    let source = match args.kind {
        Kind::Central => CENTRAL,
        Kind::Replay => REPLAY,
    };
    let files = [
        (args.dir.join("trommel.toml"), format!("{HEAD}\n{source}\n{REST}")),
        (args.dir.join("plugins.d/README.md"), PLUGINS.to_owned()),
    ];
    let there: Vec<String> = files
        .iter()
        .filter(|(path, _)| path.symlink_metadata().is_ok())
        .map(|(path, _)| path.display().to_string())
        .collect();
    if !there.is_empty() {
        let what = format!("{}: there already, and not overwritten", there.join(" and "));
        return Err(Exit::usage(format!(
            "{what}\nhint: trommel init DIR writes into another directory"
        )));
    }
    for (path, text) in &files {
        write_new(path, text).map_err(|error| {
            Exit::environment(format!("cannot write {}: {error}", path.display()))
        })?;
        println!("{}", path.display());
    }
    println!("\n{}", next_steps(args));
    Ok(())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}

fn next_steps(args: &InitArgs) -> String {
    let config = match args.dir.as_os_str() == "." {
        true => String::new(),
        false => format!(" --config {}", args.dir.join("trommel.toml").display()),
    };
    let first = match args.kind {
        Kind::Central => {
            "1. Set the lines marked <== in trommel.toml, and give it access:\n     \
             export CENTRAL_CLIENT_ID=… CENTRAL_CLIENT_SECRET=…"
        }
        Kind::Replay => {
            "1. Set the lines marked <== in trommel.toml. A recording to begin with:\n     \
             trommel sim frames --stream ap-events > input.frames"
        }
    };
    let online = if args.kind == Kind::Central { " --online" } else { "" };
    format!(
        "{first}\n2. See whether all is well, and run it:\n     trommel check{online}{config}\n     trommel run{config}"
    )
}
