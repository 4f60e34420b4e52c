//! Tests of delivery, with the SDK's stand-in for the other side.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::{Value, json};
use trommel_plugin::http::Body;
use trommel_plugin::testing::{batch, event, on_request};

use super::*;

/// A courier and what it has sent. Replies are taken in order, then all is well.
fn courier(
    config: Value,
    replies: Vec<Result<Response, Failure>>,
) -> (Courier, Rc<RefCell<Vec<String>>>) {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&sent);
    let mut replies = replies.into_iter();
    on_request(move |request| {
        let Body::Text(text) = &request.body else { panic!("a body of bytes") };
        seen.borrow_mut().push(text.clone());
        replies.next().unwrap_or_else(|| status(200))
    });
    (Courier::new(Settings::new(serde_json::from_value(config).unwrap()).unwrap()), sent)
}

fn status(status: u16) -> Result<Response, Failure> {
    let headers = vec![("Retry-After".into(), "7".into())];
    Ok(Response { status, headers, body: Body::Text(" bad\nthing ".into()) })
}

fn each() -> Value {
    json!({"url": "u", "template": "{{data}}", "batch": "each"})
}

fn lines() -> Value {
    json!({"url": "u", "template": "{{data}}"})
}

fn events(data: &[&str]) -> Batch {
    batch(data.iter().map(|data| event("t").data(data)))
}

fn refused(result: Result<(), Undelivered>) -> Vec<(usize, String)> {
    match result {
        Err(Undelivered::Reject(refused)) => {
            refused.into_iter().map(|(index, fault)| (index, fault.reason().to_string())).collect()
        }
        other => panic!("not a refusal: {other:?}"),
    }
}

#[test]
fn one_request_per_event_or_per_batch() {
    let (mut courier_each, sent) = courier(each(), vec![]);
    assert_eq!(courier_each.deliver(&events(&["1", "2"])), Ok(()));
    assert_eq!(*sent.borrow(), ["1", "2"]);
    let (mut courier_lines, sent) = courier(lines(), vec![]);
    assert_eq!(courier_lines.deliver(&events(&["1", "2"])), Ok(()));
    assert_eq!(*sent.borrow(), ["1\n2\n"]);
}

#[test]
fn what_may_work_later_is_retried() {
    let seven = Some(Duration::from_secs(7));
    for code in [408, 429, 500, 503, 599] {
        let (mut courier, _) = courier(lines(), vec![status(code)]);
        assert_eq!(courier.deliver(&events(&["1"])), Err(Undelivered::Retry(seven)), "{code}");
    }
    for failure in [Failure::Unreachable("no route".into()), Failure::Timeout] {
        let (mut courier, _) = courier(lines(), vec![Err(failure)]);
        assert_eq!(courier.deliver(&events(&["1"])), Err(Undelivered::Retry(None)));
    }
}

#[test]
fn what_was_taken_is_not_sent_again() {
    let (mut courier, sent) = courier(each(), vec![status(200), status(400), status(503)]);
    let batch = events(&["1", "2", "3", "4", "1"]);
    assert!(matches!(courier.deliver(&batch), Err(Undelivered::Retry(_))));
    assert_eq!(*sent.borrow(), ["1", "2", "3"]);
    // The second "1" looks like the first, and is another event all the same.
    assert_eq!(refused(courier.deliver(&batch)), [(1, "status 400: bad thing".to_string())]);
    assert_eq!(sent.borrow()[3..], ["3", "4", "1"]);
    assert_eq!(courier.deliver(&events(&["1"])), Ok(()), "a new batch starts from nothing");
    assert_eq!(sent.borrow().len(), 7);
}

#[test]
fn what_is_never_taken_is_refused_with_the_reason() {
    for code in [301, 401, 403, 404] {
        let (mut courier, sent) = courier(lines(), vec![status(code)]);
        let reason = format!("status {code}: bad thing");
        assert_eq!(
            refused(courier.deliver(&events(&["1", "2"]))),
            [(0, reason.clone()), (1, reason)]
        );
        assert_eq!(sent.borrow().len(), 1);
    }
    let (mut courier, _) = courier(lines(), vec![Err(Failure::Refused("host not allowed".into()))]);
    assert_eq!(
        refused(courier.deliver(&events(&["1"]))),
        [(0, "not sent: host not allowed".into())]
    );
}

#[test]
fn one_bad_event_does_not_spoil_the_others() {
    let (mut courier, sent) = courier(lines(), vec![]);
    let seen = Rc::clone(&sent);
    on_request(move |request| {
        let Body::Text(text) = &request.body else { panic!("a body of bytes") };
        seen.borrow_mut().push(text.clone());
        if text.contains("3") { status(422) } else { status(200) }
    });
    let result = courier.deliver(&events(&["1", "2", "3", "4"]));
    assert_eq!(refused(result), [(2, "status 422: bad thing".to_string())]);
    assert_eq!(*sent.borrow(), ["1\n2\n3\n4\n", "1\n2\n", "3\n4\n", "3\n", "4\n"]);
}

#[test]
fn waits_no_longer_than_is_sane() {
    let response = |value: &str| Response {
        status: 429,
        headers: vec![("retry-after".into(), value.into())],
        body: Body::Text(String::new()),
    };
    assert_eq!(retry_after(&response("86400")), Some(MAX_RETRY_AFTER));
    assert_eq!(retry_after(&response(" 0 ")), Some(Duration::ZERO));
    assert_eq!(retry_after(&response("Sat, 21 Nov 2026 05:48:30 GMT")), None);
}

#[test]
fn a_long_answer_is_cut() {
    let text = reason(400, &"é".repeat(500));
    assert!(
        text.starts_with("status 400: é") && text.ends_with("é…") && text.len() < 230,
        "{text}"
    );
    assert_eq!(reason(400, " \n"), "status 400");
}
