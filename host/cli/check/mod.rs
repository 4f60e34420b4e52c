//! `trommel check`: everything that can be known to be wrong before it runs. Key type: [`Report`].

mod machine;
mod online;
mod picture;

use clap::Args;
use serde::Serialize;

use super::{ConfigArgs, Exit, plugin, runtime, screen};
use crate::config::{
    Access, BUILT_IN_SOURCE, Config, ConfigError, SinkConfig, SinkKind, SourceConfig, SourceKind,
};
use crate::runner::{Plugins, Role};

/// Arguments of `trommel check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  trommel check\n  trommel check --online\n  \
    trommel check --json | jq .problems\n\n\
    The exit code is 2 when the configuration is wrong, 3 when the machine is not as it should be, and\n\
    1 when --online could not connect a stream.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Get a token and connect each stream once
    #[arg(long)]
    online: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    file: String,
    ok: bool,
    problems: Vec<Problem>,
    /// What is odd, and not wrong.
    warnings: Vec<String>,
    pipelines: Vec<picture::Row>,
    /// With `--online`, how each stream could be connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<Vec<online::Row>>,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Problem {
    kind: Kind,
    /// The key, the plugin or the file.
    #[serde(rename = "where")]
    place: String,
    what: String,
    /// The likely fix; may be empty.
    hint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Configuration,
    Environment,
}

impl Problem {
    fn new(kind: Kind, place: impl Into<String>, what: impl Into<String>, hint: &str) -> Self {
        Problem { kind, place: place.into(), what: what.into(), hint: hint.to_owned() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.hint) }
    }
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Exit> {
    let config = match args.config.load_config() {
        Err(error) if args.json => return Err(unreadable(args, error)),
        loaded => loaded.map_err(Exit::from)?,
    };
    let runtime = runtime()?;
    let plugins = plugin::load_files(&config, &runtime)?;
    let mut report = Report {
        file: config.file.display().to_string(),
        pipelines: picture::rows(&config, &plugins),
        warnings: [warnings(&config), machine::warnings(&config)].concat(),
        ..Report::default()
    };
    report.problems = problems(&config, &plugins);
    report.problems.extend(runtime.block_on(async { machine::problems(&config) }));
    if args.online && report.problems.is_empty() {
        report.streams = Some(runtime.block_on(online::connect(&config))?);
    }
    let are_up = report.streams.iter().flatten().all(|row| row.ok);
    report.ok = report.problems.is_empty() && are_up;
    let exit = exit_of(&report, args.json);
    match args.json {
        true => print_json(&report)?,
        // What is wrong is told by whoever ends the program.
        false if report.problems.is_empty() => {
            print!("{}", picture::text(&config, &plugins, &report))
        }
        false => {}
    }
    exit
}

fn exit_of(report: &Report, as_json: bool) -> Result<(), Exit> {
    let is_wrong = |kind| report.problems.iter().any(|problem| problem.kind == kind);
    let code = match report {
        _ if is_wrong(Kind::Configuration) => 2,
        _ if is_wrong(Kind::Environment) => 3,
        Report { ok: false, .. } => 1,
        _ => return Ok(()),
    };
    let mut lines: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let down = report.streams.iter().flatten().filter(|row| !row.ok).count();
    if down > 0 {
        lines.push(format!("{} could not be connected", screen::counted(down, "stream")));
    }
    Err(Exit { code, message: if as_json { String::new() } else { lines.join("\n") } })
}

/// A configuration of which there is nothing else to be told, as JSON.
fn unreadable(args: &CheckArgs, error: ConfigError) -> Exit {
    let kind = Kind::Configuration;
    let problems = match error {
        ConfigError::Invalid(problems) => {
            let of = |p: crate::config::Problem| Problem {
                kind,
                place: p.key,
                what: p.what,
                hint: p.hint,
            };
            problems.into_iter().map(of).collect()
        }
        error => vec![Problem::new(kind, "", error.to_string(), "")],
    };
    let file = args.config.config.display().to_string();
    let report = Report { file, problems, ..Report::default() };
    match print_json(&report) {
        Ok(()) => Exit { code: 2, message: String::new() },
        Err(exit) => exit,
    }
}

fn print_json(report: &Report) -> Result<(), Exit> {
    println!("{}", serde_json::to_string_pretty(report).map_err(Exit::run_time)?);
    Ok(())
}

fn problems(config: &Config, plugins: &Plugins) -> Vec<Problem> {
    let mut wrong = Vec::new();
    let mut problem = |place: String, what: String, hint: &str| {
        wrong.push(Problem::new(Kind::Configuration, place, what, hint));
    };
    for (name, entry) in &plugins.entries {
        if let Some(error) = &entry.error {
            problem(format!("plugin {name:?}"), error.clone(), "");
        }
    }
    for file in orphans(config, plugins) {
        let hint = "a plugin and what it is given have the same name";
        problem(
            file.clone(),
            format!("there is no {file}.wasm beside it").replace(".toml.wasm", ".wasm"),
            hint,
        );
    }
    for source in &config.sources {
        if let Some(what) = check_source(source) {
            problem(format!("source.{}", source.name), what, "");
        }
    }
    for sink in &config.sinks {
        if let Some(what) = check_sink(sink) {
            problem(format!("sink.{}", sink.name), what, "");
        }
    }
    for pipeline in &config.pipelines {
        let is_built_in = pipeline.from.iter().any(|source| source == BUILT_IN_SOURCE);
        for name in pipeline.through.iter().flatten() {
            if let Some((what, hint)) = check_name(plugins, name, is_built_in) {
                problem(format!("pipeline.{}.through", pipeline.name), what, &hint);
            }
        }
    }
    wrong
}

/// Files `NAME.toml` of the plugin directory that belong to no plugin.
fn orphans(config: &Config, plugins: &Plugins) -> Vec<String> {
    let entries = std::fs::read_dir(&config.plugin_dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_orphan = |file: &String| {
        let name = file.strip_suffix(".toml").filter(|name| !name.starts_with('.'));
        name.is_some_and(|name| !plugins.entries.contains_key(name))
    };
    let mut orphans: Vec<String> = names.filter(is_orphan).collect();
    orphans.sort();
    orphans
}

fn check_source(source: &SourceConfig) -> Option<String> {
    match &source.kind {
        SourceKind::Central(central) => {
            let tls = crate::tls::client_config(central.ca_file.as_deref());
            tls.err().map(|error| error.to_string())
        }
        SourceKind::Replay { path, .. } => {
            let opened = std::fs::File::open(path);
            opened.err().map(|error| format!("cannot read {}: {error}", path.display()))
        }
    }
}

fn check_sink(sink: &SinkConfig) -> Option<String> {
    let SinkKind::Http(http) = &sink.kind else { return None };
    let tls = crate::tls::client_config(Some(http.ca_file.as_deref()?));
    tls.err().map(|error| error.to_string())
}

fn check_name(plugins: &Plugins, name: &str, is_built_in: bool) -> Option<(String, String)> {
    let Some(entry) = plugins.entries.get(name) else {
        let known: Vec<&str> = plugins.entries.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Some((format!("there is no plugin {name:?}"), format!("there is: {known}")));
    };
    let role = entry.serving.as_ref().map(|factory| factory.info().role);
    (is_built_in && role == Some(Role::Alert)).then(|| {
        let what = format!("{name:?} is an alert plugin");
        (what, format!("{BUILT_IN_SOURCE:?} is where alerts come from"))
    })
}

fn warnings(config: &Config) -> Vec<String> {
    let taken =
        |name: &str| config.pipelines.iter().any(|p| p.from.iter().any(|from| from == name));
    let used = |name: &str| config.pipelines.iter().any(|p| p.to.iter().any(|to| to == name));
    let mut warnings = Vec::new();
    for SourceConfig { name, kind } in &config.sources {
        if !taken(name) {
            warnings.push(format!("source.{name}: no pipeline takes from it; it is not connected"));
        }
        if let SourceKind::Central(central) = kind
            && let Access::File(path) = &central.access
            && let Err(error) = std::fs::File::open(path)
        {
            let file = path.display();
            warnings.push(format!("source.{name}: cannot read {file}: {error}; it waits for it"));
        }
    }
    let unused = config.sinks.iter().filter(|sink| !used(&sink.name));
    warnings.extend(unused.map(|s| format!("sink.{}: no pipeline writes to it", s.name)));
    warnings
}
