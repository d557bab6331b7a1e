//! The four services, a mail server and a webhook receiver as a program of their own, on loopback: `simulator FILE` writes into
//! FILE, as JSON, where they are and where orders are taken (see the module `simulator::admin`), and runs until it is killed.
#![allow(clippy::print_stderr, reason = "a program says what is wrong with its command line")]
use rekeyd::simulator::{HOOK_SECRET, Options, Service, Simulator};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: simulator FILE");
        return ExitCode::from(64);
    };
    let started = Simulator::start(Options { admin: true, ..Options::default() }).await;
    let written = started.and_then(|simulator| {
        std::fs::write(file, described(&simulator).to_string())?;
        Ok(simulator)
    });
    match written {
        Ok(_simulator) => std::future::pending().await,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn described(simulator: &Simulator) -> serde_json::Value {
    let service = |it: Service| {
        let (username, password) = Simulator::login(it).unwrap_or_default();
        let about = serde_json::json!({ "url": simulator.url(it), "username": username, "password": password });
        (it.kind().to_owned(), about)
    };
    let services: serde_json::Map<_, _> = Service::ALL.into_iter().map(service).collect();
    let hook = serde_json::json!({ "url": simulator.hook().url(), "secret": HOOK_SECRET });
    serde_json::json!({ "admin": simulator.admin_url(), "services": services, "hook": hook })
}
