//! Mobivate: `/auth/createkey` (which kills the key before it), `/auth/getkey`, `/auth/test`.
use super::fault::{Call, Chance};
use super::server::Ask;
use super::truth::{Desk, Maker};
use super::wire::{Request, Response};
use serde_json::json;

/// The login that creates and reads the key.
pub(crate) const USERNAME: &str = "first.last@example.com";
/// With characters that every kind of escaping changes.
pub(crate) const PASSWORD: &str = "m0b \"v4te\"+ß/%2B";

pub(crate) fn kind_of_call(request: &Request) -> Call {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/auth/createkey") => Call::Create,
        ("POST", "/auth/getkey") => Call::Read,
        ("GET", "/auth/test") => Call::Probe,
        _ => Call::Other,
    }
}

pub(crate) fn answer(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    match kind_of_call(ask.request) {
        Call::Create => login(ask).map_or_else(|refused| refused, |()| create(desk, ask)),
        Call::Read => login(ask).map_or_else(|refused| refused, |()| current(desk)),
        Call::Probe => test(desk, ask),
        _ => error(404, "Not Found"),
    }
}

fn login(ask: &Ask<'_>) -> Result<(), Response> {
    let body = ask.request.json().ok_or_else(|| error(400, "Bad Request"))?;
    let text = |name: &str| body.get(name).and_then(|it| it.as_str()).ok_or_else(|| error(400, "Bad Request"));
    let right = text("username")? == USERNAME && text("password")? == PASSWORD;
    if right { Ok(()) } else { Err(error(401, "Invalid Credentials")) }
}

fn create(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    if desk.keys.len() >= super::truth::KEYS {
        return error(500, "Internal Server Error");
    }
    let secret = secret(&mut desk.chance);
    let key = desk.issue(secret, None, Maker::Call, ask.now);
    Response::json(200, &json!({ "apiKey": key.secret }))
}

/// A UUID in form.
pub(crate) fn secret(chance: &mut Chance) -> String {
    let mut hex = |length| chance.text(b"0123456789abcdef", length);
    format!("{}-{}-{}-{}-{}", hex(8), hex(4), hex(4), hex(4), hex(12))
}

/// The account's one key: the newest, even where it has expired.
fn current(desk: &Desk) -> Response {
    match desk.keys.iter().rev().find(|it| it.enabled) {
        Some(key) => Response::json(200, &json!({ "apiKey": key.secret })),
        None => error(404, "No API Key"),
    }
}

fn test(desk: &Desk, ask: &Ask<'_>) -> Response {
    match ask.request.authorization("Bearer").and_then(|it| desk.accepts(it, ask.now)) {
        None => error(401, "Invalid Credentials"),
        Some(_) if desk.behaviour.probe_forbidden => error(403, "Forbidden"),
        Some(_) => Response::json(200, &json!({"message": "API Key is valid"})),
    }
}

pub(crate) fn error(code: u16, message: &str) -> Response {
    Response::json(code, &json!({"code": code, "message": message}))
}
