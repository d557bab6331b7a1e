//! What the services' answers have in common: which status proves what, where the error code stands, and what may be
//! said of a body (nothing that is in it, but a code of a known shape).
use super::loose::{Loose, Maybe};
use super::setting::OptionalPath;
use super::{CallError, CreateError, Raw, Unreadable};
use crate::core::facts::{Probe, Refusal, RefusalKind};
use crate::http::{Answer, BaseUrl, Client, Method, Reply, Request};
use crate::secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest error code that is repeated in messages, in bytes.
const CODE_BYTES: usize = 40;

/// What a status proves.
enum Proof {
    Accepted,
    Refused(RefusalKind),
    /// Nothing: the request may have taken effect.
    Nothing,
}

fn proof(status: u16) -> Proof {
    match status {
        200..=299 => Proof::Accepted,
        401 | 403 => Proof::Refused(RefusalKind::Login),
        429 => Proof::Refused(RefusalKind::Throttled),
        // The server gave up waiting, or a gateway in its name.
        408 => Proof::Nothing,
        400..=499 => Proof::Refused(RefusalKind::Request),
        _ => Proof::Nothing,
    }
}

/// The outcome of a create. `remedy` says what to do where the login is refused.
pub(super) fn created(reply: Reply, remedy: &str) -> Result<Raw, CreateError> {
    let answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::NotSent(message) => return Err(CreateError::NotSent(message)),
        Reply::Unknown(message) => return Err(CreateError::Unknown(message)),
    };
    match proof(answer.status) {
        Proof::Accepted => Ok(Raw { status: answer.status, body: answer.body }),
        Proof::Refused(why) => Err(CreateError::Refused(refusal(&answer, why, remedy))),
        Proof::Nothing => Err(CreateError::Unknown(seen(&answer))),
    }
}

/// The outcome of any other call: an accepted answer whose body is whole.
pub(super) fn called(reply: Reply, remedy: &str) -> Result<Answer, CallError> {
    let answer = match reply {
        Reply::Answer(answer) => answer,
        Reply::NotSent(message) | Reply::Unknown(message) => return Err(CallError::Unreachable(message)),
    };
    match (proof(answer.status), &answer.broken) {
        (Proof::Accepted, None) => Ok(answer),
        (Proof::Accepted, Some(broken)) => Err(CallError::Unreachable(format!("{}, but {broken}", seen(&answer)))),
        (Proof::Refused(why), _) => Err(CallError::Refused(refusal(&answer, why, remedy))),
        (Proof::Nothing, _) => Err(CallError::Unreachable(seen(&answer))),
    }
}

/// Asks the configured path with a key. `forbidden` is what 403 means, `authorise` adds the key.
pub(super) async fn probe(
    client: &Client,
    base_url: &BaseUrl,
    path: &OptionalPath,
    forbidden: Probe,
    authorise: impl FnOnce(Request) -> Request,
) -> (Probe, String) {
    let Some(path) = &path.0 else {
        return (Probe::Inconclusive, "this provider has no probe; set `probe` to a path".into());
    };
    match base_url.join(path) {
        Ok(url) => {
            let request = Request::new(Method::GET, url).header("accept", "application/json");
            probed(client.send(authorise(request)).await, forbidden)
        }
        Err(error) => (Probe::Inconclusive, error.to_string()),
    }
}

/// What an answer says of the key that authorised it.
fn probed(reply: Reply, forbidden: Probe) -> (Probe, String) {
    match reply {
        Reply::Answer(answer) => {
            let probe = match answer.status {
                200..=299 => Probe::Alive,
                401 => Probe::Dead,
                403 => forbidden,
                _ => Probe::Inconclusive,
            };
            (probe, seen(&answer))
        }
        Reply::NotSent(message) | Reply::Unknown(message) => (Probe::Inconclusive, message),
    }
}

/// An accepted answer that is not as documented.
pub(super) fn odd(answer: &Answer, error: &Unreadable) -> CallError {
    CallError::Unreachable(format!("{}, but {error}", seen(answer)))
}

fn refusal(answer: &Answer, why: RefusalKind, remedy: &str) -> Refusal {
    let message = match why {
        RefusalKind::Login => format!("{}; {remedy}", seen(answer)),
        RefusalKind::Throttled | RefusalKind::Request => seen(answer),
    };
    Refusal { why, retry_after: answer.retry_after, message }
}

fn seen(answer: &Answer) -> String {
    let code = code(&answer.body).map(|it| format!(" {it}")).unwrap_or_default();
    format!("{} answered {}{code}", answer.host, answer.status)
}

/// The service's own error code, in any of the shapes that the documents show:
/// `{"requestError":{"serviceException":{"messageId":…}}}` and its XML twin, `{"errorCode":…}`, `{"code":…}`, and the one
/// fixed sentence of `{"Message":…}`. Free text is never repeated: it may echo what was sent.
pub(super) fn code(body: &Secret) -> Option<String> {
    let text = body.expose_str().ok()?.trim();
    let found = if text.starts_with('<') {
        between(text, "<messageId>", "</messageId>")
            .or_else(|| between(text, "<errorCode>", "</errorCode>"))?
            .to_owned()
    } else {
        code_in(text)?
    };
    let word = found.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_');
    let number = found.len() <= 5 && found.bytes().all(|it| it.is_ascii_digit());
    let letter = found.bytes().next().is_some_and(|it| it.is_ascii_uppercase());
    (found.len() <= CODE_BYTES && (number || word && letter)).then_some(found).filter(|it| !it.is_empty())
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner.trim())
}

/// Where the documents show a code. Everything else of the body is passed over, whatever its size.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ErrorBody {
    request_error: Maybe<RequestError>,
    error_code: Loose,
    code: Loose,
    #[serde(alias = "Message", alias = "MESSAGE")]
    message: Loose,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestError {
    service_exception: Maybe<Exception>,
    policy_exception: Maybe<Exception>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Exception {
    message_id: Loose,
}

fn code_in(text: &str) -> Option<String> {
    let body: ErrorBody = serde_json::from_str(text).ok()?;
    let error = body.request_error.0.unwrap_or_default();
    let exceptions = [error.service_exception, error.policy_exception].into_iter().filter_map(|it| it.0);
    let places = exceptions.map(|it| it.message_id).chain([body.error_code, body.code]);
    if let Some(code) = places.into_iter().find(|it| *it != Loose::Nothing) {
        return match code {
            Loose::Text(it) | Loose::Number(it) => Some(it),
            _ => None,
        };
    }
    let denied = matches!(body.message, Loose::Text(it) if it.starts_with("Authorization has been denied"));
    denied.then(|| "AUTHORIZATION_DENIED".to_owned())
}

/// Reads a body as JSON. The message names the place, never what stands there.
pub(super) fn json<T: DeserializeOwned>(body: &Secret) -> Result<T, Unreadable> {
    let bytes = body.expose();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "the answer is empty or breaks off",
            serde_json::error::Category::Data => "the answer lacks a field, or one has another type than documented",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "the answer is not JSON",
        };
        Unreadable(format!("{what} (line {}, column {})", error.line(), error.column()))
    })
}

/// Reads a body as XML with this root element, in any case.
pub(super) fn xml<T: DeserializeOwned>(body: &Secret, root: &str) -> Result<T, Unreadable> {
    let text = body.expose_str().map_err(|_| Unreadable("the answer is not UTF-8 text".into()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(Unreadable("the answer is empty".into()));
    }
    let mut reader = quick_xml::Reader::from_str(text);
    let found = loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Start(it) | quick_xml::events::Event::Empty(it)) => {
                break it.local_name().as_ref().eq_ignore_ascii_case(root);
            }
            Ok(quick_xml::events::Event::Eof) | Err(_) => break false,
            Ok(_) => {}
        }
    };
    if !found {
        return Err(Unreadable(format!("the answer is not XML with the root element <{root}>")));
    }
    quick_xml::de::from_str(text)
        .map_err(|_| Unreadable(format!("the XML <{root}> breaks off or is not as documented")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, want: Option<&str>) {
        assert_eq!(code(&Secret::from(body.to_owned())).as_deref(), want, "{body}");
    }

    #[test]
    fn every_documented_error_shape_shows_its_code() {
        check(
            r#"{"requestError":{"serviceException":{"messageId":"UNAUTHORIZED","text":"Invalid login"}}}"#,
            Some("UNAUTHORIZED"),
        );
        check(
            r#"{"requestError":{"serviceException":{"messageId":"BAD_REQUEST","variables":[]},"policyException":null}}"#,
            Some("BAD_REQUEST"),
        );
        check(r#"{"errorCode":"E429","description":"Too many","violations":[],"resources":[]}"#, Some("E429"));
        check(r#"{"code":401,"message":"Invalid Credentials"}"#, Some("401"));
        check(r#"{"Message":"Authorization has been denied for this request."}"#, Some("AUTHORIZATION_DENIED"));
        check(
            "<ApiException><requestError><serviceException><messageId>FORBIDDEN</messageId></serviceException></requestError></ApiException>",
            Some("FORBIDDEN"),
        );
    }

    #[test]
    fn what_is_no_code_is_not_repeated() {
        for body in [
            "",
            "<html>login hunter2</html>",
            r#"{"code":"hunter2"}"#,
            r#"{"code":{"a":1}}"#,
            r#"{"code":""}"#,
            r#"{"message":"login hunter2 is unknown"}"#,
            r#"{"errorCode":"7bd7d59cfe90e4d32b1d2f20d39c86df"}"#,
            "[]",
            "\"x\"",
            "<messageId>a b</messageId>",
        ] {
            check(body, None);
        }
    }
}
