//! Infobip, account settings v1: `/settings/1/accounts/{accountKey}/api-keys`, in JSON and XML, and the balance as probe.
use super::fault::{Call, Chance};
use super::infobip_form::{self, Dates, Form, Wish};
use super::server::Ask;
use super::truth::{Desk, Key, Maker};
use super::wire::{Request, Response};
use serde_json::json;
use std::time::Duration;

/// Who may manage keys.
pub(crate) const USERNAME: &str = "acme";
/// With characters that every kind of escaping changes, so that a leak in any form is told from an accident.
pub(crate) const PASSWORD: &str = "inf0bip \"p4ss\"+wörd/%7E";
/// The account's own key; `_` stands for it.
pub(crate) const ACCOUNT: &str = "8F0792F86035A9F4290821F1EE6BC06A";
/// How many keys a list shows that doesn't say how many it wants.
const LIMIT: usize = 40;
/// The period of the create limit.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

enum Place<'a> {
    Keys,
    Key(&'a str),
    Account,
    Balance,
    Unknown,
}

fn place(request: &Request) -> (Place<'_>, bool) {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let ours = |account: &str| account == "_" || account == ACCOUNT;
    match parts.as_slice() {
        ["settings", "1", "accounts", account, "api-keys"] => (Place::Keys, ours(account)),
        ["settings", "1", "accounts", account, "api-keys", id] => (Place::Key(id), ours(account)),
        ["settings", "1", "accounts", account] => (Place::Account, ours(account)),
        ["account", "1", "balance"] => (Place::Balance, true),
        _ => (Place::Unknown, true),
    }
}

pub(crate) fn kind_of_call(request: &Request) -> Call {
    match (request.method.as_str(), place(request).0) {
        ("POST", Place::Keys) => Call::Create,
        ("GET", Place::Keys) => Call::List,
        ("GET", Place::Key(_)) => Call::Read,
        ("PUT", Place::Key(_)) => Call::Revoke,
        ("GET", Place::Balance) => Call::Probe,
        _ => Call::Other,
    }
}

pub(crate) fn answer(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    let request = ask.request;
    let form = Form::wanted(request);
    let refuse = |desk: &Desk, status| error(status, desk.behaviour.new_errors, form == Form::Xml);
    let (place, known_account) = place(request);
    if let Place::Balance = place {
        return balance(desk, ask);
    }
    // A key can't manage keys: only the user's own login can.
    if !request.is_login(USERNAME, PASSWORD) {
        return refuse(desk, 401);
    }
    if !known_account {
        return refuse(desk, 404);
    }
    let refused = match (request.method.as_str(), place) {
        ("POST", Place::Keys) => create(desk, ask, form),
        ("GET", Place::Keys) => Ok(list(desk, ask, form)),
        ("GET", Place::Key(id)) => read(desk, id, form),
        ("PUT", Place::Key(id)) => change(desk, ask, id, form),
        ("PUT", Place::Account) => change_account(desk, ask),
        _ => Err(404),
    };
    refused.unwrap_or_else(|status| refuse(desk, status))
}

fn create(desk: &mut Desk, ask: &Ask<'_>, form: Form) -> Result<Response, u16> {
    let wish = infobip_form::read(ask.request).ok_or(400_u16)?;
    let name = wish.name.clone().filter(|it| !it.is_empty()).ok_or(400_u16)?;
    let today = desk.keys.iter().filter(|it| it.made_by == Maker::Call && ask.now.since(it.created_at) < DAY).count();
    let limit = desk.behaviour.creates_per_day as usize;
    if limit > 0 && today >= limit {
        return Err(429);
    }
    if desk.keys.len() >= super::truth::KEYS {
        return Err(500);
    }
    let dates = if form == Form::Xml { Dates::Utc } else { wish.dates };
    let status = desk.behaviour.create_status;
    let key = issue(desk, &name, Maker::Call, ask.now);
    apply(key, &wish, ask.now);
    Ok(infobip_form::one(status, key, ACCOUNT, form, dates, false))
}

/// Issues a key, as the service and its portal do.
pub(crate) fn issue<'a>(
    desk: &'a mut Desk,
    name: &str,
    made_by: Maker,
    now: crate::core::time::Timestamp,
) -> &'a mut Key {
    let secret = secret(&mut desk.chance);
    let key = desk.issue(secret, None, made_by, now);
    key.name = Some(name.to_owned());
    key.permissions = vec!["ALL".to_owned()];
    key.valid_from = Some(now);
    key
}

/// 32 hex digits, a hyphen and a UUID: 69 characters.
pub(crate) fn secret(chance: &mut Chance) -> String {
    let mut hex = |length| chance.text(b"0123456789abcdef", length);
    format!("{}-{}-{}-{}-{}-{}", hex(32), hex(8), hex(4), hex(4), hex(4), hex(12))
}

fn apply(key: &mut Key, wish: &Wish, now: crate::core::time::Timestamp) {
    if let Some(name) = &wish.name {
        key.name = Some(name.clone());
    }
    if let Some(ips) = &wish.allowed_ips {
        key.allowed_ips.clone_from(ips);
    }
    if let Some(permissions) = &wish.permissions {
        key.permissions.clone_from(permissions);
    }
    key.valid_from = wish.valid_from.or(key.valid_from);
    key.valid_to = wish.valid_to.or(key.valid_to);
    match wish.enabled {
        Some(true) => (key.enabled, key.revoked_at) = (true, None),
        Some(false) => key.disable(now),
        None => {}
    }
}

fn list(desk: &Desk, ask: &Ask<'_>, form: Form) -> Response {
    let name = ask.request.parameter("name");
    let enabled = ask.request.parameter("enabled").map(|it| it == "true");
    let limit = ask.request.parameter("limit").and_then(|it| it.parse().ok()).unwrap_or(LIMIT);
    let named = |key: &Key| match (&name, &key.name) {
        (None, _) => true,
        (Some(want), Some(has)) if desk.behaviour.name_contains => has.contains(want),
        (Some(want), has) => has.as_ref() == Some(want),
    };
    let found = desk.keys.iter().filter(|it| named(it) && enabled.is_none_or(|want| it.enabled == want));
    let found: Vec<&Key> = found.take(ask.keep.unwrap_or(limit).min(limit)).collect();
    infobip_form::many(&found, ACCOUNT, form, desk.behaviour.mask_secrets)
}

fn read(desk: &Desk, id: &str, form: Form) -> Result<Response, u16> {
    let key = desk.keys.iter().find(|it| it.id == id).ok_or(404_u16)?;
    Ok(infobip_form::one(200, key, ACCOUNT, form, Dates::Colon, desk.behaviour.mask_secrets))
}

fn change(desk: &mut Desk, ask: &Ask<'_>, id: &str, form: Form) -> Result<Response, u16> {
    let wish = infobip_form::read(ask.request).ok_or(400_u16)?;
    let masked = desk.behaviour.mask_secrets;
    let key = desk.keys.iter_mut().find(|it| it.id == id).ok_or(404_u16)?;
    apply(key, &wish, ask.now);
    Ok(infobip_form::one(200, key, ACCOUNT, form, Dates::Colon, masked))
}

/// One path segment short of a key stands the account: `enabled:false` sent here by mistake shuts all of it.
fn change_account(desk: &mut Desk, ask: &Ask<'_>) -> Result<Response, u16> {
    let wish = infobip_form::read(ask.request).ok_or(400_u16)?;
    desk.account_enabled = wish.enabled.unwrap_or(desk.account_enabled);
    Ok(Response::json(200, &json!({"key": ACCOUNT, "enabled": desk.account_enabled})))
}

fn balance(desk: &Desk, ask: &Ask<'_>) -> Response {
    let key = ask.request.authorization("App").and_then(|it| desk.accepts(it, ask.now));
    match key {
        None => error(401, false, false),
        Some(key) if desk.behaviour.probe_forbidden || !key.permissions.iter().any(|it| it == "ALL") => {
            error(403, false, false)
        }
        Some(_) => Response::json(200, &json!({"balance": 47.79, "currency": "EUR"})),
    }
}

/// An error in the newer form, or in the older one in JSON or XML.
pub(crate) fn error(status: u16, new_form: bool, xml: bool) -> Response {
    let (id, text) = match status {
        400 => ("BAD_REQUEST", "Bad request"),
        401 => ("UNAUTHORIZED", "Invalid login details"),
        403 => ("FORBIDDEN", "Forbidden"),
        404 => ("NOT_FOUND", "Not found"),
        429 => ("TOO_MANY_REQUESTS", "Too many requests"),
        _ => ("GENERAL_ERROR", "Something went wrong"),
    };
    if xml {
        let inner = format!("<messageId>{id}</messageId><text>{text}</text>");
        let body = format!(
            "<ApiException><requestError><serviceException>{inner}</serviceException></requestError></ApiException>"
        );
        return Response::new(status, "application/xml", body);
    }
    let old = json!({"requestError": {"serviceException": {"messageId": id, "text": text}}});
    let new = json!({
        "errorCode": format!("E{status}"),
        "description": text,
        "action": "Check the request.",
        "violations": [],
        "resources": [],
    });
    Response::json(status, if new_form { &new } else { &old })
}
