//! A config that points the daemon to the simulation: one key at each service, delivered to files.
use super::infobip_2fa::PROBE as TWO_FACTOR_PROBE;
use super::single_invoice::{LIST, PROBE as INVOICE_PROBE};
use super::{Service, Simulator};
use crate::humane::HumanDuration;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the webhook of the owner is signed with.
pub const HOOK_SECRET: &str = "whsec_YSBzaW11bGF0ZWQgd2ViaG9vayBzZWNyZXT7//4gMzI=";
/// The managed key that authorises the calls to Single-Invoice, where it is one.
const MANAGED_LOGIN: &str = "invoices-account";
/// What seals the state; like all secrets here it protects nothing.
const MASTER_KEY: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/// What the config is to say.
#[derive(Clone, Debug)]
pub struct World {
    /// The services that have a key.
    pub services: Vec<Service>,
    /// `valid_for` of every key.
    pub lifetime: Duration,
    /// How long before its end a key is replaced.
    pub rotate_before: Duration,
    /// How long both keys stay valid.
    pub overlap: Duration,
    /// How long before a cutover the owner is told.
    pub announce: Duration,
    /// How long an absence must last before it is believed.
    pub settle: Duration,
    /// How long a new key may be refused.
    pub accept_within: Duration,
    /// How often everything is looked at: cron with seconds.
    pub sweep: String,
    /// `create` or `adopt`; a managed login is always to be adopted.
    pub initial: String,
    /// How many creates each account may have in 24 hours.
    pub creates_per_day: u32,
    /// `json` or `xml`, at Infobip.
    pub format: String,
    /// The Single-Invoice account key is itself a managed key, `invoices-account`.
    pub managed_login: bool,
    /// More fields of one key, by the key's name: lines of TOML that stand in its section.
    pub more: Vec<(String, String)>,
    /// More sections, as TOML.
    pub sections: String,
}

impl Default for World {
    fn default() -> Self {
        Self {
            services: Service::ALL.to_vec(),
            lifetime: Duration::from_secs(30),
            rotate_before: Duration::from_secs(12),
            overlap: Duration::from_secs(4),
            announce: Duration::from_secs(4),
            settle: Duration::from_secs(1),
            accept_within: Duration::from_secs(3),
            sweep: "* * * * * *".to_owned(),
            initial: "create".to_owned(),
            creates_per_day: 100_000,
            format: "json".to_owned(),
            managed_login: false,
            more: Vec::new(),
            sections: String::new(),
        }
    }
}

/// Why the config could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct WorldError {
    /// What was to be written.
    pub path: PathBuf,
    /// Why it could not be.
    pub source: std::io::Error,
}

impl World {
    /// The name of the key that is managed at a service.
    pub fn key_name(service: Service) -> &'static str {
        match service {
            Service::Infobip => "billing-sms",
            Service::Infobip2fa => "two-factor",
            Service::Mobivate => "campaign-sms",
            Service::SingleInvoice => "invoices",
        }
    }

    /// The file that a key is delivered to.
    pub fn key_file(dir: &Path, name: &str) -> PathBuf {
        dir.join("keys").join(format!("{name}.key"))
    }

    /// Where the daemon listens for orders.
    pub fn control_socket(dir: &Path) -> PathBuf {
        dir.join("control.sock")
    }
}

/// Writes a config, and the secrets that it names, into a folder; returns the config's path. Whatever is there already
/// is written over.
///
/// # Errors
/// Where the folder can't be written.
pub fn write_config(dir: &Path, simulator: &Simulator, world: &World) -> Result<PathBuf, WorldError> {
    let dir = &std::path::absolute(dir).map_err(|source| WorldError { path: dir.to_owned(), source })?;
    for part in ["state", "keys", "secrets"] {
        let path = dir.join(part);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|source| WorldError { path, source })?;
    }
    write_secret(dir, "master-key", MASTER_KEY)?;
    write_secret(dir, "hook", HOOK_SECRET)?;
    for service in Service::ALL {
        if let Some((_, password)) = Simulator::login(service) {
            write_secret(dir, service.kind(), password)?;
        }
    }
    if let Some(key) = simulator.first_account_key() {
        write_secret(dir, Service::SingleInvoice.kind(), &key.secret)?;
    }
    let path = dir.join("rekeyd.toml");
    let config = render(dir, simulator, world);
    fs::write(&path, config).map_err(|source| WorldError { path: path.clone(), source })?;
    Ok(path)
}

fn write_secret(dir: &Path, name: &str, secret: &str) -> Result<(), WorldError> {
    let path = secret_path(dir, name);
    if fs::read(&path).is_ok_and(|it| it == secret.as_bytes()) {
        return Ok(());
    }
    // A daemon that runs already never reads a part of it.
    let beside = path.with_extension("being-written");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = file.and_then(|mut it| it.write_all(secret.as_bytes()));
    written.and_then(|()| fs::rename(&beside, &path)).map_err(|source| WorldError { path, source })
}

fn secret_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("secrets").join(name)
}

fn render(dir: &Path, simulator: &Simulator, world: &World) -> String {
    let mut out = String::new();
    let hook = quote(&simulator.hook().url());
    let _ = write!(
        out,
        "[daemon]\nstate_dir = {}\ncontrol_socket = {}\nmaster_key = {}\nowners = [\"payments\"]\nsweep = {}\n\n\
         [smtp]\nhost = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"\nfrom = \"rekeyd <rekeyd@example.com>\"\n\n\
         [owners.payments]\ngroup_within = \"0s\"\nemail = [\"payments@example.com\"]\n\
         webhook = [{{ url = {hook}, secret = {}, format = \"standard\" }}]\n",
        quote_path(&dir.join("state")),
        quote_path(&World::control_socket(dir)),
        secret_ref(dir, "master-key"),
        quote(&world.sweep),
        simulator.mail().port(),
        secret_ref(dir, "hook"),
    );
    for service in &world.services {
        out.push_str(&provider(dir, simulator, world, *service));
    }
    for service in &world.services {
        let create = match service {
            Service::Infobip => "create = { name = \"billing\" }\n",
            Service::SingleInvoice => "create = { package = \"Coverage\" }\n",
            Service::Infobip2fa | Service::Mobivate => "",
        };
        out.push_str(&key(dir, world, World::key_name(*service), *service, &world.initial, create));
    }
    if world.managed_login {
        let create = "create = { package = \"Account\" }\n";
        out.push_str(&key(dir, world, MANAGED_LOGIN, Service::SingleInvoice, "adopt", create));
    }
    out.push('\n');
    out.push_str(&world.sections);
    out
}

fn provider(dir: &Path, simulator: &Simulator, world: &World, service: Service) -> String {
    let kind = service.kind();
    let mut out = format!("\n[providers.{kind}]\nkind = \"{kind}\"\nbase_url = {}\n", quote(&simulator.url(service)));
    if let Some((username, _)) = Simulator::login(service) {
        let _ = write!(out, "username = {}\npassword = {}\n", quote(username), secret_ref(dir, kind));
    }
    let list_call = simulator.truth().with(service, |desk| desk.behaviour.list_call).unwrap_or(false);
    match service {
        Service::Infobip => {
            let _ = writeln!(out, "format = {}", quote(&world.format));
        }
        Service::Infobip2fa => {
            let _ = writeln!(out, "probe = \"{TWO_FACTOR_PROBE}\"");
        }
        Service::Mobivate => {}
        Service::SingleInvoice => {
            let managed = format!("{{ key = \"{MANAGED_LOGIN}\" }}");
            let login = if world.managed_login { managed } else { secret_ref(dir, kind) };
            let _ = writeln!(out, "apikey = {login}\nprobe = \"{INVOICE_PROBE}\"");
            if list_call {
                let _ = writeln!(out, "list = \"{LIST}\"");
            }
        }
    }
    let (accept, settle) = (HumanDuration(world.accept_within), HumanDuration(world.settle));
    let creates = world.creates_per_day;
    let _ = write!(out, "accept_within = \"{accept}\"\nsettle = \"{settle}\"\ncreates_per_day = {creates}\n");
    out
}

fn key(dir: &Path, world: &World, name: &str, service: Service, initial: &str, create: &str) -> String {
    // Where a create ends the old key there is nothing to overlap, and `check` says so.
    let overlap = match service {
        Service::Mobivate => String::new(),
        _ => format!("overlap = \"{}\"\n", HumanDuration(world.overlap)),
    };
    let more = world.more.iter().filter(|it| it.0 == name).map(|it| format!("{}\n", it.1.trim_end()));
    format!(
        "\n[keys.{name}]\nprovider = \"{kind}\"\nowners = [\"payments\"]\ninitial = {initial}\nvalid_for = \"{lifetime}\"\n\
         rotate_before = \"{before}\"\n{overlap}announce = \"{announce}\"\n{create}{more}\n\
         [[keys.{name}.deliver]]\nkind = \"file\"\npath = {path}\nmode = \"0600\"\n",
        kind = service.kind(),
        initial = quote(initial),
        lifetime = HumanDuration(world.lifetime),
        before = HumanDuration(world.rotate_before),
        announce = HumanDuration(world.announce),
        more = more.collect::<String>(),
        path = quote_path(&World::key_file(dir, name)),
    )
}

fn secret_ref(dir: &Path, name: &str) -> String {
    format!("{{ file = {} }}", quote_path(&secret_path(dir, name)))
}

fn quote_path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// A string as TOML writes it; JSON's strings are a part of TOML's.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Options;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_config_is_toml_that_names_every_service_and_keeps_secrets_in_private_files() {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let more = vec![("invoices".to_owned(), "on_ambiguous = \"create-again\"".to_owned())];
        let world = World { managed_login: true, more, ..World::default() };
        let path = write_config(dir.path(), &simulator, &world).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["keys"].as_table().unwrap().len(), 5);
        assert_eq!(table["keys"]["invoices"]["on_ambiguous"].as_str(), Some("create-again"));
        for service in Service::ALL {
            assert_eq!(table["providers"][service.kind()]["base_url"].as_str(), Some(&*simulator.url(service)));
            let file = dir.path().join("secrets").join(service.kind());
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!text.contains(&fs::read_to_string(file).unwrap()));
        }
    }
}
