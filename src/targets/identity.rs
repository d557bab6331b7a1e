//! Users and groups, by name or by number. Names are resolved at each use: they may come from a directory service.
use super::DeliveryError;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a directory service may take to find a name.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// Which of the two name spaces a name is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Database {
    /// Users.
    Passwd,
    /// Groups.
    Group,
}

/// A user or a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Identity {
    /// By its number.
    Number(u32),
    /// By its name.
    Name(String),
}

impl Identity {
    /// Its number.
    pub(super) async fn resolve(&self, database: Database) -> Result<u32, DeliveryError> {
        let name = match self {
            Self::Number(number) => return Ok(*number),
            Self::Name(name) => name,
        };
        let (file, word) = match database {
            Database::Passwd => ("passwd", "user"),
            Database::Group => ("group", "group"),
        };
        let local = tokio::fs::read_to_string(format!("/etc/{file}")).await.unwrap_or_default();
        if let Some(number) = find(&local, name) {
            return Ok(number);
        }
        let found = find(&lookup(file, name).await, name);
        found.ok_or_else(|| DeliveryError(format!("there is no {word} {name:?}; try: getent {file} {name}")))
    }
}

/// Finds the third field of the row that begins with the name.
fn find(table: &str, name: &str) -> Option<u32> {
    let row = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    table.lines().find_map(row)
}

/// Asks whatever else nsswitch.conf names. Without the C library's own lookup, which no safe code reaches, getent does it.
async fn lookup(database: &str, name: &str) -> String {
    let mut command = Command::new("getent");
    command.args([database, name]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(LOOKUP_LIMIT, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Either)
    }
}

struct Either;

impl Visitor<'_> for Either {
    type Value = Identity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name in quotes, or a number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Identity, E> {
        // The highest number is the kernel's "leave it as it is".
        let number = u32::try_from(number).ok().filter(|it| *it != u32::MAX);
        number.map(Identity::Number).ok_or_else(|| E::custom("not the number of a user or a group"))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Identity, E> {
        if let Ok(number) = name.parse::<i64>() {
            return self.visit_i64(number);
        }
        let odd = |it: char| it.is_whitespace() || it.is_control() || it == ':';
        if name.is_empty() || name.starts_with('-') || name.contains(odd) {
            return Err(E::custom(format!("{name:?} is not the name of a user or a group")));
        }
        Ok(Identity::Name(name.to_owned()))
    }
}
