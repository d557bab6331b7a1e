//! Single-Invoice.co: `POST /v2.0/account/key`, answered with the account and all its keys, the new one unmarked.
use super::fault::{Call, Chance};
use super::server::Ask;
use super::truth::{Desk, Key, Maker};
use super::wire::{Request, Response};
use crate::core::time::Timestamp;
use serde_json::json;

/// The path before every call's own.
pub(crate) const PREFIX: &str = "/v2.0";
/// A read that looks harmless and free.
pub(crate) const PROBE: &str = "/lookups/countries";
/// The optional list call, see `Behaviour::list_call`.
pub(crate) const LIST: &str = "/account";

fn path(request: &Request) -> Option<&str> {
    [PREFIX, "/v2"].iter().find_map(|it| request.path.strip_prefix(it)).filter(|it| it.starts_with('/'))
}

pub(crate) fn kind_of_call(request: &Request) -> Call {
    match (request.method.as_str(), path(request)) {
        ("POST", Some("/account/key")) => Call::Create,
        ("GET", Some(LIST)) => Call::List,
        ("GET", Some(PROBE)) => Call::Probe,
        _ => Call::Other,
    }
}

pub(crate) fn answer(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    // The service knows the header only in lower case, which HTTP does not ask for.
    let package = ask.request.header_spelled("apikey").and_then(|it| desk.accepts(it, ask.now));
    let package = package.map(|it| it.package.clone().unwrap_or_default());
    let manages = package.as_deref() == Some("Account");
    match kind_of_call(ask.request) {
        Call::Probe if package.is_some() && desk.behaviour.probe_forbidden => message(403, "Forbidden"),
        Call::Probe if package.is_some() => Response::json(200, &json!([{"Code": "GB", "Name": "United Kingdom"}])),
        Call::Create if manages => create(desk, ask),
        Call::List if manages && desk.behaviour.list_call => account(desk, ask.keep),
        Call::Other => message(404, "No HTTP resource was found that matches the request URI."),
        Call::List if manages => message(404, "No HTTP resource was found that matches the request URI."),
        _ => message(401, "Authorization has been denied for this request."),
    }
}

fn create(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    let body = ask.request.json().unwrap_or_default();
    let package = match body.get("package").and_then(|it| it.as_str()) {
        Some(it @ ("Account" | "Coverage")) => it.to_owned(),
        _ => return message(400, "The request is invalid."),
    };
    if desk.keys.len() >= super::truth::KEYS {
        return message(500, "An error has occurred.");
    }
    issue(desk, &package, Maker::Call, ask.now);
    account(desk, None)
}

/// Issues a key, as the service and its portal do.
pub(crate) fn issue<'a>(desk: &'a mut Desk, package: &str, made_by: Maker, now: Timestamp) -> &'a mut Key {
    let secret = secret(&mut desk.chance);
    desk.issue(secret, Some(package), made_by, now)
}

/// 60 or 61 letters and digits, as in the document's example.
pub(crate) fn secret(chance: &mut Chance) -> String {
    let length = 60 + usize::from(chance.below(2) == 1);
    chance.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", length)
}

fn account(desk: &Desk, keep: Option<usize>) -> Response {
    let keys = desk.keys.iter().filter(|it| it.enabled).map(|it| it.secret.as_str());
    let keys: Vec<&str> = keys.take(keep.unwrap_or(usize::MAX)).collect();
    let body = json!({
        "Id": 4_817_517,
        "Email": "test@example.com",
        "ApiKeys": keys,
        "FirstName": "Test",
        "LastName": "Example",
        "Company": "Example.com",
        "Phone": "+44-7500-000-000",
        "Address": "123 Test Street, London, UK",
        "SIREN": null,
        "Roles": "User",
        "Active": true,
    });
    Response::json(200, &body)
}

pub(crate) fn message(status: u16, text: &str) -> Response {
    Response::json(status, &json!({ "Message": text }))
}
