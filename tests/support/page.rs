//! A metrics page, read as strictly as its format asks for. Key type: [`Page`].

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a series, but for that of the bucket.
type Labels<'a> = Vec<(&'a String, &'a String)>;

/// What is on the page, by the names that samples have: a counter's with `_total`.
#[derive(Debug)]
pub struct Page(pub BTreeMap<String, Family>);

/// One metric.
#[derive(Debug)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Page {
    /// Reads the text format 0.0.4, or OpenMetrics where the end mark is there.
    pub fn read(text: &str) -> Page {
        let body = text.strip_suffix("# EOF\n");
        let counter = if body.is_some() { "_total" } else { "" };
        let mut page = BTreeMap::new();
        let mut lines = body.unwrap_or(text).lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = line
                .strip_prefix("# HELP ")
                .and_then(|rest| rest.split_once(' '))
                .unwrap_or_else(|| panic!("a metric begins with its HELP, not with {line:?}"));
            let line = lines.next().unwrap_or_default();
            let kind = line.strip_prefix(&format!("# TYPE {name} "));
            let kind = kind.unwrap_or_else(|| panic!("TYPE after HELP of {name}, not {line:?}"));
            let mut family =
                Family { kind: kind.to_owned(), help: help.to_owned(), samples: Vec::new() };
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                family.samples.push(sample(line));
            }
            let name = if kind == "counter" { format!("{name}{counter}") } else { name.to_owned() };
            family.check(&name);
            assert!(page.insert(name.clone(), family).is_none(), "{name} stands there twice");
        }
        Page(page)
    }

    /// The value of one sample.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name}{labels:?}"))
    }

    /// The value of one sample, if it is there.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.0.values().flat_map(|family| &family.samples);
        let mut found = samples.filter(|sample| {
            sample.name == name
                && sample.labels.len() == labels.len()
                && labels.iter().all(|(k, v)| sample.labels.get(*k).is_some_and(|have| have == v))
        });
        found.next().map(|sample| sample.value)
    }
}

impl Family {
    /// The names of its labels; that of a histogram's bounds is not one of them.
    pub fn labels(&self) -> BTreeSet<&str> {
        let names = self.samples.iter().flat_map(|sample| sample.labels.keys());
        names.map(String::as_str).filter(|name| *name != "le").collect()
    }

    fn check(&self, name: &str) {
        let mut seen = BTreeSet::new();
        for sample in &self.samples {
            assert!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
            let suffix = sample.name.strip_prefix(name);
            let allowed: &[&str] = match self.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                "counter" | "gauge" => &[""],
                other => panic!("{name} is of the unknown type {other:?}"),
            };
            assert!(suffix.is_some_and(|s| allowed.contains(&s)), "{sample:?} among {name}");
            assert!(self.kind == "gauge" || sample.value >= 0.0, "{sample:?}");
        }
        assert_eq!(self.kind == "counter", name.ends_with("_total"), "{name}");
        if self.kind == "histogram" {
            self.check_buckets(name);
        }
    }

    fn check_buckets(&self, name: &str) {
        let mut series: BTreeMap<Labels<'_>, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|s| s.name.ends_with("_bucket")) {
            let key = sample.labels.iter().filter(|(name, _)| *name != "le").collect();
            let bound = sample.labels["le"].parse().unwrap();
            series.entry(key).or_default().push((bound, sample.value));
        }
        for (labels, buckets) in series {
            let ascends =
                buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            assert!(ascends, "{name}{labels:?}: {buckets:?}");
            let last = buckets.last().unwrap();
            assert!(last.0.is_infinite(), "{name}{labels:?}: {last:?}");
            let of = |suffix: &str| {
                let wanted = format!("{name}{suffix}");
                let same =
                    |s: &&Sample| s.name == wanted && s.labels.iter().collect::<Vec<_>>() == labels;
                self.samples.iter().find(same).map(|sample| sample.value)
            };
            assert_eq!(of("_count"), Some(last.1), "{name}{labels:?}");
            assert!(of("_sum").is_some(), "{name}{labels:?}");
        }
    }
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Sample {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c)).unwrap_or_else(|| panic!("{line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "{line:?}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
            let (value, after) = unescape(after);
            assert!(label.chars().all(is_name), "{line:?}");
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line:?}");
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|value| value.parse().ok());
    let value = value.unwrap_or_else(|| panic!("no number: {line:?}"));
    Sample { name: name.to_owned(), labels, value }
}

/// A value up to its closing quote, and what follows.
fn unescape(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    loop {
        match chars.next() {
            Some((at, '"')) => return (value, &text[at + 1..]),
            Some((_, '\\')) => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => panic!("an escape that does not exist: {other:?}"),
            }),
            Some((_, c)) => value.push(c),
            None => panic!("no closing quote: {text:?}"),
        }
    }
}
