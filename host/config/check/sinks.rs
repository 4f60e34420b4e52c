//! The rules for sinks. Key function: `Check::sinks`.

use std::collections::BTreeMap;

use super::Check;
use crate::config::{SinkConfig, SinkKind, raw};

impl Check<'_> {
    pub(super) fn sinks(&mut self, raw: &BTreeMap<String, raw::Kind>) -> Vec<SinkConfig> {
        let mut sinks: Vec<SinkConfig> = Vec::new();
        for (name, kind) in raw {
            self.name("sink", name);
            let key = format!("sink.{name}");
            let kind = match kind.kind.as_str() {
                "stdout" => self.extract::<raw::PlainSink>(&key).map(|_| SinkKind::Stdout),
                "null" => self.extract::<raw::PlainSink>(&key).map(|_| SinkKind::Null),
                "file" => self
                    .extract::<raw::FileSink>(&key)
                    .map(|file| SinkKind::File { path: self.dir.join(file.path) }),
                other => {
                    let what = format!("{other:?} is not a kind of sink");
                    self.problem(&format!("{key}.kind"), what, "known: stdout, file, null");
                    None
                }
            };
            let Some(kind) = kind else { continue };
            if let Some(twin) = sinks.iter().find(|s| s.kind == kind && kind != SinkKind::Null) {
                let what = format!("writes to the same place as sink.{}", twin.name);
                self.problem(&key, what, "several pipelines may name one sink");
            }
            sinks.push(SinkConfig { name: name.clone(), kind });
        }
        sinks
    }
}
