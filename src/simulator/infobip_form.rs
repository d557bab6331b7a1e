//! How Infobip's key is written: in JSON and XML, and in the date forms that its documents show.
use super::truth::Key;
use super::wire::{Request, Response};
use crate::core::time::Timestamp;
use chrono::{DateTime, FixedOffset, NaiveDateTime, Utc};
use quick_xml::escape::escape;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What stands where a secret is not shown.
const MASK: &str = "<secret api key>";

/// JSON or XML.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Json,
    Xml,
}

impl Form {
    /// The form of the answer: what `Accept` names, else that of the request.
    pub(crate) fn wanted(request: &Request) -> Self {
        let accept = request.header("accept").unwrap_or("*/*");
        match (accept.contains("json"), accept.contains("xml")) {
            (true, _) => Self::Json,
            (false, true) => Self::Xml,
            (false, false) => Self::sent(request),
        }
    }

    fn sent(request: &Request) -> Self {
        let sent = request.header("content-type").unwrap_or("application/json");
        if sent.contains("xml") { Self::Xml } else { Self::Json }
    }
}

/// How dates are written. The service is not of one mind: an answer to a create repeats the request's offset without a
/// colon, XML is in UTC, a read has a colon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dates {
    Offset(FixedOffset),
    Utc,
    Colon,
}

impl Dates {
    fn write(self, at: Timestamp) -> Option<String> {
        let at = at.datetime()?;
        Some(match self {
            Self::Offset(offset) => at.with_timezone(&offset).format("%Y-%m-%dT%H:%M:%S%.3f%z").to_string(),
            Self::Utc => at.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string(),
            Self::Colon => at.format("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
        })
    }
}

/// What a request asks for; nothing that it doesn't name is changed.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: Option<String>,
    pub(crate) allowed_ips: Option<Vec<String>>,
    pub(crate) permissions: Option<Vec<String>>,
    pub(crate) valid_from: Option<Timestamp>,
    pub(crate) valid_to: Option<Timestamp>,
    pub(crate) enabled: Option<bool>,
    pub(crate) dates: Dates,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonWish {
    name: Option<String>,
    #[serde(rename = "allowedIPs")]
    allowed_ips: Option<Vec<String>>,
    permissions: Option<Vec<String>>,
    valid_from: Option<String>,
    valid_to: Option<String>,
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct XmlWish {
    name: Option<String>,
    #[serde(rename = "allowedIPs")]
    allowed_ips: Option<XmlIps>,
    permissions: Option<XmlPermissions>,
    valid_from: Option<String>,
    valid_to: Option<String>,
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct XmlIps {
    #[serde(rename = "allowedIP", default)]
    ips: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct XmlPermissions {
    #[serde(rename = "permission", alias = "permissions", default)]
    permissions: Vec<String>,
}

/// Reads a request's body by its content type; `None` where it is not what the document shows.
pub(crate) fn read(request: &Request) -> Option<Wish> {
    let wish = match Form::sent(request) {
        Form::Json => serde_json::from_slice::<JsonWish>(&request.body).ok()?,
        Form::Xml => read_xml(std::str::from_utf8(&request.body).ok()?)?,
    };
    let mut dates = Dates::Utc;
    let mut date = |text: Option<String>| match text {
        None => Some(None),
        Some(text) => read_date(&text).map(|(at, offset)| {
            dates = Dates::Offset(offset);
            Some(at)
        }),
    };
    let (valid_from, valid_to) = (date(wish.valid_from)?, date(wish.valid_to)?);
    let JsonWish { name, allowed_ips, permissions, enabled, .. } = wish;
    Some(Wish { name, allowed_ips, permissions, valid_from, valid_to, enabled, dates })
}

fn read_xml(text: &str) -> Option<JsonWish> {
    let text = text.trim();
    let text = if text.starts_with("<?xml") { text.split_once("?>")?.1.trim_start() } else { text };
    // The request's root is spelled with a capital, the answer's without.
    if !text.starts_with("<ApiKey>") && !text.starts_with("<ApiKey ") {
        return None;
    }
    let it: XmlWish = quick_xml::de::from_str(text).ok()?;
    Some(JsonWish {
        name: it.name,
        allowed_ips: it.allowed_ips.map(|it| it.ips),
        permissions: it.permissions.map(|it| it.permissions),
        valid_from: it.valid_from,
        valid_to: it.valid_to,
        enabled: it.enabled,
    })
}

fn read_date(text: &str) -> Option<(Timestamp, FixedOffset)> {
    let text = text.strip_suffix('Z').map_or_else(|| text.to_owned(), |it| format!("{it}+0000"));
    if let Ok(at) = DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Some((at.with_timezone(&Utc).into(), *at.offset()));
    }
    let naive = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some((naive.and_utc().into(), FixedOffset::east_opt(0)?))
}

/// An answer with one key.
pub(crate) fn one(status: u16, key: &Key, account: &str, form: Form, dates: Dates, masked: bool) -> Response {
    match form {
        Form::Json => Response::json(status, &json_key(key, account, dates, masked)),
        Form::Xml => {
            let body = format!("<?xml version='1.0' encoding='UTF-8'?>\n{}", xml_key(key, account, masked));
            Response::new(status, "application/xml;charset=UTF-8", body)
        }
    }
}

/// An answer with a list of keys.
pub(crate) fn many(keys: &[&Key], account: &str, form: Form, masked: bool) -> Response {
    match form {
        Form::Json => {
            let keys: Vec<Value> = keys.iter().map(|it| json_key(it, account, Dates::Colon, masked)).collect();
            Response::json(200, &json!({ "apiKeys": keys }))
        }
        Form::Xml => {
            let keys: String = keys.iter().map(|it| xml_key(it, account, masked)).collect();
            let body = format!("<?xml version='1.0' encoding='UTF-8'?>\n<apiKeys>{keys}</apiKeys>");
            Response::new(200, "application/xml;charset=UTF-8", body)
        }
    }
}

fn json_key(key: &Key, account: &str, dates: Dates, masked: bool) -> Value {
    let mut all = Map::new();
    all.insert("name".into(), json!(key.name));
    all.insert("key".into(), json!(key.id));
    all.insert("publicApiKey".into(), json!(if masked { MASK } else { &key.secret }));
    all.insert("accountKey".into(), json!(account));
    if !key.allowed_ips.is_empty() {
        all.insert("allowedIPs".into(), json!(key.allowed_ips));
    }
    for (name, at) in [("validFrom", key.valid_from), ("validTo", key.valid_to)] {
        if let Some(text) = at.and_then(|it| dates.write(it)) {
            all.insert(name.into(), json!(text));
        }
    }
    all.insert("permissions".into(), json!(key.permissions));
    all.insert("enabled".into(), json!(key.enabled));
    Value::Object(all)
}

fn xml_key(key: &Key, account: &str, masked: bool) -> String {
    let element = |name: &str, text: &str| format!("<{name}>{}</{name}>", escape(text));
    let mut all = element("key", &key.id);
    all += &element("publicApiKey", if masked { MASK } else { &key.secret });
    all += &element("accountKey", account);
    all += &element("name", key.name.as_deref().unwrap_or_default());
    if !key.allowed_ips.is_empty() {
        let ips: String = key.allowed_ips.iter().map(|it| element("allowedIP", it)).collect();
        all += &format!("<allowedIPs>{ips}</allowedIPs>");
    }
    for (name, at) in [("validFrom", key.valid_from), ("validTo", key.valid_to)] {
        all += &at.and_then(|it| Dates::Utc.write(it)).map(|it| element(name, &it)).unwrap_or_default();
    }
    all += &element("enabled", if key.enabled { "true" } else { "false" });
    format!("<apiKey>{all}</apiKey>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_s_dates_are_one_instant_in_every_form() {
        let (at, offset) = read_date("2015-02-12T09:58:20.323+0100").unwrap();
        for same in ["2015-02-12T08:58:20.323+0000", "2015-02-12T08:58:20.323+00:00", "2015-02-12T08:58:20.323"] {
            assert_eq!(read_date(same).unwrap().0, at, "{same}");
        }
        assert_eq!(Dates::Offset(offset).write(at).unwrap(), "2015-02-12T09:58:20.323+0100");
        assert_eq!(Dates::Utc.write(at).unwrap(), "2015-02-12T08:58:20.323+0000");
        assert_eq!(Dates::Colon.write(at).unwrap(), "2015-02-12T08:58:20.323+00:00");
    }
}
