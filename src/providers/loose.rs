//! How answers are read whose fields may hold anything: what is of another type than documented is passed over, and costs
//! no more memory than it has bytes. A body of [`BODY_BYTES`](crate::http::BODY_BYTES) could else become a hundred times as
//! large in memory, as a list of empty objects does.
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// The most items of a list in an answer. A longer one is not as documented: no call asks for so many.
pub(super) const LISTED_MOST: usize = 10_000;

/// A value of any type.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) enum Loose {
    /// There is none, or it is null.
    #[default]
    Nothing,
    /// A text.
    Text(String),
    /// A number, as it is written.
    Number(String),
    /// True or false.
    Flag(bool),
    /// The texts of a list.
    Texts(Vec<String>),
    /// An object.
    Object,
}

/// A list that ends.
#[derive(Debug)]
pub(super) struct Few<T>(pub(super) Vec<T>);

/// An object of the documented type; nothing where something else is there.
#[derive(Debug)]
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E: Error>(self) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<Loose, E> {
        Ok(Loose::Flag(it))
    }

    fn visit_u64<E: Error>(self, it: u64) -> Result<Loose, E> {
        Ok(Loose::Number(it.to_string()))
    }

    fn visit_i64<E: Error>(self, it: i64) -> Result<Loose, E> {
        Ok(Loose::Number(it.to_string()))
    }

    fn visit_f64<E: Error>(self, it: f64) -> Result<Loose, E> {
        Ok(Loose::Number(it.to_string()))
    }

    fn visit_str<E: Error>(self, it: &str) -> Result<Loose, E> {
        Ok(Loose::Text(it.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = list.next_element()? {
            if let Loose::Text(text) = item {
                check_length(texts.len())?;
                texts.push(text);
            }
        }
        Ok(Loose::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Object)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(Items(PhantomData)).map(Self)
    }
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {LISTED_MOST} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            check_length(items.len())?;
            items.push(item);
        }
        Ok(items)
    }
}

fn check_length<E: Error>(length: usize) -> Result<(), E> {
    if length < LISTED_MOST { Ok(()) } else { Err(E::custom(format!("more than {LISTED_MOST} items"))) }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Object(PhantomData)).map(Self)
    }
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<T>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Option<T>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, want: Loose) {
        assert_eq!(serde_json::from_str::<Loose>(json).unwrap(), want, "{json}");
    }

    #[test]
    fn whatever_is_there_is_read() {
        check("null", Loose::Nothing);
        check("\"a\"", Loose::Text("a".into()));
        check("-7", Loose::Number("-7".into()));
        check("true", Loose::Flag(true));
        check(r#"["a",1,["b"],{"c":"d"},"e"]"#, Loose::Texts(vec!["a".into(), "e".into()]));
        check(r#"{"a":[{}]}"#, Loose::Object);
    }

    #[test]
    fn a_list_that_is_longer_than_any_documented_one_is_refused() {
        let list = |items: usize| format!("[{}]", vec!["\"\""; items].join(","));
        assert_eq!(serde_json::from_str::<Few<String>>(&list(LISTED_MOST)).unwrap().0.len(), LISTED_MOST);
        assert!(serde_json::from_str::<Few<String>>(&list(LISTED_MOST + 1)).is_err());
        assert!(serde_json::from_str::<Loose>(&list(LISTED_MOST + 1)).is_err());
    }

    #[test]
    fn what_is_no_object_is_passed_over() {
        for other in ["null", "1", "\"a\"", "[{}]", "true"] {
            assert!(serde_json::from_str::<Maybe<IgnoredAny>>(other).unwrap().0.is_none(), "{other}");
        }
    }
}
