//! Infobip 2FA: `POST /2fa/1/api-key`, answered with a bare JSON string. What becomes of older keys, no document says:
//! see `Behaviour::create_revokes`.
use super::fault::Call;
use super::infobip::{PASSWORD, USERNAME, error, secret};
use super::server::Ask;
use super::truth::{Desk, Maker};
use super::wire::{Request, Response};
use serde_json::json;

/// A read that a 2FA key may be used for.
pub(crate) const PROBE: &str = "/2fa/2/applications";

pub(crate) fn kind_of_call(request: &Request) -> Call {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/2fa/1/api-key") => Call::Create,
        ("GET", PROBE | "/account/1/balance") => Call::Probe,
        _ => Call::Other,
    }
}

pub(crate) fn answer(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    match kind_of_call(ask.request) {
        Call::Create => create(desk, ask),
        Call::Probe => probe(desk, ask),
        _ => error(404, false, false),
    }
}

fn create(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    if !ask.request.is_login(USERNAME, PASSWORD) {
        return error(401, false, false);
    }
    if desk.keys.len() >= super::truth::KEYS {
        return error(500, false, false);
    }
    let secret = secret(&mut desk.chance);
    let key = desk.issue(secret, None, Maker::Call, ask.now);
    Response::json(200, &json!(key.secret))
}

fn probe(desk: &Desk, ask: &Ask<'_>) -> Response {
    match ask.request.authorization("App").and_then(|it| desk.accepts(it, ask.now)) {
        None => error(401, false, false),
        // A 2FA key may not read the balance.
        Some(_) if desk.behaviour.probe_forbidden || ask.request.path != PROBE => error(403, false, false),
        Some(_) => Response::json(200, &json!([])),
    }
}
