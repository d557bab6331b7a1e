//! References to secrets where a managed key can be none, or where there may be two.
use super::{LITERAL_SECRET, SecretRef};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// How many secrets a webhook may be signed with at once: the old one and the new one, while it is rotated.
const SECRETS_AT_ONCE: usize = 2;

const FORMS: &str = "{ credential = \"name\" }, { file = \"path\" } or { env = \"NAME\" }";

/// One reference.
#[derive(Clone, Debug)]
pub struct Reference(pub SecretRef);

/// One reference, or a list of one or two.
#[derive(Clone, Debug)]
pub struct References(pub Vec<SecretRef>);

/// A text, or a reference to a secret one.
#[derive(Clone, Debug)]
pub enum TextOrReference {
    /// It stands in the config.
    Text(String),
    /// It stands elsewhere.
    Reference(SecretRef),
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = SecretRef::deserialize(deserializer)?;
        if matches!(found, SecretRef::Key(_)) {
            return Err(D::Error::custom(format_args!(
                "a managed key only authorises a provider's calls; write {FORMS}"
            )));
        }
        Ok(Self(found))
    }
}

impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SomeVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for TextOrReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct SomeVisitor;

impl<'de> Visitor<'de> for SomeVisitor {
    type Value = Vec<SecretRef>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORMS}, or a list of {SECRETS_AT_ONCE} of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(vec![reference(map)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(Reference(it)) = list.next_element()? {
            if found.len() == SECRETS_AT_ONCE {
                return Err(A::Error::custom(format_args!("at most {SECRETS_AT_ONCE} secrets sign at once")));
            }
            found.push(it);
        }
        if found.is_empty() {
            Err(A::Error::custom(format_args!("no secret is named; write {FORMS}")))
        } else {
            Ok(found)
        }
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL_SECRET))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(E::custom(LITERAL_SECRET))
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = TextOrReference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, {FORMS}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(TextOrReference::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        reference(map).map(TextOrReference::Reference)
    }
}

fn reference<'de, A: MapAccess<'de>>(map: A) -> Result<SecretRef, A::Error> {
    Reference::deserialize(MapAccessDeserializer::new(map)).map(|it| it.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault<T: for<'de> Deserialize<'de> + fmt::Debug>(value: &str) -> String {
        let de = toml::de::ValueDeserializer::parse(value).unwrap();
        T::deserialize(de).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_literal_secret_is_a_fault_that_does_not_repeat_it() {
        for value in ["\"hunter2\"", "70007", "[\"hunter2\"]"] {
            let fault = fault::<References>(value);
            assert!(fault.contains(LITERAL_SECRET), "{fault}");
            assert!(!fault.contains("hunter2") && !fault.contains("70007"), "{fault}");
        }
    }

    #[test]
    fn exactly_one_place_is_named() {
        assert!(fault::<Reference>("{}").contains("names no secret"));
        assert!(fault::<Reference>("{ file = \"a\", env = \"B\" }").contains("only one"));
        assert!(fault::<Reference>("{ key = \"billing-sms\" }").contains("managed key"));
        assert!(fault::<Reference>("{ vault = \"x\" }").contains("vault"));
    }

    #[test]
    fn a_webhook_is_signed_with_one_secret_or_two() {
        let read = |value: &str| References::deserialize(toml::de::ValueDeserializer::parse(value).unwrap());
        assert_eq!(read("{ env = \"A\" }").unwrap().0, [SecretRef::Env("A".into())]);
        assert_eq!(read("[{ env = \"A\" }, { env = \"B\" }]").unwrap().0.len(), 2);
        assert!(read("[]").is_err());
        assert!(read("[{ env = \"A\" }, { env = \"B\" }, { env = \"C\" }]").is_err());
    }
}
