//! A payload as one line of JSON: the protobuf JSON mapping with original field names. By table where that
//! settles it, else exact by way of a dynamic message. Key function: [`Registry::write_json`].

use std::io;

use prost_reflect::{
    DynamicMessage, MessageDescriptor, ReflectMessage as _, SerializeOptions, Value,
};
use serde_json::ser::{CompactFormatter, Formatter};

use super::DecodeError;
use super::registry::{MessageId, Registry};
use super::table::six_digits;

/// How deep messages may lie in each other, those within an `Any` included. The protobuf libraries keep to
/// this where they read, but each `Any` is read for itself.
const MAX_DEPTH: usize = 100;

impl Registry {
    /// Appends the payload as compact JSON, without a newline; all that is appended is UTF-8. What was
    /// appended before an error is taken back.
    ///
    /// # Errors
    /// When the payload is not such a message, or holds what JSON cannot say.
    pub fn write_json_bytes(
        &self,
        message: MessageId,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if self.tables().write(usize::from(message.0), payload, out) {
            return Ok(());
        }
        let mut text = String::new();
        self.write_json_slowly(message, payload, &mut text)?;
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// The same onto a text.
    ///
    /// # Errors
    /// As [`Registry::write_json_bytes`].
    pub fn write_json(
        &self,
        message: MessageId,
        payload: &[u8],
        out: &mut String,
    ) -> Result<(), DecodeError> {
        let mut bytes = Vec::with_capacity(payload.len() * 4);
        self.write_json_bytes(message, payload, &mut bytes)?;
        out.push_str(&String::from_utf8_lossy(&bytes));
        Ok(())
    }

    /// The same by way of a dynamic message: what is written by table is measured against it.
    ///
    /// # Errors
    /// As [`Registry::write_json_bytes`].
    pub fn write_json_slowly(
        &self,
        message: MessageId,
        payload: &[u8],
        out: &mut String,
    ) -> Result<(), DecodeError> {
        let descriptor = self.descriptor(message);
        let text = text(descriptor, payload).map_err(|detail| DecodeError::Payload {
            message: descriptor.full_name().to_owned(),
            detail,
        })?;
        out.push_str(&text);
        Ok(())
    }
}

fn text(descriptor: &MessageDescriptor, payload: &[u8]) -> Result<String, String> {
    let dynamic = DynamicMessage::decode(descriptor.clone(), payload).map_err(|e| e.to_string())?;
    if !is_shallow(&dynamic, MAX_DEPTH + 1) {
        return Err(format!("messages lie in each other more than {MAX_DEPTH} deep"));
    }
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut text = Vec::with_capacity(payload.len() * 4);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, AsPython);
    dynamic.serialize_with_options(&mut serializer, &options).map_err(|e| e.to_string())?;
    String::from_utf8(text).map_err(|e| e.to_string())
}

/// Whether messages lie in each other no deeper than `left`. Looks into each `Any`, as writing will.
fn is_shallow(message: &DynamicMessage, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else { return false };
    let of_value = |value: &Value| match value {
        Value::Message(inner) => is_shallow(inner, left),
        _ => true,
    };
    message.fields().all(|(_, value)| match value {
        Value::List(values) => values.iter().all(of_value),
        Value::Map(values) => values.values().all(of_value),
        value => of_value(value),
    }) && within(message).is_none_or(|inner| is_shallow(&inner, left))
}

/// What lies within an `Any`, if it can be read.
fn within(message: &DynamicMessage) -> Option<DynamicMessage> {
    let descriptor = message.descriptor();
    if descriptor.full_name() != "google.protobuf.Any" {
        return None;
    }
    let (url, value) = (message.get_field_by_number(1)?, message.get_field_by_number(2)?);
    let name = url.as_str()?.rsplit_once('/')?.1;
    let inner = descriptor.parent_pool().get_message_by_name(name)?;
    DynamicMessage::decode(inner, value.as_bytes()?.clone()).ok()
}

/// Writes numbers as Python's protobuf does, whose users are to find the same: it never gives a
/// 32-bit float fewer than six digits, which tells only where floats have less precision than that.
struct AsPython;

impl Formatter for AsPython {
    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if !value.is_subnormal() {
            return CompactFormatter.write_f32(writer, value);
        }
        CompactFormatter.write_f64(writer, six_digits(value))
    }
}
