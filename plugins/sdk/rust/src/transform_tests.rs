//! Tests of the answer a transform gives: fates and columns fit each other, whatever the plugin
//! does.

use super::*;
use crate::plugin::{Description, Fields, NoConfig, Wants};
use crate::testing::{EventSpec, batch, event, only_types};

/// Answers what the test hands it, in order.
struct Script(Vec<Result<Outcome, Fault>>);

impl Plugin for Script {
    type Config = NoConfig;
    fn describe() -> Description {
        Description::new("script", "0")
    }
    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Self(Vec::new()))
    }
    fn wants(&self) -> Wants {
        Wants::all(Fields::all())
    }
}

impl Transform for Script {
    fn apply(&mut self, _: &Event<'_>) -> Result<Outcome, Fault> {
        self.0.remove(0)
    }
}

fn three() -> Batch {
    batch(["a", "b", "c"].map(|ty| EventSpec::subject(event(ty), ty)))
}

#[test]
fn one_line_per_new_event() {
    let new = |text: &str| NewEvent::data(text);
    let script = vec![
        Ok(Outcome::Unchanged),
        Ok(Outcome::Split(vec![new("1"), new("")])),
        Ok(new("{\n\"a\":1}").into()),
    ];
    let outcomes = work(&mut Script(script), &three());
    assert_eq!(outcomes.fates, [-1, 2, 1]);
    assert_eq!(outcomes.data, "1\n\n{ \"a\":1}\n");
    assert!(
        outcomes.types.is_none() && outcomes.subjects.is_none() && outcomes.attributes.is_none()
    );
}

#[test]
fn a_fault_has_no_new_events() {
    let script = vec![Err("no".into()), Ok(Outcome::Drop), Ok(Outcome::Split(Vec::new()))];
    let outcomes = work(&mut Script(script), &three());
    assert_eq!((outcomes.fates.as_slice(), outcomes.data.as_str()), (&[0, 0, 0][..], ""));
    assert_eq!((outcomes.faults[0].index, outcomes.faults[0].reason.as_str()), (0, "no"));
}

#[test]
fn what_one_new_event_leaves_open_is_that_of_its_old_one() {
    let changed =
        NewEvent { ty: Some("x".into()), subject: Some("s".into()), ..NewEvent::data("1") };
    let script =
        vec![Ok(NewEvent::data("0").into()), Ok(changed.into()), Ok(NewEvent::data("2").into())];
    let outcomes = work(&mut Script(script), &three());
    let types = outcomes.types.unwrap();
    assert_eq!((types.values.join(","), types.index), ("a,x,c".into(), vec![0, 1, 2]));
    assert_eq!(outcomes.subjects.unwrap(), "a\ns\nc\n");
}

#[test]
fn a_subject_for_some_needs_the_column() {
    let changed = NewEvent { subject: Some("s".into()), ..NewEvent::data("1") };
    let script = vec![
        Ok(NewEvent::data("0").into()),
        Ok(Outcome::Split(vec![changed.clone(), NewEvent::data("2")])),
        Ok(changed.into()),
    ];
    let outcomes = work(&mut Script(script), &only_types(["a", "b", "c"]));
    assert_eq!(outcomes.fates, [0, 0, 1]);
    assert_eq!((outcomes.data.as_str(), outcomes.subjects.as_deref()), ("1\n", Some("s\n")));
    assert_eq!(outcomes.faults.iter().map(|fault| fault.index).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_subject_with_a_line_break_is_a_fault() {
    let bad = NewEvent { subject: Some("a\nb".into()), ..NewEvent::data("1") };
    let script = vec![Ok(bad.into()), Ok(Outcome::Unchanged), Ok(Outcome::Unchanged)];
    let outcomes = work(&mut Script(script), &three());
    assert_eq!((outcomes.fates.as_slice(), outcomes.faults.len()), (&[0, -1, -1][..], 1));
}
