//! A payload as one line of JSON: the protobuf JSON mapping with original field names. Exact, by
//! way of a dynamic message. Key function: [`Registry::write_json`].

use std::io;

use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::ser::{CompactFormatter, Formatter};

use super::DecodeError;
use super::registry::{MessageId, Registry};

impl Registry {
    /// Appends the payload as compact JSON, without a newline. What was appended before an error is
    /// taken back.
    ///
    /// # Errors
    /// When the payload is not such a message, or holds what JSON cannot say.
    pub fn write_json(
        &self,
        message: MessageId,
        payload: &[u8],
        out: &mut String,
    ) -> Result<(), DecodeError> {
        let descriptor = self.descriptor(message);
        let failed = |detail: String| DecodeError::Payload {
            message: descriptor.full_name().to_owned(),
            detail,
        };
        let dynamic = DynamicMessage::decode(descriptor.clone(), payload)
            .map_err(|e| failed(e.to_string()))?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        let mut text = Vec::with_capacity(payload.len() * 4);
        dynamic
            .serialize_with_options(
                &mut serde_json::Serializer::with_formatter(&mut text, AsPython),
                &options,
            )
            .map_err(|e| failed(e.to_string()))?;
        out.push_str(std::str::from_utf8(&text).map_err(|e| failed(e.to_string()))?);
        Ok(())
    }
}

/// Writes numbers as Python's protobuf does, whose users are to find the same: it never gives a
/// 32-bit float fewer than six digits, which tells only where floats have less precision than that.
struct AsPython;

impl Formatter for AsPython {
    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        if !value.is_subnormal() {
            return CompactFormatter.write_f32(writer, value);
        }
        let six_digits = format!("{value:.5e}").parse::<f64>().unwrap_or(value.into());
        CompactFormatter.write_f64(writer, six_digits)
    }
}
