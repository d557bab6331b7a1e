//! How the Infobip settings API writes keys: in JSON or XML, with dates in at least four forms.
use super::super::loose::{Few, Loose};
use super::super::setting::KeyText;
use super::super::{Issued, Unreadable, reply};
use crate::core::time::Timestamp;
use crate::secret::Secret;
use chrono::{DateTime, NaiveDateTime};
use serde::{Deserialize, Deserializer, Serialize};

/// How requests are written, and answers asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    #[default]
    Json,
    Xml,
}

impl Format {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
        }
    }

    /// The form that an answer has, whatever was asked for.
    fn of(body: &Secret) -> Self {
        let first = body.expose().iter().find(|it| !it.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(it));
        if first == Some(&b'<') { Self::Xml } else { Self::Json }
    }
}

/// What a create or an update says of a key. Nothing is sent of what is empty: an empty list takes rights away.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyRequest<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
    #[serde(rename = "allowedIPs", skip_serializing_if = "<[String]>::is_empty")]
    pub(super) allowed_ips: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) permissions: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) valid_from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) valid_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enabled: Option<bool>,
}

impl KeyRequest<'_> {
    pub(super) fn write(&self, format: Format) -> Result<Secret, String> {
        let written = match format {
            Format::Json => serde_json::to_string(self).ok(),
            Format::Xml => quick_xml::se::to_string_with_root("ApiKey", &XmlRequest::from(self)).ok(),
        };
        written.map(Secret::from).ok_or_else(|| "the request can't be written".to_owned())
    }
}

/// The same in XML, where the items of a list have a name of their own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct XmlRequest<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "allowedIPs", skip_serializing_if = "Option::is_none")]
    allowed_ips: Option<XmlIps<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<XmlPermissions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

#[derive(Serialize)]
struct XmlIps<'a> {
    #[serde(rename = "allowedIP")]
    items: &'a [String],
}

#[derive(Serialize)]
struct XmlPermissions<'a> {
    #[serde(rename = "permission")]
    items: &'a [String],
}

impl<'a> From<&KeyRequest<'a>> for XmlRequest<'a> {
    fn from(it: &KeyRequest<'a>) -> Self {
        Self {
            name: it.name,
            allowed_ips: (!it.allowed_ips.is_empty()).then_some(XmlIps { items: it.allowed_ips }),
            permissions: (!it.permissions.is_empty()).then_some(XmlPermissions { items: it.permissions }),
            valid_from: it.valid_from,
            valid_to: it.valid_to,
            enabled: it.enabled,
        }
    }
}

/// A key as an answer shows it. Only its frame must be as documented: a date in an unknown form loses no key.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct KeyShown {
    #[serde(deserialize_with = "text")]
    pub(super) key: Option<String>,
    public_api_key: Option<KeyText>,
    #[serde(deserialize_with = "text")]
    pub(super) name: Option<String>,
    #[serde(rename = "allowedIPs", deserialize_with = "texts")]
    pub(super) allowed_ips: Vec<String>,
    #[serde(deserialize_with = "texts")]
    pub(super) permissions: Vec<String>,
    #[serde(deserialize_with = "text")]
    pub(super) valid_from: Option<String>,
    #[serde(deserialize_with = "text")]
    pub(super) valid_to: Option<String>,
    #[serde(deserialize_with = "flag")]
    pub(super) enabled: Option<bool>,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(if let Loose::Text(it) = Loose::deserialize(deserializer)? { Some(it) } else { None })
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(if let Loose::Texts(it) = Loose::deserialize(deserializer)? { it } else { Vec::new() })
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(if let Loose::Flag(it) = Loose::deserialize(deserializer)? { Some(it) } else { None })
}

impl KeyShown {
    /// Reads the answer to a create, a read or an update.
    pub(super) fn read(body: &Secret) -> Result<Self, Unreadable> {
        match Format::of(body) {
            Format::Json => reply::json(body),
            Format::Xml => reply::xml::<XmlShown>(body, "apiKey").map(Self::from),
        }
    }

    /// Reads the answer to a list. What is not surely a list is none: an empty one would mean that a key does not exist.
    pub(super) fn read_list(body: &Secret) -> Result<Vec<Self>, Unreadable> {
        #[derive(Deserialize)]
        struct List {
            #[serde(rename = "apiKeys")]
            keys: Few<KeyShown>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct XmlList {
            #[serde(rename = "apiKey", alias = "ApiKey", default)]
            keys: Few<XmlShown>,
        }
        match Format::of(body) {
            Format::Json => reply::json::<List>(body).map(|it| it.keys.0),
            Format::Xml => {
                let list: XmlList = reply::xml(body, "apiKeys")?;
                Ok(list.keys.0.into_iter().map(Self::from).collect())
            }
        }
    }

    pub(super) fn issued(self) -> Issued {
        Issued {
            secret: self.public_api_key.and_then(|KeyText(secret)| secret),
            id: self.key.filter(|it| !it.is_empty()),
            name: self.name,
            // Where nothing is said, a key is enabled: that is the default of the create call.
            enabled: self.enabled.unwrap_or(true),
            valid_from: self.valid_from.as_deref().and_then(moment),
            valid_to: self.valid_to.as_deref().and_then(moment),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct XmlShown {
    key: Option<String>,
    public_api_key: Option<KeyText>,
    name: Option<String>,
    #[serde(rename = "allowedIPs")]
    allowed_ips: XmlIpsShown,
    permissions: XmlPermissionsShown,
    valid_from: Option<String>,
    valid_to: Option<String>,
    enabled: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct XmlIpsShown {
    #[serde(rename = "allowedIP")]
    items: Few<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct XmlPermissionsShown {
    #[serde(rename = "permission")]
    items: Few<String>,
}

impl From<XmlShown> for KeyShown {
    fn from(it: XmlShown) -> Self {
        Self {
            key: it.key,
            public_api_key: it.public_api_key,
            name: it.name,
            allowed_ips: it.allowed_ips.items.0,
            permissions: it.permissions.items.0,
            valid_from: it.valid_from,
            valid_to: it.valid_to,
            enabled: it.enabled.and_then(|it| it.trim().parse().ok()),
        }
    }
}

/// Reads a date of any documented form: with an offset (`+0100`, `+01:00`), with `Z`, or without a zone, which means UTC.
pub(in super::super) fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let at: Timestamp = match DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z") {
        Ok(at) => at.to_utc().into(),
        Err(_) => {
            let naive = text.strip_suffix(['Z', 'z']).unwrap_or(text);
            NaiveDateTime::parse_from_str(naive, "%Y-%m-%dT%H:%M:%S%.f").ok()?.and_utc().into()
        }
    };
    at.is_writable().then_some(at)
}

/// Writes a date as the create call documents it: `2016-02-12T09:58:20.323+0000`.
pub(in super::super) fn written(at: Timestamp) -> Option<String> {
    at.datetime().map(|it| it.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_of_a_date_is_read() {
        for (text, want) in [
            ("2015-02-12T09:58:20.323+0100", Some(1_423_731_500_323)),
            ("2015-02-12T08:58:20.323+0000", Some(1_423_731_500_323)),
            ("2015-02-12T08:58:20.323+00:00", Some(1_423_731_500_323)),
            ("2015-02-12T08:58:20.323Z", Some(1_423_731_500_323)),
            ("2015-02-12T08:58:20.323", Some(1_423_731_500_323)),
            ("2015-02-12T08:58:20", Some(1_423_731_500_000)),
            (" 2015-02-12T08:58:20Z\n", Some(1_423_731_500_000)),
            ("", None),
            ("never", None),
            ("2015-02-30T08:58:20", None),
            // No year of RFC 3339: nobody could read what would be said of it.
            ("+10000-01-01T00:00:00Z", None),
            ("9999-12-31T23:59:59-0100", None),
            ("-0001-01-01T00:00:00", None),
        ] {
            assert_eq!(moment(text), want.map(Timestamp), "{text}");
        }
    }

    #[test]
    fn a_date_is_written_in_the_documented_form() {
        let at = Timestamp(1_455_271_100_323);
        assert_eq!(written(at).unwrap(), "2016-02-12T09:58:20.323+0000");
        assert_eq!(moment(&written(at).unwrap()), Some(at));
        assert_eq!(written(Timestamp::NEVER), None);
    }

    #[test]
    fn a_field_of_an_unknown_form_loses_no_key() {
        let body = r#"{"key":7,"publicApiKey":"abc-def","name":null,"allowedIPs":"*","validTo":12,"enabled":"yes"}"#;
        let issued = KeyShown::read(&Secret::from(body.to_owned())).unwrap().issued();
        assert_eq!(issued.secret.unwrap().expose(), b"abc-def");
        assert_eq!((issued.id, issued.valid_to, issued.enabled), (None, None, true));
    }

    #[test]
    fn what_is_not_surely_a_list_is_none() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"apiKeys":null}"#,
            r#"{"apiKeys":{}}"#,
            r#"{"apiKeys":[1]}"#,
            "<apiKey/>",
            "<html><body>no</body></html>",
            "<apiKeys><other/></apiKeys>",
            "<apiKeys><apiKey><key>A</key></apiKey>",
        ] {
            assert!(KeyShown::read_list(&Secret::from(body.to_owned())).is_err(), "{body}");
        }
        for (body, want) in [
            (r#"{"apiKeys":[]}"#, 0),
            ("<apiKeys/>", 0),
            ("<?xml version='1.0'?>\n<apiKeys><apiKey><key>A</key></apiKey><apiKey><key>B</key></apiKey></apiKeys>", 2),
        ] {
            assert_eq!(KeyShown::read_list(&Secret::from(body.to_owned())).unwrap().len(), want, "{body}");
        }
    }
}
