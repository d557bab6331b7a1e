//! Answers of services, from bytes that nobody vouches for. Only for fuzzing, see `src/fuzzing.rs`.
use super::infobip::fuzzing::{list, moment, written};
use super::{Created, Issued, KINDS, Raw, mobivate, reply, single_invoice};
use crate::secret::Secret;
use toml::de::ValueDeserializer;

/// Settings that every kind takes, but for its login.
const LOGIN: &str = r#"{ username = "me", password = { env = "NONE" } }"#;
const APIKEY: &str = r#"{ apikey = { env = "NONE" } }"#;

/// An answer to each of the calls that a kind makes: whatever it says, what comes out of it is no key or a usable one.
pub(crate) fn answer(kind: &str, body: &[u8]) {
    let body = Secret::new(body.to_vec());
    for kind in KINDS.iter().filter(|it| it.name == kind) {
        let settings = if kind.name == "single-invoice" { APIKEY } else { LOGIN };
        let provider = ValueDeserializer::parse(settings).and_then(kind.parse);
        assert!(provider.is_ok(), "the settings of {} can't be read", kind.name);
        for created in provider.iter().flat_map(|it| it.parse(&Raw { status: 200, body: body.clone() })) {
            match created {
                Created::One(one) => usable(&[one]),
                Created::All(all) => usable(&all),
            }
        }
        usable(&match kind.name {
            "infobip" => list(&body),
            "mobivate" => mobivate::issued(&body).into_iter().collect(),
            "single-invoice" => single_invoice::issued(&body).unwrap_or_default(),
            _ => Vec::new(),
        });
    }
    if let Some(code) = reply::code(&body) {
        assert!(code.len() <= 40 && code.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_'), "{code}");
    }
}

fn usable(keys: &[Issued]) {
    for secret in keys.iter().filter_map(|it| it.secret.as_ref()) {
        assert!(secret.expose_str().is_ok_and(|it| !it.is_empty() && !it.contains([' ', '\n', '\0', '*'])));
    }
}

/// A date of Infobip, which is written as it was read.
pub(crate) fn date(text: &str) {
    let Some(at) = moment(text) else { return };
    assert!(written(at).is_some_and(|it| moment(&it) == Some(at)), "{text:?} is written as {:?}", written(at));
}
