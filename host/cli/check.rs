//! `trommel check`: everything that can be known to be wrong before it runs.

use super::{ConfigArgs, Exit, plugin, runtime};
use crate::config::{BUILT_IN_SOURCE, Config, SourceConfig, SourceKind};
use crate::runner::{Plugins, Role};
use crate::telemetry;

pub(super) fn run(args: &ConfigArgs) -> Result<(), Exit> {
    let config = args.load()?;
    telemetry::log::start(&crate::config::log_filter());
    let runtime = runtime()?;
    let plugins = plugin::load_files(&config, &runtime)?;
    let mut wrong = Vec::new();
    for (name, entry) in &plugins.entries {
        if let Some(error) = &entry.error {
            wrong.push(format!("plugin {name:?} {error}"));
        }
    }
    for source in &config.sources {
        wrong.extend(check_source(source).map(|what| format!("source.{}: {what}", source.name)));
    }
    for pipeline in &config.pipelines {
        let key = format!("pipeline.{}.through", pipeline.name);
        let is_built_in = pipeline.from.iter().any(|source| source == BUILT_IN_SOURCE);
        for name in pipeline.through.iter().flatten() {
            wrong.extend(
                check_name(&plugins, name, is_built_in).map(|what| format!("{key}: {what}")),
            );
        }
    }
    if !wrong.is_empty() {
        return Err(Exit::usage(wrong.join("\n")));
    }
    summary(&config, &plugins);
    Ok(())
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

fn check_name(plugins: &Plugins, name: &str, is_built_in: bool) -> Option<String> {
    let Some(entry) = plugins.entries.get(name) else {
        let known: Vec<&str> = plugins.entries.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Some(format!("there is no plugin {name:?}\nhint: there is: {known}"));
    };
    let role = entry.serving.as_ref().map(|factory| factory.info().role);
    (is_built_in && role == Some(Role::Alert)).then(|| {
        format!("{name:?} is an alert plugin, and {BUILT_IN_SOURCE:?} is where alerts come from")
    })
}

fn summary(config: &Config, plugins: &Plugins) {
    let streams_of = |source: &SourceConfig| match &source.kind {
        SourceKind::Central(central) => central.streams.len(),
        SourceKind::Replay { .. } => 1,
    };
    let streams: usize = config.sources.iter().map(streams_of).sum();
    println!(
        "{}: ok: {} sources with {streams} streams, {} plugins, {} pipelines, {} sinks",
        config.file.display(),
        config.sources.len(),
        plugins.entries.len(),
        config.pipelines.len(),
        config.sinks.len()
    );
}
