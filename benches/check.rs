//! How long `rekeyd check` takes for 10,000 keys in as many files, beside a tenth of them in the same run: the figure is of
//! this machine and its load, the ratio of the two is not. Linear is 10.
//!
//! `cargo bench --bench check`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may panic anywhere, and prints what it found")]
use rekeyd::cli::check::{Args, run};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many keys, each in a file of its own.
const KEYS: [u32; 2] = [1_000, 10_000];
/// How often each is checked; the quickest counts, as nothing makes a run quicker than it is.
const RUNS: usize = 5;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let configs = KEYS.map(|keys| write_config(&dir.path().join(keys.to_string()), keys));
    // In turns, so that what else the machine does weighs on both.
    let mut quickest = [Duration::MAX; 2];
    for _ in 0..RUNS {
        for (config, best) in configs.iter().zip(&mut quickest) {
            *best = check(config).min(*best);
        }
    }
    for (keys, took) in KEYS.iter().zip(quickest) {
        println!(
            "{keys:>6} keys: {:.3} s, {:.1} µs a key",
            took.as_secs_f64(),
            took.as_secs_f64() * 1e6 / f64::from(*keys)
        );
    }
    let [few, many] = quickest;
    println!("  ratio: {:.1}, where {} is linear", many.as_secs_f64() / few.as_secs_f64(), KEYS[1] / KEYS[0]);
}

fn check(config: &Path) -> Duration {
    let (begun, mut said) = (Instant::now(), Vec::new());
    let exit = run(&Args::default(), config, false, &mut said).unwrap();
    let took = begun.elapsed();
    assert_eq!(exit.code(), 0, "{}", String::from_utf8_lossy(&said));
    took
}

/// A config as a generator writes it: what all keys share in one file, and each key in its own.
fn write_config(dir: &Path, keys: u32) -> PathBuf {
    let (secret, config) = (dir.join("secret"), dir.join("rekeyd.toml"));
    fs::create_dir_all(dir.join("conf.d")).unwrap();
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let mut shared = format!("[daemon]\nmaster_key = {{ file = {secret:?} }}\nowners = [\"team-0\"]\n");
    shared += "[smtp]\nhost = \"mail.example.com\"\nfrom = \"rekeyd@example.com\"\n";
    shared += "[windows.nights]\nopen = \"0 22 * * Mon-Thu\"\nduration = \"4h\"\ntimezone = \"Europe/London\"\n";
    shared += "[freezes.year-end]\nfrom = \"12-18\"\nto = \"01-04\"\nkeys = \"all\"\n";
    shared += "[defaults]\nvalid_for = \"365d\"\nrotate_before = \"30d\"\nwindows = [\"nights\"]\n";
    for n in 0..10 {
        let _ = write!(
            shared,
            "[owners.team-{n}]\nemail = [\"team-{n}@example.com\"]\n[providers.sms-{n}]\nkind = \"infobip\"\n\
             username = \"team-{n}\"\npassword = {{ file = {secret:?} }}\n"
        );
    }
    fs::write(&config, shared).unwrap();
    for n in 0..keys {
        let team = n % 10;
        let key = format!(
            "[keys.key-{n}]\nprovider = \"sms-{team}\"\nowners = [\"team-{team}\"]\ncreate = {{ name = \"key-{n}\" }}\n\
             [[keys.key-{n}.deliver]]\nkind = \"file\"\npath = \"/srv/key-{n}/api.key\"\n"
        );
        fs::write(dir.join(format!("conf.d/key-{n}.toml")), key).unwrap();
    }
    config
}
