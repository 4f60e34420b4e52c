//! The protobuf wire format, read in place: tags, varints and slices of the bytes at hand. No
//! messages and no allocation; every malformed byte is `None`. Key type: [`Reader`].

/// Reads fields from bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// One field as it stands on the wire. Numbers are kept as such: as bytes they lie unaligned in it, and a
/// processor waits for each that is written in one piece and read in another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: a string, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// Whether all bytes have been read.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that have not been read.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field: its number and value. `None` where the bytes are not protobuf, or hold a
    /// group, which no schema here has.
    #[inline(always)]
    pub fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return None;
        }
        Some((number as u32, self.value(tag & 7)?))
    }

    /// The next bytes as a value of this wire type, without a tag before it.
    #[inline(always)]
    pub fn value(&mut self, wire_type: u64) -> Option<Value<'a>> {
        Some(match wire_type {
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take()?)),
            5 => Value::Fixed32(u32::from_le_bytes(self.take()?)),
            _ => return None,
        })
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        let (first, rest) = self.rest.split_first()?;
        if *first < 0x80 {
            self.rest = rest;
            return Some(u64::from(*first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth has room for one bit.
            if at == 9 && *byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (at * 7);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Some(value);
            }
        }
        None
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
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
        assert_eq!(reader.field(), Some((3, Value::Fixed32(1))));
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
