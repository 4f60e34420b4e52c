//! Which dead letters are meant. Pure. Key type: [`Select`].

use serde::{Deserialize, Serialize};

use super::letters::Stored;
use super::records::{LetterId, Stage};
use crate::runner::Reason;

/// Which dead letters are meant: those that fit all that is said; of each list one must fit. Nothing
/// said means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Select {
    /// These alone.
    pub ids: Vec<LetterId>,
    /// Of these pipelines.
    pub pipelines: Vec<String>,
    /// For these reasons.
    pub reasons: Vec<Reason>,
    /// On which these plugins failed.
    pub plugins: Vec<String>,
    /// That these sinks refused.
    pub sinks: Vec<String>,
    /// From these sources.
    pub sources: Vec<String>,
    /// From these streams.
    pub streams: Vec<String>,
    /// Not before this time, in microseconds since 1970.
    pub since: Option<u64>,
    /// Before this time.
    pub until: Option<u64>,
}

impl Select {
    /// Whether nothing is said.
    pub fn is_all(&self) -> bool {
        *self == Select::default()
    }

    /// Whether a dead letter is meant, if it is one of those that are named.
    pub(super) fn fits(&self, stored: &Stored) -> bool {
        let letter = &stored.letter;
        let (plugin, sink) = match &letter.stage {
            Stage::Decode => (None, None),
            Stage::Plugin(name) => (Some(name), None),
            Stage::Sink(name) => (None, Some(name)),
        };
        any(&self.pipelines, Some(&stored.pipeline))
            && any(&self.reasons, Some(&letter.reason))
            && any(&self.plugins, plugin)
            && any(&self.sinks, sink)
            && any(&self.sources, Some(&letter.source))
            && any(&self.streams, Some(&letter.stream))
            && self.since.is_none_or(|since| letter.time >= since)
            && self.until.is_none_or(|until| letter.time < until)
    }
}

fn any<T: PartialEq>(wanted: &[T], value: Option<&T>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Kind;
    use crate::store::Letter;

    fn stored() -> Stored {
        let letter = Letter {
            time: 1_000,
            reason: Reason::Fault,
            detail: String::new(),
            stage: Stage::Plugin("10-f".to_owned()),
            version: String::new(),
            went_on: false,
            source: "hq".to_owned(),
            stream: "ap-events".to_owned(),
            event: None,
            raw: None,
            kind: Kind::Binary,
        };
        Stored { id: LetterId { record: 8, place: 1 }, pipeline: "main".to_owned(), letter }
    }

    #[test]
    fn all_that_is_said_must_fit() {
        let texts = |name: &str| vec!["x".to_owned(), name.to_owned()];
        let fitting = Select {
            pipelines: texts("main"),
            reasons: vec![Reason::Trap, Reason::Fault],
            plugins: texts("10-f"),
            sources: texts("hq"),
            streams: texts("ap-events"),
            since: Some(1_000),
            until: Some(1_001),
            ..Select::default()
        };
        assert!(fitting.fits(&stored()) && Select::default().fits(&stored()));
        let wrong: [fn(&mut Select); 7] = [
            |select| select.pipelines.truncate(1),
            |select| select.reasons.truncate(1),
            |select| select.plugins.truncate(1),
            |select| select.sinks.push("10-f".to_owned()),
            |select| select.streams.truncate(1),
            |select| select.since = Some(1_001),
            |select| select.until = Some(1_000),
        ];
        for change in wrong {
            let mut select = fitting.clone();
            change(&mut select);
            assert!(!select.fits(&stored()), "{select:?}");
        }
    }
}
