//! Events that the host itself makes, as frames like any other: the same envelope, the data as JSON
//! text. Key function: [`frame`].

use prost::Message as _;

use super::proto::cloudevents::v1::{
    CloudEvent, CloudEventAttributeValue, cloud_event, cloud_event_attribute_value::Value,
};
use crate::frame::Frame;
use crate::timestamp::Timestamp;

/// An event of the host's own, now.
pub fn frame(
    id: &str,
    ty: &str,
    subject: &str,
    time: Timestamp,
    data: &serde_json::Value,
) -> Frame {
    let mut event = CloudEvent {
        id: id.to_owned(),
        source: "trommel".to_owned(),
        specversion: "1.0".to_owned(),
        r#type: ty.to_owned(),
        // Within the year 9999 nanoseconds fit.
        time: Some(prost_types::Timestamp { seconds: time.seconds, nanos: time.nanos as i32 }),
        datacontenttype: "application/json".to_owned(),
        data: Some(cloud_event::Data::TextData(data.to_string())),
        ..CloudEvent::default()
    };
    if !subject.is_empty() {
        let value = CloudEventAttributeValue { value: Some(Value::CeString(subject.to_owned())) };
        event.attributes.insert("subject".to_owned(), value);
    }
    Frame::binary(event.encode_to_vec())
}
