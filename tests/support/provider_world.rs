//! One provider of a fixture folder against one server, and what its calls end as.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)] // each test file uses a part of it
use rekeyd::core::facts::{Probe, RefusalKind};
use rekeyd::core::names::Token;
use rekeyd::core::policy::Recover;
use rekeyd::core::time::Timestamp;
use rekeyd::http::Client;
use rekeyd::providers::*;
use rekeyd::secret::Secret;
use std::fmt::Debug;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use toml::de::{DeTable, DeValue, ValueDeserializer};

pub const PASSWORD: &str = "open sesame";
pub const ID: &str = "C6DFA0B215B2CF24EF04794F718A3FC8";
pub const KEY: &str = "7bd7d59cfe90e4d32b1d2f20d39c86df-fbaa8670-1008-ac7a-398a-3c11ac797c77";
/// Nothing of this may stand in anything that a provider says: logins, passwords and keys, as they are and encoded.
pub const SECRETS: &[&str] = &[
    PASSWORD,
    "open%20sesame",
    "open+sesame",
    "QWxhZGRpbjpvcGVuIHNlc2FtZQ",
    "b3BlbiBzZXNhbWU",
    "Aladdin",
    "first.last",
    "7bd7d59cfe90e4d3",
    "d0f64a8194b48b8b",
    "003026bbc133714d",
    "abcd1234-9922",
    "PsDW6SRVd4",
    "MmozazEzaj",
];

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers")
}

pub fn folders() -> Vec<String> {
    let mut names: Vec<String> =
        fixtures().read_dir().unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn kind(folder: &str) -> &'static Kind {
    let name = folder.split('+').next().unwrap();
    KINDS.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{folder} is of no kind"))
}

pub fn table(text: &str) -> ValueDeserializer<'_> {
    let table = DeTable::parse(text).unwrap();
    let span = table.span();
    ValueDeserializer::from(toml::Spanned::new(span, DeValue::Table(table.into_inner())))
}

/// One provider of a fixture folder, against one server.
pub struct World {
    pub folder: String,
    pub dir: tempfile::TempDir,
    pub provider: Arc<dyn Provider>,
    pub create: Arc<dyn CreateOptions>,
}

impl World {
    pub fn new(folder: &str, base_url: &str) -> Self {
        // Making a client reads all roots of trust, so the tests share one.
        static CLIENT: LazyLock<Client> = LazyLock::new(Client::default);
        Self::with_client(folder, base_url, CLIENT.clone())
    }

    pub fn with_client(folder: &str, base_url: &str, client: Client) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, PASSWORD).unwrap();
        std::fs::set_permissions(&secret_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let fixture = |name: &str| std::fs::read_to_string(fixtures().join(folder).join(name)).unwrap();
        let settings = fixture("settings.toml")
            .replace("{base_url}", base_url)
            .replace("{secret_file}", secret_file.to_str().unwrap());
        let provider = (kind(folder).parse_with)(table(&settings), client).unwrap();
        let create = (kind(folder).parse_create)(table(&fixture("create.toml"))).unwrap();
        Self { folder: folder.to_owned(), dir, provider, create }
    }

    pub fn calls(&self) -> Vec<Call> {
        let can = self.provider.capabilities();
        let mut calls = vec![Call::Create];
        calls.extend(matches!(can.recover, Recover::ListByName | Recover::DiffList).then_some(Call::List));
        calls.extend((can.recover == Recover::ReadCurrent).then_some(Call::Read));
        calls.extend(can.probes.then_some(Call::Probe));
        calls.extend(can.revokes_by_id.then_some(Call::Revoke));
        calls
    }

    pub async fn call(&self, call: Call) -> (End, String) {
        let auth = Auth::default();
        match call {
            Call::Create => {
                let valid_to = Some(Timestamp(1_455_267_500_323));
                let ask = CreateRequest { token: &token(), create: &*self.create, valid_to };
                match self.provider.create(&auth, &ask).await {
                    Ok(raw) => match self.provider.parse(&raw) {
                        Ok(created) => (End::Done, format!("{raw:?} {created:?}")),
                        Err(error) => (End::Unreadable, both(&error)),
                    },
                    Err(CreateError::NotSent(message)) => (End::NotSent, message),
                    Err(CreateError::Unknown(message)) => (End::Unknown, message),
                    Err(CreateError::Refused(it)) => {
                        (End::Refused(it.why, it.retry_after.is_some()), format!("{it:?}"))
                    }
                }
            }
            Call::List => end(self.provider.list(&auth, &*self.create).await),
            Call::Read => end(self.provider.read(&auth).await),
            Call::Revoke => end(self.provider.revoke(&auth, ID).await),
            Call::Probe => {
                let (probe, said) = self.provider.probe(&Secret::from(KEY.to_owned())).await;
                (End::Probed(probe), said)
            }
        }
    }
}

pub fn token() -> Token {
    "0a1b2c3d-4e5f60-billing-sms-7".parse().unwrap()
}

pub fn both(error: &(impl Debug + ToString)) -> String {
    format!("{error:?} {}", error.to_string())
}

pub fn end<T: Debug>(result: Result<T, CallError>) -> (End, String) {
    match result {
        Ok(it) => (End::Done, format!("{it:?}")),
        Err(error @ CallError::Unreachable(_)) => (End::Unreachable, both(&error)),
        Err(CallError::Refused(it)) => (End::Refused(it.why, it.retry_after.is_some()), format!("{it:?}")),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    Create,
    List,
    Read,
    Probe,
    Revoke,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    Done,
    Unreadable,
    NotSent,
    Unknown,
    Unreachable,
    /// And whether it says when to try again.
    Refused(RefusalKind, bool),
    Probed(Probe),
}

pub fn check_no_leak(said: &str) {
    for secret in SECRETS {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

/// A body that echoes everything that was sent.
pub fn echo() -> String {
    let all = SECRETS.join(" ");
    format!(
        r#"{{"code":"{PASSWORD}","errorCode":"Aladdin","message":"{all}","requestError":{{"serviceException":{{"messageId":"{KEY}","text":"{all}"}}}}}}"#
    )
}
