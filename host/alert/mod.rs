//! Alerts: which are raised, and who is told. A signal that changes nothing tells nobody; one that
//! does is a line of `data_dir/alerts.jsonl` and an event of the source `trommel`. Key type:
//! [`Board`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::outcome::{Edge, Signal};
use crate::runner::Info;
use crate::store::Raised;

/// Most alerts that are remembered as raised, of all plugins together.
const MAX_RAISED: usize = 100_000;

/// The alerts that are raised now.
#[derive(Debug, Default)]
pub struct Board {
    raised: Mutex<BTreeMap<Key, Signal>>,
}

/// What makes two alerts the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pipeline: String,
    plugin: String,
    key: String,
}

/// An alert that is to be told, with its number in its pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Grows, across restarts too; 0 where nothing is kept across restarts.
    pub number: u64,
    /// The alert.
    pub alert: Alert,
}

/// What signals came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// What is to be told.
    pub news: Vec<Alert>,
    /// What is raised now, or no longer.
    pub changes: Vec<Raised>,
}

/// An alert that is newly raised or cleared: the data of its event.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// What it is about.
    pub subject: String,
    /// The event's data.
    pub data: serde_json::Value,
}

impl Board {
    /// Takes signals in order; gives back what is news, and what changed.
    pub fn take(&self, pipeline: &str, plugin: &Info, signals: Vec<Signal>) -> Taken {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Taken::default();
        let mut changed = |key: &str, signal| {
            let (plugin, key) = (plugin.name.clone(), key.to_owned());
            taken.changes.push(Raised { plugin, key, signal });
        };
        let mut news = Vec::new();
        for signal in signals {
            let key = Key {
                pipeline: pipeline.to_owned(),
                plugin: plugin.name.clone(),
                key: signal.key.clone(),
            };
            match signal.edge {
                Edge::Raise => {
                    let is_new = !raised.contains_key(&key);
                    if is_new && raised.len() >= MAX_RAISED {
                        tracing::error!(
                            pipeline,
                            plugin = plugin.name,
                            key = signal.key,
                            "{MAX_RAISED} alerts are raised; this one is told but not remembered"
                        );
                    } else {
                        let before = raised.insert(key, signal.clone());
                        if before.as_ref() != Some(&signal) {
                            changed(&signal.key, Some(signal.clone()));
                        }
                    }
                    if is_new {
                        news.push(alert(pipeline, plugin, &signal, &signal));
                    }
                }
                Edge::Clear => {
                    // What it was about is told again: a clear need not repeat it.
                    if let Some(was) = raised.remove(&key) {
                        changed(&signal.key, None);
                        news.push(alert(pipeline, plugin, &signal, &was));
                    }
                }
            }
        }
        taken.news = news;
        taken
    }

    /// Takes over alerts that were raised before a restart.
    pub fn restore(
        &self,
        pipeline: &str,
        alerts: impl IntoIterator<Item = ((String, String), Signal)>,
    ) {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        for ((plugin, key), signal) in alerts {
            raised.insert(Key { pipeline: pipeline.to_owned(), plugin, key }, signal);
        }
    }

    /// The alerts of a pipeline that are raised.
    pub fn raised(&self, pipeline: &str) -> Vec<Raised> {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = raised.iter().filter(|(key, _)| key.pipeline == pipeline);
        let entry = |(key, signal): (&Key, &Signal)| Raised {
            plugin: key.plugin.clone(),
            key: key.key.clone(),
            signal: Some(signal.clone()),
        };
        ours.map(entry).collect()
    }

    /// How many alerts are raised.
    pub fn len(&self) -> usize {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn alert(pipeline: &str, plugin: &Info, signal: &Signal, raised: &Signal) -> Alert {
    let edge = match signal.edge {
        Edge::Raise => "raise",
        Edge::Clear => "clear",
    };
    let own_or_raised =
        |own: &str, was: &str| if own.is_empty() { was.to_owned() } else { own.to_owned() };
    let labels = if signal.labels.is_empty() { &raised.labels } else { &signal.labels };
    let labels: serde_json::Map<_, _> =
        labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let details = own_or_raised(&signal.details, &raised.details);
    let data = json!({
        "edge": edge,
        "key": signal.key,
        "severity": raised.severity.name(),
        "summary": own_or_raised(&signal.summary, &raised.summary),
        "labels": labels,
        "details": serde_json::from_str::<serde_json::Value>(&details).unwrap_or_default(),
        "pipeline": pipeline,
        "plugin": plugin.name,
        "version": plugin.version,
    });
    Alert { subject: signal.key.clone(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Severity;
    use crate::runner::{Role, Wants};

    fn signal(key: &str, edge: Edge) -> Signal {
        Signal {
            key: key.to_owned(),
            edge,
            severity: Severity::Critical,
            labels: vec![],
            summary: "s".to_owned(),
            details: String::new(),
        }
    }

    #[test]
    fn only_news_is_told() {
        let plugin = Info {
            name: "p".into(),
            title: "p".into(),
            version: "1".into(),
            sha256: String::new(),
            role: Role::Alert,
            wants: Wants::default(),
            memory: Default::default(),
        };
        let board = Board::default();
        let told = |signals: &[(&str, Edge)]| -> Vec<String> {
            let signals = signals.iter().map(|(key, edge)| signal(key, *edge)).collect();
            let news = board.take("main", &plugin, signals).news;
            news.iter()
                .map(|a| format!("{} {}", a.subject, a.data["edge"].as_str().unwrap()))
                .collect()
        };
        assert_eq!(
            told(&[("a", Edge::Clear), ("a", Edge::Raise), ("a", Edge::Raise)]),
            ["a raise"]
        );
        assert_eq!(told(&[("a", Edge::Raise), ("b", Edge::Raise)]), ["b raise"]);
        assert_eq!(told(&[("a", Edge::Clear), ("a", Edge::Clear)]), ["a clear"]);
        assert_eq!(board.len(), 1);
    }
}
