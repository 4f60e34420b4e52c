//! What the simulator can be told to do wrong, as one table: a name, what it means, how its value
//! reads. A new fault is a row here and a field of [`Faults`]. Key type: [`Fault`].

use std::num::NonZeroU64;
use std::str::FromStr;

/// One fault, as given on the command line (`NAME=VALUE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Close after every so many frames of a connection.
    Drop(NonZeroU64),
    /// After every so many events of a stream all tokens issued so far are dead.
    Expire(NonZeroU64),
    /// An undecodable frame after every so many events.
    Garbage(NonZeroU64),
    /// A text frame after every so many events.
    Text(NonZeroU64),
}

/// A row of the table of faults.
#[derive(Debug)]
pub struct FaultSpec {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub value: &'static str,
    /// What it does.
    pub doc: &'static str,
    parse: fn(&str) -> Result<Fault, String>,
}

/// Every fault there is.
pub const FAULTS: &[FaultSpec] = &[
    FaultSpec {
        name: "drop",
        value: "N",
        doc: "close after every N frames of a connection",
        parse: |value| number(value).map(Fault::Drop),
    },
    FaultSpec {
        name: "expire",
        value: "N",
        doc: "after every N events of a stream all tokens issued so far are dead and their sockets \
              are closed",
        parse: |value| number(value).map(Fault::Expire),
    },
    FaultSpec {
        name: "garbage",
        value: "N",
        doc: "an extra undecodable frame after every N events, outside --count and ledger",
        parse: |value| number(value).map(Fault::Garbage),
    },
    FaultSpec {
        name: "text",
        value: "N",
        doc: "an extra text frame after every N events, outside --count and ledger",
        parse: |value| number(value).map(Fault::Text),
    },
];

/// All faults of one simulator. Of one given twice the last counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// See [`Fault::Drop`].
    pub drop: Option<NonZeroU64>,
    /// See [`Fault::Expire`].
    pub expire: Option<NonZeroU64>,
    /// See [`Fault::Garbage`].
    pub garbage: Option<NonZeroU64>,
    /// See [`Fault::Text`].
    pub text: Option<NonZeroU64>,
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        let mut all = Faults::default();
        for fault in faults {
            match fault {
                Fault::Drop(n) => all.drop = Some(n),
                Fault::Expire(n) => all.expire = Some(n),
                Fault::Garbage(n) => all.garbage = Some(n),
                Fault::Text(n) => all.text = Some(n),
            }
        }
        all
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("\"{text}\" is not NAME=VALUE"))?;
        let spec = FAULTS.iter().find(|spec| spec.name == name).ok_or_else(|| unknown(name))?;
        (spec.parse)(value).map_err(|detail| format!("{name}={}: {detail}", spec.value))
    }
}

fn unknown(name: &str) -> String {
    let known = FAULTS.iter().map(|spec| format!("{}={}", spec.name, spec.value));
    format!("unknown fault \"{name}\"; there are {}", known.collect::<Vec<_>>().join(", "))
}

fn number(value: &str) -> Result<NonZeroU64, String> {
    value.parse().map_err(|_| format!("\"{value}\" is not a number from 1 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_combine() {
        let faults: Result<Faults, _> =
            ["drop=3", "garbage=7", "drop=5"].iter().map(|f| f.parse::<Fault>()).collect();
        let faults = faults.unwrap();
        assert_eq!(faults.drop.unwrap().get(), 5);
        assert_eq!(faults.garbage.unwrap().get(), 7);
        assert_eq!(faults.expire, None);
    }

    #[test]
    fn an_unknown_fault_names_the_known() {
        let error = "dorp=3".parse::<Fault>().unwrap_err();
        assert!(error.contains("drop=N, expire=N, garbage=N, text=N"), "{error}");
        assert!("drop".parse::<Fault>().is_err());
        assert!("drop=0".parse::<Fault>().unwrap_err().contains("from 1 on"));
    }
}
