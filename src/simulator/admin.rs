//! The simulation steered over HTTP, for programs that can't hold a `Simulator` themselves. JSON both ways, on loopback.
//!
//! `GET /services /truth /requests /mail /webhooks`; `POST /fault {"service", "call", "fault", "per_mille"?}`,
//! `/behaviour {"service", "behaviour"}`, `/stranger {"service"}`, `/open {"service", "open"}`, `/mail`, `/webhooks` (a mode).
use super::behaviour::Behaviour;
use super::door::Door;
use super::fault::{Call, Fault};
use super::hook::HookMode;
use super::mail::MailMode;
use super::truth::Service;
use super::wire::{Connection, Request, Response};
use super::{KEYS, Parts};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Weak};
use tokio::net::TcpStream;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    service: Service,
    call: Call,
    fault: Fault,
    per_mille: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BehaviourOrder {
    service: Service,
    behaviour: Behaviour,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceOrder {
    service: Service,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenOrder {
    service: Service,
    open: bool,
}

pub(super) async fn open(parts: &Arc<Parts>) -> io::Result<Door> {
    let parts = Arc::downgrade(parts);
    Door::open(move |stream| serve(stream, parts.clone())).await
}

async fn serve(stream: TcpStream, parts: Weak<Parts>) {
    let mut connection = Connection::new(stream);
    while let Ok(Some(request)) = connection.request().await {
        let Some(parts) = parts.upgrade() else { return };
        let response = match obey(&parts, &request).await {
            Some(value) => Response::json(200, &value),
            None => Response::json(400, &json!({"error": "no such order, or not in this form"})),
        };
        drop(parts);
        if connection.send(&response.bytes(0)).await.is_err() {
            return;
        }
    }
}

async fn obey(parts: &Parts, request: &Request) -> Option<Value> {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/services") => Some(services(parts)),
        ("GET", "/truth") => Some(json!({ "keys": parts.truth.all_keys() })),
        ("GET", "/requests") => Some(json!({ "requests": parts.truth.requests() })),
        ("GET", "/mail") => Some(json!({ "mails": parts.mail.mails() })),
        ("GET", "/webhooks") => Some(json!({ "webhooks": parts.hook.requests() })),
        ("POST", "/fault") => plan(parts, &read(request)?),
        ("POST", "/behaviour") => {
            let order: BehaviourOrder = read(request)?;
            parts.truth.with(order.service, |desk| desk.behaviour = order.behaviour)?;
            Some(json!({}))
        }
        ("POST", "/stranger") => {
            let order: ServiceOrder = read(request)?;
            let key = parts.stranger_creates_key(order.service);
            Some(key.map_or_else(|| json!({"error": format!("there are {KEYS} keys")}), |it| json!({ "key": it })))
        }
        ("POST", "/open") => {
            let order: OpenOrder = read(request)?;
            parts.doors.get(&order.service)?.set_open(order.open).await;
            Some(json!({}))
        }
        ("POST", "/mail") => {
            parts.mail.set_mode(read::<MailMode>(request)?);
            Some(json!({}))
        }
        ("POST", "/webhooks") => {
            parts.hook.set_mode(read::<HookMode>(request)?);
            Some(json!({}))
        }
        _ => None,
    }
}

fn services(parts: &Parts) -> Value {
    let urls: serde_json::Map<_, _> =
        Service::ALL.iter().map(|it| (it.kind().to_owned(), json!(parts.url(*it)))).collect();
    json!({"services": urls, "smtp_port": parts.mail.port(), "webhook": parts.hook.url()})
}

fn plan(parts: &Parts, order: &FaultOrder) -> Option<Value> {
    let FaultOrder { service, call, fault, per_mille } = *order;
    parts.truth.with(service, |desk| match per_mille {
        Some(rate) => desk.faults.often(call, fault, rate),
        None => desk.faults.once(call, fault),
    })?;
    Some(json!({}))
}

fn read<T: DeserializeOwned>(request: &Request) -> Option<T> {
    serde_json::from_slice(&request.body).ok()
}
