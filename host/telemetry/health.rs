//! Whether the host is alive, and whether it is ready: pure looks at what is shown. Key functions:
//! [`alive`], [`ready`].

use std::sync::PoisonError;

use super::View;
use crate::sink::Trouble;

/// Alive: nothing has happened that the host cannot go on after. What is wrong otherwise, a line
/// each.
///
/// # Errors
/// Threads that have died, a fatal error.
pub(super) fn alive(view: &View) -> Result<(), String> {
    // In this order: a fatal error is told before the threads that end of it are seen to have ended.
    let dead = threads_that_died(view);
    let wrong = match view.fatal.get() {
        Some(why) => format!("{why}\n"),
        None => dead,
    };
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// A line for each thread that has ended while nobody is stopping the host.
fn threads_that_died(view: &View) -> String {
    let mut dead = String::new();
    if view.ending.is_cancelled() {
        return dead;
    }
    let pipelines = view.pipelines.now();
    let stays = pipelines.iter().filter(|pipeline| !pipeline.is_leaving);
    for pipeline in stays.filter(|pipeline| pipeline.ended.is_cancelled()) {
        dead.push_str(&format!("pipeline {:?} has ended by itself\n", pipeline.name));
    }
    if view.plugins.has_changed().is_err() {
        dead.push_str("the thread that loads plugins has ended by itself\n");
    }
    dead
}

/// Ready: alive, no pipeline is held or waits for a sink that fails, what is received can be made durable,
/// every stream is up, and the host is not about to end.
///
/// # Errors
/// What is missing, a line each.
pub(super) fn ready(view: &View) -> Result<(), String> {
    let mut missing = alive(view).err().unwrap_or_default();
    if view.ending.is_cancelled() {
        missing.push_str("the host is about to end\n");
    }
    for pipeline in view.pipelines.now().iter().filter(|pipeline| !pipeline.is_leaving) {
        let held = pipeline.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = held.as_ref() {
            missing.push_str(&format!("pipeline {:?} is held: {why}\n", pipeline.name));
        }
    }
    for sink in view.sinks.now().iter() {
        if let Some(Trouble { pipeline, detail }) = sink.trouble.now() {
            // A hint may be behind it.
            let why = detail.replace('\n', "; ");
            let name = &sink.name;
            missing.push_str(&format!("pipeline {pipeline:?} waits for sink {name:?}: {why}\n"));
        }
    }
    if let Some(durable) = &view.durable {
        for trouble in durable.troubles() {
            missing.push_str(&format!("{}\n", trouble.replace('\n', "; ")));
        }
    }
    for (_, trouble) in files(view) {
        if let Some(trouble) = trouble {
            missing.push_str(&format!("{}\n", trouble.replace('\n', "; ")));
        }
    }
    let streams = view.streams.now();
    let statuses = streams.iter().map(|status| status.get());
    for status in statuses.filter(|status| !status.state.is_up()) {
        let (source, stream, state) = (&status.source, &status.stream, status.state.name());
        missing.push_str(&format!("stream {source}/{stream} is {state}: {}\n", status.detail));
    }
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// What is written besides journal, store and sinks, and why it cannot be at the moment.
pub(super) fn files(view: &View) -> [(&'static str, Option<String>); 2] {
    [("dead-letters.jsonl", view.dead_letters.trouble()), ("alerts.jsonl", view.alerts.trouble())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::SharedTrouble;
    use crate::source::{SharedStatus, State};
    use crate::telemetry::SinkView;
    use crate::telemetry::tests::view;

    #[test]
    fn alive_until_something_dies_by_itself() {
        let (view, plugins) = view();
        assert_eq!(alive(&view), Ok(()));
        view.pipelines.now()[0].ended.cancel();
        drop(plugins);
        let wrong = alive(&view).unwrap_err();
        assert!(wrong.contains("pipeline \"main\" has ended by itself\n"), "{wrong}");
        assert!(wrong.contains("loads plugins has ended"), "{wrong}");
        view.ending.cancel();
        assert_eq!(alive(&view), Ok(()), "stopping in order is no illness");
    }

    #[test]
    fn a_fatal_error_is_told_without_the_threads_that_end_of_it() {
        let (view, _plugins) = view();
        view.fatal.set("sink.screen: closed".to_owned()).unwrap();
        view.pipelines.now()[0].ended.cancel();
        assert_eq!(alive(&view), Err("sink.screen: closed\n".to_owned()));
    }

    #[test]
    fn ready_when_nothing_is_missing() {
        let (view, _plugins) = view();
        assert_eq!(ready(&view), Ok(()));
        let stream = SharedStatus::new("hq", "wids");
        view.streams.set([stream.clone()]);
        *view.pipelines.now()[0].held.lock().unwrap() =
            Some("plugin \"x\" is not there".to_owned());
        stream.enter(State::Failing, "HTTP 403", "");
        let missing = ready(&view).unwrap_err();
        assert_eq!(
            missing,
            "pipeline \"main\" is held: plugin \"x\" is not there\n\
             stream hq/wids is failing: HTTP 403\n"
        );
        *view.pipelines.now()[0].held.lock().unwrap() = None;
        stream.enter(State::Renewing, "", "");
        assert_eq!(ready(&view), Ok(()));
        let trouble = SharedTrouble::default();
        let (pipeline, detail) = ("main".to_owned(), "HTTP 401\nhint: the token".to_owned());
        trouble.set(Some(Trouble { pipeline, detail }));
        view.sinks.set([SinkView { name: "siem".into(), meter: Default::default(), trouble }]);
        let missing = "pipeline \"main\" waits for sink \"siem\": HTTP 401; hint: the token\n";
        assert_eq!(ready(&view), Err(missing.to_owned()));
        view.sinks.now()[0].trouble.set(None);
        assert_eq!(ready(&view), Ok(()));
        view.ending.cancel();
        assert_eq!(ready(&view), Err("the host is about to end\n".to_owned()));
    }
}
