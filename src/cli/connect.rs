//! How a command reaches the daemon.
use super::Cli;
use super::exit::{Exit, Failure};
use crate::control::client::Client;
use std::path::{Path, PathBuf};

/// Where the daemon listens unless its config says otherwise.
const DEFAULT_SOCKET: &str = "/run/rekeyd/control.sock";

/// Runs one conversation with the daemon.
pub(super) fn ask<T>(cli: &Cli, with: impl AsyncFnOnce(Client) -> Result<T, Failure>) -> Result<T, Failure> {
    let client = Client::new(&socket(cli))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|it| Failure::new(Exit::Internal, format!("no runtime: {it}")))?;
    runtime.block_on(with(client)).map_err(|it| startable(it, cli))
}

/// The service has the usual config: whoever names another one runs that daemon by hand.
fn startable(failure: Failure, cli: &Cli) -> Failure {
    let by_hand = failure.exit == Exit::Unavailable && cli.named_config().is_some();
    if by_hand { failure.remedy("rekeyd run") } else { failure }
}

/// The one given, else the one in the config as far as we may read it: operators need not be able to.
fn socket(cli: &Cli) -> PathBuf {
    let beside = cli.config.parent().unwrap_or(Path::new("")).join("conf.d");
    let more = std::fs::read_dir(beside).into_iter().flatten().flatten().map(|it| it.path());
    let more = more.filter(|it| it.extension().is_some_and(|it| it == "toml"));
    let configured = || std::iter::once(cli.config.clone()).chain(more).find_map(|it| configured(&it));
    cli.socket.clone().or_else(configured).unwrap_or_else(|| DEFAULT_SOCKET.into())
}

/// A file with faults still tells its socket: what is wrong elsewhere is for `check` to say.
fn configured(file: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(file).ok()?;
    let socket = match text.parse::<toml::Table>() {
        Ok(table) => table.get("daemon")?.get("control_socket")?.as_str()?.into(),
        // The daemon runs on with its last good config: a slip of the editor must not make it look stopped.
        Err(_) => text.lines().find_map(alone)?,
    };
    Some(socket)
}

/// The socket that one line names by itself.
fn alone(line: &str) -> Option<PathBuf> {
    let table: toml::Table = line.parse().ok()?;
    Some(table.get("control_socket")?.as_str()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, expected: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rekeyd.toml");
        std::fs::write(&file, config).unwrap();
        assert_eq!(configured(&file), expected.map(PathBuf::from), "{config}");
    }

    #[test]
    fn a_config_that_can_t_be_parsed_still_tells_its_socket() {
        let good = "[daemon]\ncontrol_socket = \"/x/it.sock\" # here\n";
        check(good, Some("/x/it.sock"));
        check(&format!("{good}[keys.a]\nprovider = \n"), Some("/x/it.sock"));
        check("[daemon]\n#control_socket = \"/x/it.sock\"\n[keys", None);
        check("[daemon]\n", None);
    }
}
