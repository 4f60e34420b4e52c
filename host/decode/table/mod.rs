//! Wire to JSON by table: every message of the schemas compiled into flat tables, so that a payload
//! becomes text in one pass and without a message object. It settles what is in order and gives up on
//! the rest, which then takes the exact way of `json.rs`; whatever it writes is the same text. Key type:
//! [`Tables`].

mod compile;
mod scalar;
#[cfg(test)]
pub(super) mod tests;
mod well_known;
mod write;

pub(super) use scalar::six_digits;

use crate::copy::Piece;

/// How deep messages may lie in each other. The protobuf libraries have the same limit, so what is
/// written here the slow way would write as well.
const MAX_DEPTH: u32 = 100;

/// Field numbers below this are found by index.
const DENSE: u32 = 256;

/// The messages of a pool of descriptors.
#[derive(Debug, Default)]
pub struct Tables {
    messages: Vec<Table>,
    enums: Vec<EnumNames>,
}

/// One message.
#[derive(Debug)]
struct Table {
    form: Form,
    /// By ascending number.
    fields: Vec<Field>,
    /// One more than the place in `fields` of each number below [`DENSE`]; 0 where there is none.
    places: Vec<u16>,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As an object of its fields.
    Plain,
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `google.protobuf.Duration`
    Duration,
    /// `google.protobuf.Struct`
    Struct,
    /// `google.protobuf.Value`
    Value,
    /// `google.protobuf.ListValue`
    List,
    /// One of the wrappers, as the value within it.
    Wrapper(Scalar),
    /// Not here.
    Slow,
}

/// One field of a message.
#[derive(Debug)]
struct Field {
    number: u32,
    /// `,"name":`
    key: Piece,
    kind: Kind,
    shape: Shape,
    /// The bit of the oneof it belongs to; 0 for none.
    oneof: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar(Scalar),
    /// Place of the enum's names.
    Enum(u32),
    /// Place of the message's table.
    Message(u32),
    /// A group, or whatever else is not settled here.
    Slow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Written whenever it is on the wire.
    Explicit,
    /// Written unless it holds its default, which is zero or empty.
    Implicit,
    /// A list.
    List,
    /// A map; its kind is the message of its entries.
    Map,
}

/// The types of protobuf that hold one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    String,
    Bytes,
}

/// The names of an enum, each as JSON text.
#[derive(Debug, Default)]
struct EnumNames {
    /// Of the numbers from 0 on; empty where there is none.
    dense: Vec<Box<str>>,
    /// Of all others, by number.
    others: Vec<(i32, Box<str>)>,
    /// `google.protobuf.NullValue`, which is `null` whatever its number.
    is_null: bool,
}

impl Table {
    #[inline]
    fn field(&self, number: u32) -> Option<&Field> {
        match self.places.get(number as usize) {
            Some(0) => None,
            Some(place) => self.fields.get(usize::from(*place) - 1),
            None if number < DENSE => None,
            None => {
                let place = self.fields.binary_search_by_key(&number, |field| field.number);
                self.fields.get(place.ok()?)
            }
        }
    }
}

impl EnumNames {
    /// The JSON text of a number that has a name.
    #[inline]
    fn get(&self, number: i32) -> Option<&str> {
        let dense = usize::try_from(number).ok().and_then(|number| self.dense.get(number));
        match dense {
            Some(name) => Some(&**name).filter(|name| !name.is_empty()),
            None => {
                let place = self.others.binary_search_by_key(&number, |(number, _)| *number);
                Some(&*self.others[place.ok()?].1)
            }
        }
    }
}
