//! What events have in common: source, type, content type, schema and stream, interned, with the pieces of
//! their lines that say so. Key type: [`Shapes`].

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::columns::Names;
use crate::line;
use crate::row::NewRow;
use crate::text::is_same;

/// What events of one kind have in common, as numbers of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Common {
    pub source: u32,
    pub ty: u32,
    pub content_type: u32,
    pub schema: u32,
    pub stream: u32,
}

/// What events of one kind have in common, with the pieces of their lines that say so.
#[derive(Debug)]
pub(crate) struct Shape {
    pub common: Common,
    /// `,"source":…,"type":…`
    pub head: Box<str>,
    /// `"datacontenttype":…,"stream":…`
    pub tail: Box<str>,
}

/// The shapes of a batch's events, each once.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    pub sources: Names,
    pub types: Names,
    pub content_types: Names,
    pub schemas: Names,
    pub streams: Names,
    pub all: Vec<Shape>,
    pub places: HashMap<Common, u32, RandomState>,
    pub last: u32,
}

impl Shapes {
    /// The place of the shape with these names.
    #[inline]
    pub fn place(&mut self, new: &NewRow<'_>) -> u32 {
        // Neighbouring events have most in common.
        let last = self.all.get(self.last as usize).map(|shape| shape.common);
        let number = |names: &mut Names, last: Option<u32>, text: &str| match last {
            Some(last) if is_same(names.get(last).as_bytes(), text.as_bytes()) => last,
            _ => names.number(text),
        };
        let common = Common {
            source: number(&mut self.sources, last.map(|l| l.source), new.source),
            ty: number(&mut self.types, last.map(|l| l.ty), new.ty),
            content_type: number(
                &mut self.content_types,
                last.map(|l| l.content_type),
                new.content_type,
            ),
            schema: number(&mut self.schemas, last.map(|l| l.schema), new.schema),
            stream: number(&mut self.streams, last.map(|l| l.stream), new.stream),
        };
        self.place_of(common)
    }

    #[inline]
    pub fn place_of(&mut self, common: Common) -> u32 {
        if self.all.get(self.last as usize).is_none_or(|last| last.common != common) {
            self.last = self.look_up(common);
        }
        self.last
    }

    fn look_up(&mut self, common: Common) -> u32 {
        if let Some(place) = self.places.get(&common) {
            return *place;
        }
        let place = self.all.len() as u32;
        self.places.insert(common, place);
        let (source, ty) = (self.sources.get(common.source), self.types.get(common.ty));
        let content_type = self.content_types.get(common.content_type);
        let (schema, stream) = (self.schemas.get(common.schema), self.streams.get(common.stream));
        self.all.push(Shape {
            common,
            head: line::head(source, ty).into(),
            tail: line::tail(content_type, schema, stream).into(),
        });
        place
    }

    /// Keeps what the next batch will mostly have too, as long as it is not too much.
    pub fn clear(&mut self) {
        let mut names = [
            &mut self.sources,
            &mut self.types,
            &mut self.content_types,
            &mut self.schemas,
            &mut self.streams,
        ];
        let is_void = names.iter_mut().fold(false, |any, names| names.forget_many() | any);
        if is_void || self.all.len() > KEPT_SHAPES {
            *self = Shapes::default();
        }
    }
}

/// So many shapes are kept for the next batch.
const KEPT_SHAPES: usize = 256;
