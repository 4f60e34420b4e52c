//! `trommel completions` and `trommel man`: both are made from the command line as it is defined, so
//! neither can be out of date.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::Exit;

/// Arguments of `trommel completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    trommel completions bash > ~/.local/share/bash-completion/completions/trommel\n  \
    trommel completions zsh > ~/.zfunc/_trommel\n  \
    trommel completions fish > ~/.config/fish/completions/trommel.fish")]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Arguments of `trommel man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  trommel man | man -l -\n  trommel man --dir /usr/local/share/man/man1"
)]
pub(super) struct ManArgs {
    /// Write the pages of all commands into this directory, made if missing; without it the page of
    /// trommel itself is printed
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs, mut command: Command) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "trommel", &mut script);
    print(&script)
}

pub(super) fn man(args: &ManArgs, command: Command) -> Result<(), Exit> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(Exit::run_time)?;
        return print(&page);
    };
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written
        .map_err(|error| Exit::environment(format!("cannot write to {}: {error}", dir.display())))
}

fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Exit::run_time(error)),
        _ => Ok(()),
    }
}
