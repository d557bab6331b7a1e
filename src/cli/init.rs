//! `rekeyd init`: a commented config and a fresh master key, for a first start. Nothing is ever overwritten.
use super::Exit;
use crate::core::names::Fingerprint;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Write a commented config and a fresh master key
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to write them
    #[arg(long, value_name = "DIR", default_value = "/etc/rekeyd")]
    pub dir: PathBuf,
}

/// The config that is written, with the master key as a credential.
const CONFIG: &str = include_str!("../../config/init.toml");
/// What stands in it for the master key.
const CREDENTIAL: &str = "{ credential = \"master-key\" }";
/// How long a master key is, in bytes.
const MASTER_BYTES: usize = 32;

/// Writes both files, and says how the process ends: 0, or 73 where one is there already or can't be made.
///
/// # Errors
/// Where nothing can be printed.
pub fn run(args: &Args, out: &mut dyn Write) -> io::Result<Exit> {
    match write_files(&args.dir) {
        Ok(done) => {
            let Written { config, master_key, fingerprint } = done;
            let (config, master_key) = (config.display(), master_key.display());
            writeln!(out, "wrote {config} and {master_key}")?;
            writeln!(out, "master key fingerprint: {fingerprint}")?;
            writeln!(out, "Keep a copy of {master_key} off this host: without it the state does not open.")?;
            writeln!(out, "next: edit {config}, then run: rekeyd check --config {config}")?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(out, "{error}")?;
            Ok(Exit::CannotCreate)
        }
    }
}

/// What was written.
struct Written {
    config: PathBuf,
    master_key: PathBuf,
    fingerprint: Fingerprint,
}

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("{0} is there already; init overwrites nothing: move it away, or name another folder with --dir")]
    Exists(PathBuf),
    #[error("{path} can't be made: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("{0} is no text, so that the config could not name it; choose another folder with --dir")]
    NotText(PathBuf),
}

fn write_files(dir: &Path) -> Result<Written, InitError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InitError::Io { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed(dir))?;
    let dir = dir.canonicalize().map_err(failed(dir))?;
    let (config, master_key) = (dir.join("rekeyd.toml"), dir.join("master.key"));
    // Looked at before anything is made, so that a second run changes nothing at all.
    if let Some(there) = [&config, &master_key].into_iter().find(|it| it.symlink_metadata().is_ok()) {
        return Err(InitError::Exists(there.clone()));
    }
    let Some(path) = master_key.to_str() else { return Err(InitError::NotText(master_key)) };
    // JSON's strings are among TOML's.
    let reference = format!("{{ file = {} }}", serde_json::Value::from(path));
    let mut bytes = Zeroizing::new([0_u8; MASTER_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(InitError::Random)?;
    create(&master_key, 0o600, hex(bytes.as_slice()).as_bytes())?;
    create(&config, 0o640, CONFIG.replace(CREDENTIAL, &reference).as_bytes())?;
    File::open(&dir).and_then(|it| it.sync_all()).map_err(failed(&dir))?;
    Ok(Written { config, master_key, fingerprint: Fingerprint::of(bytes.as_slice()) })
}

/// Writes a file that must not be there yet, durably.
fn create(path: &Path, mode: u32, content: &[u8]) -> Result<(), InitError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => InitError::Io { path: path.to_owned(), source },
    })
}

/// The digits and a line end, in memory that is wiped and never grows out of its place.
fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2 + 1));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check;
    use std::os::unix::fs::PermissionsExt;

    fn init(dir: &Path) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(&Args { dir: dir.to_owned() }, &mut out).unwrap();
        (code.code(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_init_writes_passes_check_and_only_its_owner_reads_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new \"folder\"");
        let (code, said) = init(&dir);
        assert_eq!(code, 0, "{said}");
        let key = std::fs::read_to_string(dir.join("master.key")).unwrap();
        assert_eq!(dir.join("master.key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(key.trim().len(), 64);
        assert!(key.trim().bytes().all(|it| it.is_ascii_hexdigit()));
        let raw: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&key[n * 2..n * 2 + 2], 16).unwrap()).collect();
        assert!(said.contains(&format!("fingerprint: {}\n", Fingerprint::of(&raw))), "{said}");
        assert!(said.contains("off this host"), "{said}");
        assert!(!said.contains(key.trim()));

        let mut out = Vec::new();
        let code = check::run(&check::Args::default(), &dir.join("rekeyd.toml"), false, &mut out).unwrap();
        assert_eq!((code.code(), String::from_utf8(out).unwrap().as_str()), (0, "ok: 0 keys, 0 providers, 0 owners\n"));
    }

    #[test]
    fn nothing_is_ever_overwritten() {
        for there in ["rekeyd.toml", "master.key"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(there), "mine").unwrap();
            let (code, said) = init(dir.path());
            assert_eq!(code, 73);
            assert!(said.contains(&format!("{there} is there already")), "{said}");
            assert_eq!(std::fs::read_to_string(dir.path().join(there)).unwrap(), "mine");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn two_runs_draw_two_keys() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!((init(one.path()).0, init(two.path()).0), (0, 0));
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join("master.key")).unwrap();
        assert_ne!(read(&one), read(&two));
    }

    #[test]
    fn the_config_that_init_writes_names_its_master_key_once() {
        assert_eq!(CONFIG.matches(CREDENTIAL).count(), 1);
    }
}
