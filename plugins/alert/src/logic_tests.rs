//! Tests of the rules against events and time, with the SDK's stand-in for `state`. Times are in
//! seconds here.

use serde_json::{Value, json};
use trommel_plugin::testing::state_entries;

use super::*;

const SECOND: u64 = 1_000_000;
const START: u64 = 1_800_000_000;

fn watch(rules: Value) -> Watch {
    Watch::new(serde_json::from_value(json!({ "rules": rules })).unwrap()).unwrap()
}

fn complaint(rules: Value) -> String {
    Watch::new(serde_json::from_value(json!({ "rules": rules })).unwrap()).unwrap_err()
}

fn aps_down() -> Watch {
    watch(json!([{
        "name": "ap-down", "type": "ap.*", "pointer": "/status", "equals": "Down",
        "group": "/site", "count": 3, "distinct": "/serial", "window": "60s",
        "severity": "critical",
        "summary": "{count} APs down at {group} within {window}",
    }]))
}

fn down(site: &str, serial: &str) -> String {
    json!({"status": "Down", "site": site, "serial": serial}).to_string()
}

/// What is told when an event of this time comes while the clock says the same, as `+key` and
/// `-key`.
fn see(watch: &Watch, time: u64, data: &str) -> Vec<String> {
    see_late(watch, time, time, data)
}

fn see_late(watch: &Watch, time: u64, now: u64, data: &str) -> Vec<String> {
    let mut signals = Signals::new();
    watch.see(
        "ap.status",
        data,
        Some((START + time) * SECOND),
        || (START + now) * SECOND,
        &mut signals,
    );
    told(signals)
}

fn wait(watch: &Watch, now: u64) -> Vec<String> {
    let mut signals = Signals::new();
    watch.wait((START + now) * SECOND, &mut signals);
    told(signals)
}

fn told(signals: Signals) -> Vec<String> {
    let edge = |signal: &Signal| if signal.summary.is_empty() { "-" } else { "+" };
    signals.into_vec().iter().map(|signal| format!("{}{}", edge(signal), signal.key)).collect()
}

#[test]
fn raises_once_when_enough_distinct_ones_come_at_one_site() {
    let watch = aps_down();
    for (time, site, serial) in
        [(0, "n", "1"), (1, "n", "1"), (2, "n", "2"), (3, "s", "3"), (4, "s", "4")]
    {
        assert!(see(&watch, time, &down(site, serial)).is_empty());
    }
    assert_eq!(see(&watch, 5, &down("n", "3")), ["+ap-down/n"]);
    assert!(see(&watch, 6, &down("n", "4")).is_empty());
    assert_eq!(see(&watch, 7, &down("s", "5")), ["+ap-down/s"]);
    assert!(see(&watch, 8, r#"{"status":"Up","site":"n"}"#).is_empty());
}

#[test]
fn the_signal_says_what_happened() {
    let watch = aps_down();
    let mut signals = Signals::new();
    for serial in ["1", "2", "3"] {
        watch.see("ap.x", &down("no/rth", serial), Some(START * SECOND), || 0, &mut signals);
    }
    let signal = signals.into_vec().remove(0);
    assert_eq!(signal.key, "ap-down/no%2Frth");
    assert_eq!(signal.summary, "3 APs down at no/rth within 1m");
    let label = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(signal.labels, [label("rule", "ap-down"), label("site", "no/rth")]);
    let details: Value = serde_json::from_str(&signal.details).unwrap();
    assert_eq!((&details["count"], &details["values"]), (&json!(3), &json!(["1", "2", "3"])));
}

#[test]
fn silence_clears_by_the_clock() {
    let watch = aps_down();
    for (time, serial) in [(0, "1"), (10, "2"), (20, "3")] {
        see(&watch, time, &down("n", serial));
    }
    assert!(wait(&watch, 60).is_empty());
    assert_eq!(wait(&watch, 61), ["-ap-down/n"]);
    assert!(wait(&watch, 62).is_empty());
    assert!(!state_entries().is_empty(), "the newest match is still in the window");
    wait(&watch, 81);
    assert!(state_entries().is_empty(), "{:?}", state_entries());
}

#[test]
fn events_that_come_late_are_not_cleared_early() {
    let watch = aps_down();
    let late = 600;
    for (time, serial) in [(0, "1"), (1, "2")] {
        see_late(&watch, time, time + late, &down("n", serial));
    }
    assert_eq!(see_late(&watch, 2, 2 + late, &down("n", "3")), ["+ap-down/n"]);
    assert!(wait(&watch, 60 + late).is_empty());
    assert_eq!(wait(&watch, 61 + late), ["-ap-down/n"]);
}

#[test]
fn the_next_event_clears_too_and_may_raise_again() {
    let watch = watch(json!([{"name": "r", "type": "*", "count": 1, "window": "10s"}]));
    assert_eq!(see(&watch, 0, ""), ["+r"]);
    assert!(see(&watch, 10, "").is_empty());
    assert_eq!(see(&watch, 40, ""), ["-r", "+r"]);
}

#[test]
fn clear_after_waits() {
    let watch = watch(json!([{"name": "r", "type": "*", "window": "10s", "clear_after": "5m"}]));
    assert_eq!(see(&watch, 0, ""), ["+r"]);
    assert!(wait(&watch, 310).is_empty());
    assert_eq!(wait(&watch, 311), ["-r"]);
}

#[test]
fn order_does_not_matter_within_the_window() {
    let watch = aps_down();
    assert!(see(&watch, 30, &down("n", "1")).is_empty());
    assert!(see(&watch, 5, &down("n", "2")).is_empty());
    assert_eq!(see(&watch, 10, &down("n", "3")), ["+ap-down/n"]);
}

#[test]
fn an_event_without_a_time_counts_as_of_now() {
    let watch = watch(json!([{"name": "r", "type": "*", "count": 2, "window": "10s"}]));
    let mut signals = Signals::new();
    watch.see("t", "", None, || START * SECOND, &mut signals);
    watch.see("t", "", Some((START + 1) * SECOND), || (START + 1) * SECOND, &mut signals);
    assert_eq!(told(signals), ["+r"]);
}

#[test]
fn a_rule_that_is_gone_leaves_nothing_behind() {
    let old = aps_down();
    for serial in ["1", "2", "3"] {
        see(&old, 0, &down("n", serial));
    }
    let new = watch(json!([{"name": "other", "type": "x"}]));
    assert_eq!(wait(&new, 1), ["-ap-down/n"]);
    assert!(state_entries().is_empty(), "{:?}", state_entries());
}

#[test]
fn many_groups_are_cleared_in_several_ticks() {
    let watch = watch(json!([{"name": "r", "type": "*", "group": "/g", "window": "10s"}]));
    for group in 0..600 {
        see(&watch, 0, &json!({ "g": group }).to_string());
    }
    let cleared: Vec<usize> = (11..14).map(|now| wait(&watch, now).len()).collect();
    assert_eq!(cleared, [256, 256, 88]);
    (0..9).for_each(|_| drop(wait(&watch, 100)));
    assert!(state_entries().is_empty(), "{:?}", state_entries());
}

#[test]
fn long_values_are_cut_but_told_apart() {
    let watch = watch(json!([{"name": "r", "type": "*", "group": ["/g", "/h"], "window": "10s"}]));
    let long = "é".repeat(5_000);
    let told = [format!("{long}a"), format!("{long}b")]
        .map(|g| see(&watch, 0, &json!({"g": g}).to_string()));
    assert_ne!(told[0], told[1]);
    assert!(state_entries().keys().all(|key| key.len() < 600));
}

#[test]
fn state_that_is_not_readable_is_forgotten() {
    let watch = watch(json!([{"name": "r", "type": "*", "window": "10s"}]));
    state::set("seen/r", "?");
    assert_eq!(see(&watch, 0, ""), ["+r"]);
    assert_eq!(trommel_plugin::testing::take_log().len(), 1);
}

#[test]
fn wants_what_the_rules_look_at() {
    let wants = aps_down().wants();
    assert_eq!(
        (wants.types, wants.fields),
        (vec!["ap.*".to_string()], Fields::TIMES | Fields::DATA)
    );
    let wants = watch(json!([{"name": "r", "type": "*"}, {"name": "s", "pointer": "/a"}])).wants();
    assert!(wants.types.is_empty());
    assert_eq!(watch(json!([{"name": "r", "type": "a"}])).wants().fields, Fields::TIMES);
}

#[test]
fn says_which_rule_and_what_is_wrong() {
    let cases = [
        (json!([{"name": "r"}]), "rule 1 \"r\": it has no condition"),
        (json!([{"type": "a"}]), "rule 1: missing field `name`"),
        (
            json!([{"name": "a/b", "type": "a"}]),
            "rule 1 \"a/b\": the name must not be empty or hold a /",
        ),
        (
            json!([{"name": "r", "type": "a", "count": 0}]),
            "rule 1 \"r\": \"count\" must be from 1 to 1000",
        ),
        (
            json!([{"name": "r", "type": "a", "window": "0s"}]),
            "rule 1 \"r\": \"window\" must be longer",
        ),
        (json!([{"name": "r", "type": "a", "window": 60}]), "rule 1 \"r\": invalid type"),
        (
            json!([{"name": "r", "type": "a", "window": "1w"}]),
            "rule 1 \"r\": \"1w\" is not a duration",
        ),
        (
            json!([{"name": "r", "type": "a", "group": "site"}]),
            "rule 1 \"r\": \"site\" is not a JSON pointer",
        ),
        (
            json!([{"name": "r", "type": "a", "severity": "bad"}]),
            "rule 1 \"r\": unknown variant `bad`",
        ),
        (
            json!([{"name": "r", "type": "a", "summary": "{x}"}]),
            "rule 1 \"r\": the summary has {x}",
        ),
        (
            json!([{"name": "r", "type": "a"}, {"name": "r", "type": "b"}]),
            "rule 2: another rule is named \"r\", too",
        ),
    ];
    for (rules, want) in cases {
        let complaint = complaint(rules);
        assert!(complaint.starts_with(want), "{complaint}");
    }
}
