//! From what was written to what the host builds from: every rule of the configuration, and an error
//! for each that is broken, all in one go. Key function: [`config`].

mod access;
mod central;
mod journal;
mod sinks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use serde::de::DeserializeOwned;
use url::Url;

pub(super) use access::PROXY_HINT;

use super::raw::{self, Raw};
use super::{
    BUILT_IN_SOURCE, Begin, Config, ConfigError, PipelineConfig, Problem, SourceConfig, SourceKind,
    secret,
};

/// Checks a configuration. `path` is that of the file, absolute; `shown` as the user named it.
pub(super) fn config(figment: &Figment, shown: &Path, path: &Path) -> Result<Config, ConfigError> {
    let mut check = Check {
        figment,
        file: shown.display().to_string(),
        dir: path.parent().unwrap_or(Path::new("/")).to_owned(),
        problems: Vec::new(),
    };
    let Some(raw) = check.extract::<Raw>("") else {
        return Err(ConfigError::Invalid(check.problems));
    };
    let config = Config {
        file: path.to_owned(),
        data_dir: check.dir.join(&raw.data_dir),
        plugin_dir: check.dir.join(&raw.plugin_dir),
        listen: check.listen(&raw.listen),
        journal: check.journal(raw.journal.as_ref()),
        sources: check.sources(&raw.source),
        sinks: check.sinks(&raw.sink),
        pipelines: check.pipelines(&raw),
    };
    if check.problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(check.problems)) }
}

/// Problems of reading, as figment tells them.
pub(super) fn problems_of(error: figment::Error, file: &str, within: &str) -> Vec<Problem> {
    error.into_iter().map(|error| problem_of(&error, file, within)).collect()
}

fn problem_of(error: &figment::Error, file: &str, within: &str) -> Problem {
    use figment::error::Kind;
    let mut path: Vec<&str> = error.path.iter().map(String::as_str).collect();
    let prefix: Vec<&str> = within.split('.').filter(|part| !part.is_empty()).collect();
    // Where a part of the tree is read, it hangs what leads there on the end.
    if !prefix.is_empty() && path.ends_with(&prefix) {
        path.truncate(path.len() - prefix.len());
    }
    if !path.starts_with(&prefix) {
        // Of a part that is read alone, figment puts the way to it behind.
        if path.ends_with(&prefix) {
            path.truncate(path.len() - prefix.len());
        }
        path.splice(0..0, prefix);
    }
    let mut hint = String::new();
    let mut what = error.kind.to_string();
    match &error.kind {
        Kind::UnknownField(field, known) => {
            // It names the field with all that leads to it where that is known, and bare elsewhere.
            let bare = field.rsplit('.').next().unwrap_or(field);
            if path.last() != Some(&bare) {
                path.push(bare);
            }
            what = "unknown key".to_owned();
            hint = nearest(bare, known).map_or_else(
                || format!("known here: {}", known.join(", ")),
                |k| format!("did you mean {k:?}?"),
            );
        }
        Kind::MissingField(field) => {
            path.push(field);
            what = "is missing".to_owned();
        }
        Kind::Message(message) if path.is_empty() => what = message.trim().to_owned(),
        _ => {}
    }
    let source = error.metadata.as_ref().map_or_else(|| file.to_owned(), |m| m.name.to_string());
    Problem { file: source, key: path.join("."), what, hint }
}

/// The known word that a mistyped one is likely to mean.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|k| (distance(word, k), *k));
    scored.min_by_key(|(score, _)| *score).filter(|(score, _)| *score <= 2).map(|(_, known)| known)
}

/// Edits from one word to another (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

struct Check<'a> {
    figment: &'a Figment,
    file: String,
    dir: PathBuf,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let file = self.said_in(key);
        self.problems.push(Problem {
            file,
            key: key.to_owned(),
            what: what.into(),
            hint: hint.into(),
        });
    }

    /// Where the value of a key stands: the file, a variable, a flag. What is not there would be in the file.
    fn said_in(&self, key: &str) -> String {
        let value = self.figment.find_value(key).ok();
        let value = value.filter(|value| value.as_dict().is_none());
        let said = value.and_then(|value| self.figment.get_metadata(value.tag()));
        said.map_or_else(|| self.file.clone(), |said| said.name.to_string())
    }

    fn extract<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let extracted =
            if key.is_empty() { self.figment.extract() } else { self.figment.extract_inner(key) };
        match extracted {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.extend(problems_of(error, &self.file, key));
                None
            }
        }
    }

    fn listen(&mut self, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.problem(
                "listen",
                format!("{text:?} is not an address"),
                "for example 127.0.0.1:9464",
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn name(&mut self, table: &str, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(allowed) {
            let key = format!("{table}.{name}");
            self.problem(&key, "a name takes letters, digits, - and _ only", "");
        }
    }

    fn sources(&mut self, raw: &BTreeMap<String, raw::Kind>) -> Vec<SourceConfig> {
        let mut sources = Vec::new();
        for (name, kind) in raw {
            self.name("source", name);
            let key = format!("source.{name}");
            if name == BUILT_IN_SOURCE {
                self.problem(&key, "is the name of the built-in source", "choose another name");
                continue;
            }
            let kind = match kind.kind.as_str() {
                "central" => {
                    let raw = self.extract::<raw::Central>(&key);
                    raw.and_then(|raw| self.central(&key, &raw))
                        .map(|central| SourceKind::Central(Box::new(central)))
                }
                "replay" => self.extract::<raw::Replay>(&key).map(|raw| SourceKind::Replay {
                    path: self.dir.join(raw.path),
                    stream: raw.stream,
                }),
                other => {
                    let what = format!("{other:?} is not a kind of source");
                    self.problem(&format!("{key}.kind"), what, "known: central, replay");
                    None
                }
            };
            sources.extend(kind.map(|kind| SourceConfig { name: name.clone(), kind }));
        }
        sources
    }

    fn unit<T>(&mut self, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|what| self.problem(key, what, "")).ok()
    }

    fn https_url(&mut self, key: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) if url.scheme() == "https" && url.has_host() => Some(url),
            _ => {
                let what = format!("{text:?} is not an https URL");
                self.problem(
                    key,
                    what,
                    "for example https://host:8443; plain http is not supported",
                );
                None
            }
        }
    }

    fn secret(
        &mut self,
        key: &str,
        raw: &raw::Secret,
        may_be_plain: bool,
    ) -> Option<secrecy::SecretString> {
        match secret::resolve(raw, &self.dir, may_be_plain) {
            Ok(secret) => Some(secret),
            Err((what, hint)) => {
                self.problem(key, what, hint);
                None
            }
        }
    }

    fn pipelines(&mut self, raw: &Raw) -> Vec<PipelineConfig> {
        if raw.pipeline.is_empty() {
            let hint = "for example [pipeline.main] from = [\"hq\"], to = [\"archive\"]";
            self.problem("pipeline", "there is none, so nothing would be done", hint);
        }
        let sources: Vec<&str> =
            raw.source.keys().map(String::as_str).chain([BUILT_IN_SOURCE]).collect();
        let sinks: Vec<&str> = raw.sink.keys().map(String::as_str).collect();
        let mut pipelines = Vec::new();
        for (name, pipeline) in &raw.pipeline {
            self.name("pipeline", name);
            let key = format!("pipeline.{name}");
            if pipeline.from.is_empty() {
                self.problem(&format!("{key}.from"), "names no source", "");
            }
            self.known(&format!("{key}.from"), "source", &pipeline.from, &sources);
            self.known(&format!("{key}.to"), "sink", &pipeline.to, &sinks);
            self.distinct(&format!("{key}.from"), &pipeline.from);
            self.distinct(&format!("{key}.to"), &pipeline.to);
            if let Some(through) = &pipeline.through {
                self.distinct(&format!("{key}.through"), through);
            }
            let begin = self.begin(&format!("{key}.begin"), pipeline.begin.as_deref());
            pipelines.push(PipelineConfig {
                begin,
                name: name.clone(),
                from: pipeline.from.clone(),
                through: pipeline.through.clone(),
                to: pipeline.to.clone(),
            });
        }
        pipelines
    }

    fn begin(&mut self, key: &str, text: Option<&str>) -> Begin {
        match text {
            None | Some("now") => Begin::Now,
            Some("oldest") => Begin::Oldest,
            Some(other) => {
                self.problem(key, format!("{other:?} is not known"), "known: now, oldest");
                Begin::Now
            }
        }
    }

    fn known(&mut self, key: &str, what: &str, names: &[String], known: &[&str]) {
        for name in names {
            if known.contains(&name.as_str()) {
                continue;
            }
            let hint = nearest(name, known).map_or_else(
                || {
                    format!(
                        "there is: {}",
                        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                    )
                },
                |nearest| format!("did you mean {nearest:?}?"),
            );
            self.problem(key, format!("there is no {what} {name:?}"), hint);
        }
    }

    fn distinct(&mut self, key: &str, names: &[String]) {
        for (number, name) in names.iter().enumerate() {
            if names[..number].contains(name) {
                self.problem(key, format!("{name:?} stands here twice"), "");
            }
        }
    }
}
