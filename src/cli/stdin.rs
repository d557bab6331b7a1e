//! A secret from stdin: as a whole from a pipe or a file, one line without echo from a terminal.
use super::exit::{Exit, Failure};
use crate::core::names::KeyName;
use crate::secret::{SECRET_BYTES, Secret};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Stdin, Write};
use zeroize::Zeroizing;

/// Reads the secret of a key; `remedy` is the command that gives one.
pub(super) fn secret(key: &KeyName, remedy: &str) -> Result<Secret, Failure> {
    let stdin = std::io::stdin();
    let mut bytes = Zeroizing::new(Vec::new());
    if stdin.is_terminal() {
        ask(key, &stdin, &mut bytes)?;
    } else {
        stdin.lock().take(SECRET_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > SECRET_BYTES {
        return Err(Failure::new(Exit::Data, format!("stdin has more than {SECRET_BYTES} bytes: that is no key")));
    }
    let secret = Secret::new(std::mem::take(&mut bytes)).without_newline();
    if secret.is_empty() {
        return Err(Failure::new(Exit::NoInput, "there is no secret on stdin").remedy(remedy));
    }
    match secret.expose_str() {
        Ok(_) => Ok(secret),
        Err(error) => Err(Failure::new(Exit::Data, error.to_string()).remedy("give the key as the provider shows it")),
    }
}

/// Asks for one line at the terminal, which shows nothing of it.
fn ask(key: &KeyName, stdin: &Stdin, line: &mut Vec<u8>) -> Result<(), Failure> {
    let mut prompt = std::io::stderr().lock();
    // Whoever closed stderr does not want to be asked in words.
    let _ = write!(prompt, "secret of {key} (not shown): ").and_then(|()| prompt.flush());
    let hidden = Hidden::begin(stdin)?;
    let read = stdin.lock().take(SECRET_BYTES + 1).read_until(b'\n', line);
    drop(hidden);
    let _ = writeln!(prompt);
    read?;
    Ok(())
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(stdin: &'a Stdin) -> Result<Self, Failure> {
        let failed = |error: rustix::io::Errno| Failure::from(std::io::Error::from(error));
        let before = tcgetattr(stdin).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // Where the terminal has gone away there is nothing to bring back.
        let _ = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}
