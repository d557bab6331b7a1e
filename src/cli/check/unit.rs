//! `rekeyd check --unit`: what the config needs beyond the unit that is shipped, as a drop-in of systemd and a rule of polkit.
use crate::config::Loaded;
use crate::config::settings::Settings;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rule that allows nothing, as it is shipped.
const RULE: &str = include_str!("../../../systemd/50-rekeyd.rules");
/// Where its lists stand in it.
const RESTART: &str = "\"restart\": []";
const RELOAD: &str = "\"reload\": []";
/// What the unit can write to without being asked: the folders that systemd makes for it.
const STATE: &str = "/var/lib/rekeyd";
const RUNTIME: &str = "/run/rekeyd";
/// The socket that systemd opens, and passes.
const PASSED_SOCKET: &str = "/run/rekeyd-credential.sock";
/// The folders that `ProtectHome=` of the unit hides,
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// and those that `PrivateTmp=` puts others in place of.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// The credential that the unit has already.
const MASTER_KEY: &str = "master-key";

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Unit {
    /// The drop-in, with the rule in its comments.
    drop_in: String,
    /// The rule for polkit; none where nothing is restarted or reloaded.
    polkit_rule: Option<String>,
}

impl Unit {
    /// What a config needs.
    pub(super) fn of(loaded: &Loaded, config: &Path) -> Self {
        let wants = Wants::of(&loaded.settings);
        let polkit_rule = wants.rule();
        let mut text = format!(
            "# What rekeyd needs beyond its unit for {}. To install it:\n\
             #   mkdir -p /etc/systemd/system/rekeyd.service.d\n\
             #   rekeyd check --unit > /etc/systemd/system/rekeyd.service.d/50-config.conf\n\
             #   systemctl daemon-reload && systemctl restart rekeyd\n\n[Service]\n",
            config.display()
        );
        wants.write_folders(&mut text);
        wants.write_files(&mut text);
        write_credentials(&loaded.credentials(), &mut text);
        wants.write_rule(polkit_rule.as_deref(), &mut text);
        Self { drop_in: text, polkit_rule }
    }

    /// As it is printed for people, and for systemd.
    pub(super) fn text(&self) -> &str {
        &self.drop_in
    }
}

#[derive(Default)]
struct Wants {
    /// Folders that are written to, each with what for.
    folders: BTreeMap<PathBuf, BTreeSet<String>>,
    groups: BTreeSet<String>,
    chown: bool,
    verbs: BTreeSet<(&'static str, String)>,
    read: BTreeSet<String>,
}

impl Wants {
    fn of(settings: &Settings) -> Self {
        let mut wants = Self::default();
        for (name, key) in &settings.keys {
            for target in &key.targets {
                let needs = target.needs();
                for folder in needs.folders {
                    wants.folders.entry(folder).or_default().insert(format!("the key {name}"));
                }
                wants.groups.extend(needs.groups);
                wants.chown |= needs.chown;
                wants.verbs.extend(needs.verbs);
                wants.read.extend(target.readers().into_iter().map(|it| it.unit));
            }
        }
        wants.add_own_folders(settings);
        wants
    }

    /// What the daemon writes for itself.
    fn add_own_folders(&mut self, settings: &Settings) {
        let daemon = &settings.daemon;
        let mut add = |folder: &Path, what: &str| {
            self.folders.entry(folder.to_owned()).or_default().insert(what.to_owned());
        };
        if !daemon.state_dir.starts_with(STATE) {
            add(&daemon.state_dir, "the state");
        }
        let backups = settings.backup.as_ref().map(|it| it.dir.as_path());
        if let Some(dir) = backups.filter(|it| !it.starts_with(&daemon.state_dir) && !it.starts_with(STATE)) {
            add(dir, "the backups");
        }
        let folder_of = |socket: &Path| socket.parent().filter(|it| !it.starts_with(RUNTIME)).map(Path::to_owned);
        if let Some(folder) = folder_of(&daemon.control_socket) {
            add(&folder, "the control socket");
        }
        let opened = daemon.credential_socket.as_deref().filter(|it| *it != Path::new(PASSED_SOCKET));
        if let Some(folder) = opened.and_then(folder_of) {
            add(&folder, "the credential socket");
        }
    }

    fn write_folders(&self, text: &mut String) {
        if self.folders.is_empty() {
            return;
        }
        text.push_str("# The user rekeyd must be able to write there, too.\n");
        let lies_in = |it: &Path, folders: &[&str]| folders.iter().any(|folder| it.starts_with(folder));
        if self.folders.keys().any(|it| lies_in(it, &HOMES)) {
            text.push_str("ProtectHome=tmpfs\n");
        }
        for (folder, what) in &self.folders {
            let what: Vec<_> = what.iter().map(String::as_str).collect();
            let hidden = lies_in(folder, &HOMES) || lies_in(folder, &TEMPORARY);
            let field = if hidden { "BindPaths" } else { "ReadWritePaths" };
            text.push_str(&format!(
                "# For {}.\n{field}={}\n",
                what.join(", "),
                escape(&format!("-{}", folder.display()))
            ));
        }
        text.push('\n');
    }

    fn write_files(&self, text: &mut String) {
        if !self.groups.is_empty() {
            let groups: Vec<_> = self.groups.iter().map(String::as_str).collect();
            text.push_str(
                "# Files are given to these groups. Each must be there, or rekeyd does not start (216/GROUP).\n",
            );
            text.push_str(&format!("SupplementaryGroups={}\n", groups.join(" ")));
        }
        if self.chown {
            text.push_str("# Files are given to other users.\n");
            text.push_str("CapabilityBoundingSet=CAP_CHOWN\nAmbientCapabilities=CAP_CHOWN\n");
        }
        if self.chown || !self.groups.is_empty() {
            text.push_str("SystemCallFilter=@chown\n\n");
        }
    }

    fn write_rule(&self, rule: Option<&str>, text: &mut String) {
        let Some(rule) = rule else {
            text.push_str("# No unit is restarted or reloaded: no rule for polkit is needed.\n");
            return;
        };
        text.push_str(
            "# Of a unit that does not start, its last lines are told.\nSupplementaryGroups=systemd-journal\n\n",
        );
        text.push_str(
            "# The rule for polkit that lets rekeyd do to these units what `then` says. To install it:\n\
             #   mkdir -p /etc/polkit-1/rules.d\n\
             #   rekeyd check --unit | sed -n 's/^#| \\{0,1\\}//p' > /etc/polkit-1/rules.d/50-rekeyd.rules\n",
        );
        for line in rule.lines() {
            text.push_str(format!("#| {line}").trim_end());
            text.push('\n');
        }
    }

    fn rule(&self) -> Option<String> {
        if self.verbs.is_empty() {
            return None;
        }
        let list = |verb: &str| {
            let units = self.verbs.iter().filter(|it| it.0 == verb).map(|it| it.1.as_str());
            serde_json::to_string(&units.collect::<Vec<_>>()).unwrap_or_default().replace("\",\"", "\", \"")
        };
        let rule = RULE.replace(RESTART, &format!("\"restart\": {}", list("restart")));
        Some(rule.replace(RELOAD, &format!("\"reload\": {}", list("reload"))))
    }
}

fn write_credentials(names: &BTreeSet<String>, text: &mut String) {
    let own: Vec<_> = names.iter().filter(|it| *it != MASTER_KEY).collect();
    if own.is_empty() {
        return;
    }
    text.push_str(
        "# The secrets that the config names as { credential = \"…\" }, each in a file that root alone can read; or sealed by\n\
         # systemd-creds encrypt, and then LoadCredentialEncrypted=.\n",
    );
    for name in own {
        text.push_str(&format!("LoadCredential={name}:/etc/credstore/rekeyd.{name}\n"));
    }
    text.push('\n');
}

/// As systemd reads a path in a list: `%` begins a specifier, a blank ends the path, and a colon what is bound.
fn escape(path: &str) -> String {
    let quoted = path.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"");
    if quoted.contains(|it: char| it.is_whitespace() || it == ':') { format!("\"{quoted}\"") } else { quoted }
}
