//! YAML as a tree that remembers where everything stands, and how serde reads it.
//!
//! serde stops at the first mistake. The tree lets a reader take out what was wrong and go on.

use std::{borrow::Cow, fmt};

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use super::Mistake;

/// Where something stands in a file, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Text, and whether it stood there without quotes: only then it can be a number or nothing.
    Scalar(String, bool),
    /// `- a` or `[a]`.
    List(Vec<Node>),
    /// `key: value`.
    Map(Vec<Entry>),
}

/// One `key: value`; its place, which no other entry has, is that of the key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: Node,
}

impl Place {
    fn of(span: &Span) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1 }
    }

    /// Something wrong here.
    pub(super) fn mistake(self, message: impl Into<String>) -> Mistake {
        Mistake { line: self.line, column: self.column, message: message.into() }
    }
}

impl Node {
    /// The entry of that key, of a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Value::List(_) | Value::Scalar(..) => None,
        }
    }

    /// Takes out the entry whose key stands there, wherever in the tree.
    pub(super) fn remove(&mut self, place: Place) -> Option<Entry> {
        match &mut self.value {
            Value::Map(entries) => match entries.iter().position(|entry| entry.place == place) {
                Some(index) => Some(entries.remove(index)),
                None => entries.iter_mut().find_map(|entry| entry.value.remove(place)),
            },
            Value::List(items) => items.iter_mut().find_map(|item| item.remove(place)),
            Value::Scalar(..) => None,
        }
    }

    /// What it is, for a message.
    pub(super) fn kind(&self) -> Cow<'_, str> {
        match &self.value {
            Value::List(items) if items.is_empty() => "an empty list".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "fields".into(),
            Value::Scalar(..) if self.is_nothing() => "nothing".into(),
            Value::Scalar(text, _) => format!("`{text}`").into(),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, true)
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn text(&self) -> Result<&str, Fault> {
        match &self.value {
            Value::Scalar(text, _) if !self.is_nothing() => Ok(text),
            Value::Scalar(..) | Value::List(_) | Value::Map(_) => Err(self.instead_of("text")),
        }
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, plain) => plain.then_some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    fn instead_of(&self, expected: &str) -> Fault {
        de::Error::custom(format!("expected {expected}, found {}", self.kind()))
    }
}

/// The one document of a file, `None` for an empty one; keys given twice go to `mistakes`.
///
/// # Errors
/// Where it is not YAML, or YAML beyond plain lists, maps and scalars.
pub(super) fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Result<Option<Node>, Mistake> {
    let options = granit_parser::options! {
        emit_comments: false,
        block_nesting_limit: 32,
        flow_nesting_limit: 32,
    };
    let mut source = Source { parser: Parser::new_from_str_with_options(text, options), mistakes };
    let mut root = None;
    while let Some((event, place)) = source.next()? {
        if !event.is_node() {
            continue;
        }
        if root.is_some() {
            return Err(place.mistake("a second document: write all pools into the first"));
        }
        root = Some(source.node(event, place)?);
    }
    Ok(root)
}

struct Source<'text, 'found> {
    parser: Parser<'text, StrInput<'text>>,
    mistakes: &'found mut Vec<Mistake>,
}

impl<'text> Source<'text, '_> {
    fn next(&mut self) -> Result<Option<(Event<'text>, Place)>, Mistake> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, Place::of(&span)))),
            Some(Err(err)) => {
                let place = Place { line: err.marker().line(), column: err.marker().col() + 1 };
                Err(place.mistake(format!("not YAML: {}", err.info())))
            }
        }
    }

    /// The next event within a list or map; the parser ends no stream in the middle of one.
    fn within(&mut self, opened: Place) -> Result<(Event<'text>, Place), Mistake> {
        self.next()?.ok_or_else(|| opened.mistake("not YAML: it does not end"))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what else YAML has is refused")]
    fn node(&mut self, event: Event<'text>, place: Place) -> Result<Node, Mistake> {
        let value = match event {
            Event::Scalar(text, style, 0, None) => {
                Value::Scalar(text.into_owned(), style == ScalarStyle::Plain)
            }
            Event::SequenceStart(_, 0, None) => self.list(place)?,
            Event::MappingStart(_, 0, None) => self.map(place)?,
            _ => {
                let why = "anchors, aliases and tags are not read here: write the value itself";
                return Err(place.mistake(why));
            }
        };
        Ok(Node { place, value })
    }

    fn list(&mut self, opened: Place) -> Result<Value, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.within(opened)? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, place) => items.push(self.node(event, place)?),
            }
        }
    }

    fn map(&mut self, opened: Place) -> Result<Value, Mistake> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, place) = match self.within(opened)? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                (Event::Scalar(key, _, 0, None), place) => (key.into_owned(), place),
                (_, place) => return Err(place.mistake("a field's name is plain text")),
            };
            let (event, start) = self.within(opened)?;
            let value = self.node(event, start)?;
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => self.mistakes.push(
                    place
                        .mistake(format!("{key}: given twice, first in line {}", first.place.line)),
                ),
                None => entries.push(Entry { place, key, value }),
            }
        }
    }
}

/// Why serde could not read a value.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where, for the reader.
    pub(super) place: Option<Place>,
    /// The innermost entry it is in: with that gone, it is gone.
    pub(super) entry: Option<Place>,
    /// The keys to it, joined by dots.
    pub(super) path: String,
    /// What is wrong.
    pub(super) message: String,
    /// Whether it is a field that ought to be there.
    pub(super) missing: bool,
}

impl Fault {
    fn within(mut self, entry: &Entry) -> Self {
        self.place.get_or_insert(entry.value.place);
        self.entry.get_or_insert(entry.place);
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path = format!("{}{dot}{}", entry.key, self.path);
        self
    }

    fn new(path: &str, message: String, missing: bool) -> Self {
        Self { place: None, entry: None, path: path.to_owned(), message, missing }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("", message.to_string(), false)
    }

    fn unknown_variant(word: &str, allowed: &'static [&'static str]) -> Self {
        Self::custom(format!("`{word}` is not one of {}", allowed.join(", ")))
    }

    fn unknown_field(_: &str, allowed: &'static [&'static str]) -> Self {
        Self::custom(format!("there is no such field; there are {}", allowed.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(field, "missing".to_owned(), true)
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match self.plain().map(str::parse::<$type>) {
                Some(Ok(number)) => visitor.$visit(number),
                _ => Err(self.instead_of("a whole number")),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Map(entries) => visitor.visit_map(Fields { rest: entries.iter(), now: None }),
            Value::List(items) => visitor.visit_seq(de::value::SeqDeserializer::new(items.iter())),
            Value::Scalar(..) if self.is_nothing() => visitor.visit_unit(),
            Value::Scalar(text, _) => visitor.visit_str(text),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.plain() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(self.instead_of("true or false")),
        }
    }

    whole_numbers! {
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i64 visit_i64 i64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_nothing() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::List(_) => self.deserialize_any(visitor),
            Value::Map(_) | Value::Scalar(..) => Err(self.instead_of("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Map(_) => self.deserialize_any(visitor),
            Value::List(_) | Value::Scalar(..) => Err(self.instead_of("fields")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let word: StrDeserializer<'_, Fault> = self.text()?.into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Fault> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The entries of a map, as serde asks for them; a fault in one gets its place and key.
struct Fields<'de> {
    rest: std::slice::Iter<'de, Entry>,
    now: Option<&'de Entry>,
}

impl<'de> de::MapAccess<'de> for Fields<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.now = self.rest.next();
        let Some(entry) = self.now else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        let unknown = |fault: Fault| Fault { place: Some(entry.place), ..fault }.within(entry);
        seed.deserialize(key).map(Some).map_err(unknown)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self.now.ok_or_else(|| de::Error::custom("no value"))?;
        seed.deserialize(&entry.value).map_err(|fault| fault.within(entry))
    }
}
