//! Holds the rules against events and against time. All that is remembered lies in `state`, because
//! calls come on any instance: `seen/KEY` is the window of a group, and `up/KEY` marks that its
//! alert is raised, so that raised ones are found at once.

use trommel_plugin::alert::{Signal, Signals};
use trommel_plugin::json::push_string;
use trommel_plugin::pointer::Pointers;
use trommel_plugin::{Fields, Wants, log, state};

use crate::rule::{Config, Rule};
use crate::summary::Words;
use crate::window::Window;

/// How many entries a tick looks at, so that its time is bounded; the next goes on from there.
const PER_TICK: u32 = 256;

/// The rules, ready for use.
#[derive(Debug)]
pub struct Watch {
    rules: Vec<Rule>,
    /// Where the rules' conditions look, in their order: a payload is read once for all of them.
    pointers: Pointers,
}

impl Watch {
    /// Reads the rules.
    pub fn new(config: Config) -> Result<Self, String> {
        let rules: Vec<Rule> =
            config.rules.into_iter().enumerate().map(Rule::read).collect::<Result<_, _>>()?;
        for (place, rule) in rules.iter().enumerate() {
            if rules[..place].iter().any(|before| before.name == rule.name) {
                return Err(format!(
                    "rule {}: another rule is named \"{}\", too",
                    place + 1,
                    rule.name
                ));
            }
        }
        let pointers = Pointers::new(rules.iter().filter_map(|rule| rule.condition.pointer()));
        Ok(Self { rules, pointers })
    }

    /// Times, and the payload if a rule looks into it.
    pub fn wants(&self) -> Wants {
        if self.rules.is_empty() {
            return Wants::all(Fields::empty());
        }
        let data =
            if self.rules.iter().any(Rule::needs_data) { Fields::DATA } else { Fields::empty() };
        let types: Option<Vec<&str>> = self.rules.iter().map(|rule| rule.condition.ty()).collect();
        Wants::of_types(types.unwrap_or_default(), Fields::TIMES | data)
    }

    /// Looks at one event. One without a time counts as of now. The host is asked what time it is only
    /// where that matters.
    pub fn see(
        &self,
        ty: &str,
        data: &str,
        time: Option<u64>,
        now: impl Fn() -> u64,
        signals: &mut Signals,
    ) {
        let values = self.pointers.values(data);
        let mut numbers = 0..;
        for rule in &self.rules {
            let number = rule.condition.pointer().and_then(|_| numbers.next());
            let value = number.and_then(|number| values.get(number));
            if !rule.condition.type_matches(ty) || !rule.condition.value_matches(value) {
                continue;
            }
            let now = now();
            let group = rule.group(data);
            let key = rule.key(&group);
            let mut window = load(&key).unwrap_or_default();
            let time = time.unwrap_or(now);
            if window.up && window.is_over(window.moment_with(time), rule.threshold) {
                clear(&key, &mut window, signals);
            }
            window.add(time, rule.value(data).as_deref(), now, rule.threshold);
            if !window.up && window.is_full(rule.threshold) {
                window.up = true;
                state::set(&format!("up/{key}"), "");
                signals.raise(signal(rule, &key, &group, &window, data));
            }
            save(&key, &window);
        }
    }

    /// Lets time pass: clears what has drained, and forgets what cannot matter any more.
    pub fn wait(&self, now: u64, signals: &mut Signals) {
        for (mark, _) in page("up/") {
            let key = &mark["up/".len()..];
            let mut window = load(key).unwrap_or_default();
            // The rule is gone if a new configuration has it no more.
            let rule = self.rule(key);
            if rule.is_none_or(|rule| window.is_over(window.moment(now), rule.threshold)) {
                clear(key, &mut window, signals);
                save(key, &window);
            }
        }
        for (entry, text) in page("seen/") {
            let window = read(&entry, &text);
            let rule = self.rule(&entry["seen/".len()..]);
            let matters = |window: &Window| {
                window.up
                    || rule.is_some_and(|rule| !window.is_stale(window.moment(now), rule.threshold))
            };
            if !window.as_ref().is_some_and(matters) {
                state::remove(&entry);
            }
        }
    }

    fn rule(&self, key: &str) -> Option<&Rule> {
        let name = key.split_once('/').map_or(key, |(name, _)| name);
        self.rules.iter().find(|rule| rule.name == name)
    }
}

fn signal(rule: &Rule, key: &str, group: &[String], window: &Window, data: &str) -> Signal {
    let words = Words {
        count: rule.threshold.count,
        group: &group.join(", "),
        rule: &rule.name,
        window: &rule.window,
    };
    let signal = Signal::new(key, rule.severity, rule.summary.write(words, data))
        .with_label("rule", &rule.name)
        .with_details(details(rule, window));
    rule.labels().zip(group).fold(signal, |signal, (name, value)| signal.with_label(name, value))
}

/// The matches that made the alert; times as events have them.
fn details(rule: &Rule, window: &Window) -> String {
    let (first, last) = window.span();
    let mut json = format!(
        "{{\"count\":{},\"window_us\":{},\"first_us\":{first},\"last_us\":{last}",
        rule.threshold.count, rule.threshold.window
    );
    if rule.is_distinct() {
        for (place, value) in window.values().enumerate() {
            json.push_str(if place == 0 { ",\"values\":[" } else { "," });
            push_string(&mut json, value);
        }
        json.push(']');
    }
    json.push('}');
    json
}

fn clear(key: &str, window: &mut Window, signals: &mut Signals) {
    window.up = false;
    state::remove(&format!("up/{key}"));
    signals.clear(key);
}

fn load(key: &str) -> Option<Window> {
    state::get(&format!("seen/{key}")).and_then(|text| read(key, &text))
}

/// Text that an older version wrote otherwise is forgotten: at worst an alert is told once more.
fn read(key: &str, text: &str) -> Option<Window> {
    let window = serde_json::from_str(text);
    window
        .inspect_err(|error| log::warn(&format!("state of \"{key}\" is not readable: {error}")))
        .ok()
}

fn save(key: &str, window: &Window) {
    // A struct of numbers and texts always becomes JSON.
    let text = serde_json::to_string(window).unwrap_or_default();
    state::set(&format!("seen/{key}"), &text);
}

/// The next entries to look at. Where to go on is remembered only while there are more than fit in
/// one tick.
fn page(prefix: &str) -> Vec<(String, String)> {
    let place = format!("next/{prefix}");
    let after = state::get(&place);
    let entries = state::scan(prefix, after.as_deref().unwrap_or(""), PER_TICK);
    match entries.last() {
        Some((last, _)) if entries.len() == PER_TICK as usize => state::set(&place, last),
        _ if after.is_some() => state::remove(&place),
        _ => {}
    }
    entries
}

#[cfg(test)]
#[path = "logic_tests.rs"]
mod tests;
