//! The protobuf wire format, read in place: tags, varints and slices of the bytes at hand. No
//! messages and no allocation; every malformed byte is `None`. Key type: [`Reader`].

/// Reads fields from bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 2: a string, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32([u8; 4]),
}

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// Whether all bytes have been read.
    pub fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next field: its number and value. `None` where the bytes are not protobuf, or hold a
    /// group, which no schema here has.
    #[inline]
    pub fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..=0x1fff_ffff).contains(n))?;
        Some((number, self.value(tag & 7)?))
    }

    /// The next bytes as a value of this wire type, without a tag before it.
    #[inline]
    pub fn value(&mut self, wire_type: u64) -> Option<Value<'a>> {
        Some(match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.take(8)?.try_into().ok()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(self.take(4)?.try_into().ok()?),
            _ => return None,
        })
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let slice = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(slice)
    }
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field.
    #[inline]
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string field; `None` if it is not UTF-8.
    #[inline]
    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The number of a varint field.
    #[inline]
    pub fn varint(self) -> Option<u64> {
        match self {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_wire_type() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.field(), Some((1, Value::Varint(150))));
        assert_eq!(reader.field().unwrap().1.text(), Some("hi"));
        assert_eq!(reader.field(), Some((3, Value::Fixed32([1, 0, 0, 0]))));
        assert!(reader.is_done());
    }

    #[test]
    fn malformed_bytes_are_none() {
        for bytes in [
            &[0x08][..],                                             // no value
            &[0x12, 5, 1],                                           // too short
            &[0x00, 0],                                              // field number 0
            &[0x0b],                                                 // a group
            &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], // over 64 bits
            &[0x12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], // length over memory
        ] {
            assert_eq!(Reader::new(bytes).field(), None, "{bytes:?}");
        }
    }
}
