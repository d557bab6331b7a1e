//! Serves one service: reads a request, lets the planned fault strike, has the service answer.
use super::door::Door;
use super::fault::{Call, Fault};
use super::truth::{Desk, RequestRow, Service, Truth};
use super::wire::{self, Connection, Request, Response};
use super::{infobip, infobip_2fa, mobivate, single_invoice};
use crate::clock;
use crate::core::time::Timestamp;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The largest body that the fault `huge` sends, in MiB.
const HUGE_MIB: usize = 1024;
/// A mebibyte, in bytes.
const MIB: usize = 1024 * 1024;

/// What a service is asked, and in which light it is to answer.
pub(crate) struct Ask<'a> {
    pub(crate) request: &'a Request,
    pub(crate) now: Timestamp,
    /// Lists end after this many keys.
    pub(crate) keep: Option<usize>,
}

/// Opens the door of a service.
pub(crate) async fn open(service: Service, truth: Truth) -> io::Result<Door> {
    Door::open(move |stream| serve(service, truth.clone(), stream)).await
}

async fn serve(service: Service, truth: Truth, stream: TcpStream) {
    let mut connection = Connection::new(stream);
    while let Ok(Some(request)) = connection.request().await {
        match reply(service, &truth, request, connection).await {
            Some(same) => connection = same,
            None => return,
        }
    }
}

/// Answers one request. The connection comes back when it can be used again.
async fn reply(service: Service, truth: &Truth, request: Request, mut connection: Connection) -> Option<Connection> {
    let call = kind_of_call(service, &request);
    let (fault, wait, skew) = truth.with(service, |desk| {
        let wait = desk.behaviour.latency_ms + desk.chance.below(desk.behaviour.jitter_ms.saturating_add(1));
        (desk.faults.strike(call), Duration::from_millis(wait), desk.behaviour.clock_ahead_ms)
    })?;
    sleep(wait / 2).await;
    let response = take_effect(service, truth, &request, call, fault);
    truth.note(row(service, &request, call, fault, response.as_ref()));
    let extra = if let Some(Fault::Delay { ms }) = fault { Duration::from_millis(ms) } else { Duration::ZERO };
    sleep(wait / 2 + extra).await;
    let usable = match (fault, response) {
        (Some(Fault::LostAnswer | Fault::ResetBefore | Fault::LateEffect { .. }), _) => {
            connection.reset();
            return None;
        }
        (Some(Fault::CutShort), Some(response)) => {
            let bytes = response.bytes(skew);
            let half = bytes.len() - response.body.len().div_ceil(2).max(1);
            let _ = connection.send(&bytes[..half]).await;
            connection.reset();
            return None;
        }
        (Some(Fault::Drip { ms }), Some(response)) => {
            connection.drip(&response.bytes(skew), Duration::from_millis(ms)).await
        }
        (Some(Fault::Huge { mib }), _) => huge(&mut connection, mib.min(HUGE_MIB)).await,
        (_, Some(response)) => connection.send(&response.bytes(skew)).await,
        (_, None) => {
            connection.hold().await;
            return None;
        }
    };
    usable.is_ok().then_some(connection)
}

/// Lets the call happen, or not, as the fault wants it. `None`: nothing is to be said.
fn take_effect(
    service: Service,
    truth: &Truth,
    request: &Request,
    call: Call,
    fault: Option<Fault>,
) -> Option<Response> {
    let done = |fault| truth.with(service, |desk| answer(desk, request, call, fault));
    match fault {
        Some(Fault::ResetBefore | Fault::NeverAnswers { effect: false }) => None,
        Some(Fault::NeverAnswers { effect: true }) => {
            done(fault);
            None
        }
        Some(Fault::ErrorBefore { status }) => Some(error(service, status)),
        Some(Fault::Throttled { retry_after }) => {
            let mut response = error(service, 429);
            response.headers.extend(retry_after.map(|it| ("Retry-After", it.to_string())));
            Some(response)
        }
        Some(Fault::ErrorAfter { status }) => done(fault).map(|_| error(service, status)),
        Some(Fault::Garbage) => done(fault).map(|_| Response::new(200, "text/html", "<html>Welcome back")),
        Some(Fault::Empty) => done(fault).map(|_| Response::new(200, "application/json", "")),
        Some(Fault::LateEffect { ms }) => {
            happen_later(service, truth.clone(), request.clone(), call, Duration::from_millis(ms));
            None
        }
        Some(Fault::Delay { .. } | Fault::Drip { .. } | Fault::LostAnswer | Fault::CutShort | Fault::Huge { .. })
        | Some(Fault::Stale { .. } | Fault::Truncated { .. })
        | None => done(fault),
    }
}

/// An error in the service's own form.
fn error(service: Service, status: u16) -> Response {
    match service {
        Service::Infobip => infobip::error(status, true, false),
        Service::Infobip2fa => infobip::error(status, false, false),
        Service::Mobivate => mobivate::error(status, wire::reason(status)),
        Service::SingleInvoice => single_invoice::message(status, wire::reason(status)),
    }
}

fn happen_later(service: Service, truth: Truth, request: Request, call: Call, after: Duration) {
    tokio::spawn(async move {
        sleep(after).await;
        truth.with(service, |desk| answer(desk, &request, call, None));
    });
}

fn answer(desk: &mut Desk, request: &Request, call: Call, fault: Option<Fault>) -> Response {
    let now = clock::now();
    let lag = match fault {
        Some(Fault::Stale { ms }) => ms,
        _ => desk.behaviour.lag_ms,
    };
    let keep = match fault {
        Some(Fault::Truncated { keep }) => Some(keep),
        _ => None,
    };
    let ask = Ask { request, now, keep };
    if lag == 0 || !matches!(call, Call::List | Call::Read) {
        return dispatch(desk, &ask);
    }
    // The service looks at an old copy of its books; nothing that a list or a read does is lost with it.
    let old = desk.keys_at(now.minus(Duration::from_millis(lag)));
    let newest = std::mem::replace(&mut desk.keys, old);
    let response = dispatch(desk, &ask);
    desk.keys = newest;
    response
}

fn dispatch(desk: &mut Desk, ask: &Ask<'_>) -> Response {
    match desk.service {
        Service::Infobip => infobip::answer(desk, ask),
        Service::Infobip2fa => infobip_2fa::answer(desk, ask),
        Service::Mobivate => mobivate::answer(desk, ask),
        Service::SingleInvoice => single_invoice::answer(desk, ask),
    }
}

fn kind_of_call(service: Service, request: &Request) -> Call {
    match service {
        Service::Infobip => infobip::kind_of_call(request),
        Service::Infobip2fa => infobip_2fa::kind_of_call(request),
        Service::Mobivate => mobivate::kind_of_call(request),
        Service::SingleInvoice => single_invoice::kind_of_call(request),
    }
}

fn row(
    service: Service,
    request: &Request,
    call: Call,
    fault: Option<Fault>,
    response: Option<&Response>,
) -> RequestRow {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    RequestRow {
        service,
        call,
        method: request.method.clone(),
        path: format!("{}{query}", request.path),
        at: clock::now(),
        status: response.map(|it| it.status),
        fault,
    }
}

async fn huge(connection: &mut Connection, mib: usize) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", mib * MIB);
    connection.send(head.as_bytes()).await?;
    let chunk = vec![b' '; MIB];
    for _ in 0..mib {
        connection.send(&chunk).await?;
    }
    Ok(())
}
