//! The form in which a file holds a key: written by [`Form::render`], read back by [`Form::read`].
//!
//! - `raw`: the secret's bytes and nothing else, not even a line end.
//! - `env`: `NAME=value`, see [`super::env`]; NAME is `variable`.
//! - `json`: one line, `{"key":"billing-sms","version":4,"secret":"…","valid_to":"2027-01-01T00:00:00Z"}`; `valid_to` is
//!   null where it is unknown. Fields may be added to it.
//! - `template`: what a minijinja template makes of `secret`, `key`, `version` and `valid_to` (empty where unknown). It is
//!   read at each use. A variable that there is not is an error.
use super::env;
use super::{DeliveryError, Parcel};
use crate::core::facts::Content;
use crate::core::names::{Fingerprint, KeyName};
use crate::core::record::VersionNo;
use crate::core::time::Timestamp;
use crate::secret::{SECRET_BYTES, Secret};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, context};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use std::collections::BTreeMap;

/// The most bytes a file may have that holds a key.
pub(super) const CONTENT_BYTES: u64 = SECRET_BYTES;
/// A known secret that is at least so long is looked for in what a template made once.
const SEARCHED_BYTES: usize = 8;

/// A form with all that it needs.
#[derive(Debug)]
pub(super) enum Form {
    /// The bytes.
    Raw,
    /// An assignment to this variable.
    Env(String),
    /// An object.
    Json,
    /// What this source makes of it.
    Template(String),
}

/// What a file's content comes to.
pub(super) enum Read {
    /// It holds this secret; and whether it does so exactly in our form.
    Secret(Secret, bool),
    /// It is sound, but not ours: somebody else's file.
    Foreign,
    /// It is broken.
    Broken,
}

impl Form {
    /// The file's content for a parcel.
    pub(super) fn render(&self, parcel: &Parcel) -> Result<Secret, DeliveryError> {
        let secret = &parcel.secret;
        let content = match self {
            Self::Raw => secret.clone(),
            Self::Env(variable) => env::write(variable, text(secret)?).map_err(|why| DeliveryError(why.into()))?,
            Self::Json => json(&Document {
                key: parcel.name.clone(),
                version: parcel.version,
                secret: text(secret)?,
                valid_to: parcel.valid_to.map(|it| it.to_string()),
            })?,
            Self::Template(source) => {
                template(source, text(secret)?, parcel.name.as_str(), parcel.version, parcel.valid_to)?
            }
        };
        if content.expose().len() as u64 > CONTENT_BYTES {
            return Err(DeliveryError(format!("the file would have more than {CONTENT_BYTES} bytes")));
        }
        Ok(content)
    }

    /// Says whether a template can be used at all, without a secret.
    pub(super) fn check(&self) -> Result<(), DeliveryError> {
        match self {
            Self::Template(source) => template(source, "secret", "key", 1, None).map(drop),
            Self::Raw | Self::Env(_) | Self::Json => Ok(()),
        }
    }

    /// Says what a file holds, of the versions that we know or otherwise. Foreign content counts as a secret that nobody
    /// knows, so that it is never taken for damage and overwritten to heal it.
    pub(super) fn recognise(&self, content: &[u8], known: &[Parcel]) -> Content {
        let ours = known.iter().find(|it| self.render(it).is_ok_and(|rendered| rendered.expose() == content));
        if let Some(parcel) = ours {
            return Content::Holds(parcel.secret.fingerprint());
        }
        match self.read(content) {
            Read::Secret(secret, exact) => {
                let found = secret.fingerprint();
                // Were it exactly what we would write for a known version, it would have been recognised above.
                let known = known.iter().any(|it| it.secret.fingerprint() == found);
                if exact && !known { Content::Holds(found) } else { Content::Askew(found) }
            }
            Read::Foreign => Content::Askew(mentioned(content, known).unwrap_or_else(|| Fingerprint::of(content))),
            Read::Broken => Content::Damaged,
        }
    }

    /// What else stands in a file, by name, that would be lost if it were replaced: other variables, other fields.
    pub(super) fn others(&self, content: &[u8]) -> Vec<String> {
        let mut others: Vec<String> = match self {
            Self::Env(_) => {
                let all = std::str::from_utf8(content).ok().and_then(env::read).unwrap_or_default();
                all.iter().map(|it| it.0.to_owned()).collect()
            }
            Self::Json => {
                let all = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(content);
                all.unwrap_or_default().into_keys().collect()
            }
            Self::Raw | Self::Template(_) => Vec::new(),
        };
        others.retain(|it| match self {
            Self::Env(variable) => it != variable,
            _ => !["key", "version", "secret", "valid_to"].contains(&it.as_str()),
        });
        others
    }

    /// Takes the secret out of a file's content.
    pub(super) fn read(&self, content: &[u8]) -> Read {
        match self {
            Self::Raw => {
                let secret = Secret::new(content.to_vec()).without_newline();
                let exact = secret.expose().len() == content.len();
                Read::Secret(secret, exact)
            }
            Self::Env(variable) => read_env(variable, content),
            Self::Json => read_json(content),
            Self::Template(_) => Read::Foreign,
        }
    }
}

pub(super) fn text(secret: &Secret) -> Result<&str, DeliveryError> {
    secret.expose_str().map_err(|error| DeliveryError(format!("{error}; bring it to a file with format = \"raw\"")))
}

/// The newest known secret that stands somewhere in the content, as it does when the template was changed since.
fn mentioned(content: &[u8], known: &[Parcel]) -> Option<Fingerprint> {
    let stands = |secret: &[u8]| secret.len() >= SEARCHED_BYTES && content.windows(secret.len()).any(|it| it == secret);
    let known = known.iter().filter(|it| stands(it.secret.expose()));
    known.max_by_key(|it| it.version).map(|it| it.secret.fingerprint())
}

fn read_env(variable: &str, content: &[u8]) -> Read {
    let Ok(text) = std::str::from_utf8(content) else { return Read::Broken };
    // Of several assignments, the last counts.
    let value = env::read(text).map(|all| (all.is_empty(), all.into_iter().rfind(|it| it.0 == variable)));
    match value {
        Some((_, Some((_, secret)))) if !secret.is_empty() => {
            let again = secret.expose_str().ok().and_then(|it| env::write(variable, it).ok());
            let exact = again.is_some_and(|it| it.expose() == content);
            Read::Secret(secret, exact)
        }
        Some((false, None)) => Read::Foreign,
        _ => Read::Broken,
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    key: KeyName,
    version: VersionNo,
    secret: T,
    valid_to: Option<String>,
}

pub(super) fn json(document: &impl Serialize) -> Result<Secret, DeliveryError> {
    let mut bytes =
        serde_json::to_vec(document).map_err(|_| DeliveryError("the key can't be written as JSON".into()))?;
    bytes.push(b'\n');
    Ok(Secret::new(bytes))
}

fn read_json(content: &[u8]) -> Read {
    #[derive(Deserialize)]
    struct Any {
        secret: String,
    }
    match serde_json::from_slice::<Any>(content) {
        Ok(any) if any.secret.is_empty() => Read::Foreign,
        Ok(any) => {
            let again = serde_json::from_slice::<Document<String>>(content).ok().and_then(|it| json(&it).ok());
            Read::Secret(Secret::from(any.secret), again.is_some_and(|it| it.expose() == content))
        }
        Err(error) if error.classify() == Category::Data => Read::Foreign,
        Err(_) => Read::Broken,
    }
}

fn template(
    source: &str,
    secret: &str,
    key: &str,
    version: VersionNo,
    valid_to: Option<Timestamp>,
) -> Result<Secret, DeliveryError> {
    // Only the line and the kind of an error are told: its details could quote a value.
    let failed = |error: minijinja::Error| {
        DeliveryError(format!("the template fails in line {}: {}", error.line().unwrap_or(1), error.kind()))
    };
    let mut environment = Environment::new();
    environment.set_debug(false);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(failed)?);
    environment.add_filter("tojson", quoted);
    let valid_to = valid_to.map(|it| it.to_string()).unwrap_or_default();
    let template = environment.template_from_str(source).map_err(failed)?;
    template.render(context! { secret, key, version, valid_to }).map(Secret::from).map_err(failed)
}

/// Makes a JSON string of a value: what a template needs most to wrap a secret safely.
fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Veil;
    use std::collections::BTreeSet;

    fn parcel(version: VersionNo, secret: &str) -> Parcel {
        let secret = Secret::from(secret.to_owned());
        let valid_to = Some(Timestamp(1_800_000_000_000));
        let obtained_at = Timestamp(0);
        let name = "billing-sms".parse().unwrap();
        Parcel {
            name,
            provider: "sms".into(),
            version,
            secret,
            veil: Veil::default(),
            done: BTreeSet::new(),
            valid_to,
            obtained_at,
        }
    }

    fn forms() -> [Form; 4] {
        let template = "[sms]\nkey = {{ secret|tojson }} # {{ key }} {{ version }} {{ valid_to }}\n";
        [Form::Raw, Form::Env("SMS_KEY".into()), Form::Json, Form::Template(template.into())]
    }

    #[test]
    fn what_is_written_is_recognised_whatever_is_in_the_secret() {
        for secret in ["abc", "it's \"so\" $HOME `id` \\", "schlüssel\tß🔑", " spaces ", "a=b#c;d", "'", "~/x"] {
            for form in forms() {
                let parcel = parcel(4, secret);
                let content = form.render(&parcel).unwrap();
                let want = Content::Holds(parcel.secret.fingerprint());
                assert_eq!(form.recognise(content.expose(), std::slice::from_ref(&parcel)), want, "{form:?} {secret}");
                if !matches!(form, Form::Template(_)) {
                    assert_eq!(form.recognise(content.expose(), &[]), want, "{form:?} {secret}, unknown to us");
                }
            }
        }
    }

    #[test]
    fn a_known_secret_in_another_wrapping_is_askew() {
        let known = parcel(4, "secret-of-four");
        let askew = Content::Askew(known.secret.fingerprint());
        for (form, content) in forms().iter().zip([
            "secret-of-four\n",
            "# by hand\nSMS_KEY=\"secret-of-four\"\n",
            "{\"secret\": \"secret-of-four\"}",
            "key: secret-of-four\n",
        ]) {
            assert_eq!(form.recognise(content.as_bytes(), &[parcel(3, "another"), known.clone()]), askew, "{form:?}");
        }
        let older = Form::Json.render(&parcel(3, "secret-of-four")).unwrap();
        assert_eq!(Form::Json.recognise(older.expose(), &[known]), askew, "the version in it is another");
    }

    #[test]
    fn somebody_elses_file_is_foreign_and_only_a_broken_one_is_damaged() {
        let [_, env, json, template] = forms();
        for (form, content) in [(&env, "OTHER=1\n"), (&json, "{\"port\": 80}"), (&json, "[1]"), (&template, "port: 80")]
        {
            let want = Content::Askew(Fingerprint::of(content.as_bytes()));
            assert_eq!(form.recognise(content.as_bytes(), &[parcel(1, "secret-of-one")]), want, "{content}");
        }
        for (form, content) in
            [(&env, "SMS_KEY='half"), (&env, "SMS_KEY=\n"), (&json, "{\"secret\": \"ha"), (&json, "\0\0")]
        {
            assert_eq!(form.recognise(content.as_bytes(), &[]), Content::Damaged, "{content}");
        }
    }

    #[test]
    fn a_secret_that_a_form_cannot_carry_is_refused_and_not_shown() {
        let lines = parcel(1, "two\nlines");
        let error = Form::Env("A".into()).render(&lines).unwrap_err().to_string();
        assert!(error.contains("line end") && !error.contains("two"), "{error}");
        let bytes = Parcel { secret: Secret::new(vec![0xff, 0xfe]), ..lines };
        for form in &forms()[1..] {
            assert!(form.render(&bytes).unwrap_err().to_string().contains("UTF-8"));
        }
        assert!(Form::Raw.render(&bytes).is_ok());
    }

    #[test]
    fn a_template_with_a_variable_that_there_is_not_fails_by_its_line_and_without_the_secret() {
        for source in ["a\n{{ sekret }}", "a\n{{ secret + 1 }}", "a\n{{ secret.part.part }}", "a\n{% if %}"] {
            let form = Form::Template(source.into());
            let error = form.render(&parcel(1, "hunter2hunter2")).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
            assert!(form.check().is_err());
        }
    }
}
