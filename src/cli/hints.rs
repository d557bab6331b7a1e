//! The commands that are named to be tried next, as this command line has to spell them.
use super::command_line;
use std::path::Path;

/// They take no config, or are told where it is by other means.
const WITHOUT_CONFIG: [&str; 4] = ["init", "demo", "completions", "man"];

/// A text in which each `rekeyd VERB` names the config that this command line named: without it the next command would ask
/// another daemon, or none.
pub(super) fn at_config(text: &str, config: Option<&Path>) -> String {
    let Some(config) = config else { return text.to_owned() };
    let config = quoted(&config.display().to_string());
    let line = command_line();
    let verbs: Vec<&str> = line.get_subcommands().map(clap::Command::get_name).collect();
    let mut parts = text.split(NAME);
    let mut hinted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let verb = part.split(|it: char| !it.is_ascii_lowercase()).next().unwrap_or_default();
        let is_command = verbs.contains(&verb) && !WITHOUT_CONFIG.contains(&verb);
        // Before the verb: what follows it may be a redirection, a full stop or another command.
        let option = if is_command { format!("--config {config} ") } else { String::new() };
        hinted = hinted + NAME + &option + part;
    }
    hinted
}

/// The command that tells all about a config.
pub(super) fn check(config: &Path) -> String {
    format!("rekeyd --config {} check", quoted(&config.display().to_string()))
}

/// What a command begins with, also at the fold of a line.
pub(super) const NAME: &str = "rekeyd ";

/// As a shell takes it for one word.
fn quoted(path: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "/._-+,:@%=".contains(it);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(at_config(text, Some(Path::new("./my.toml"))), expected);
        assert_eq!(at_config(text, None), text);
    }

    #[test]
    fn the_next_command_names_the_config_that_this_one_named() {
        check("try: rekeyd check\n", "try: rekeyd --config ./my.toml check\n");
        check(
            "rekeyd rotate x, or: rekeyd adopt x < FILE",
            "rekeyd --config ./my.toml rotate x, or: rekeyd --config ./my.toml adopt x < FILE",
        );
    }

    #[test]
    fn what_is_no_command_stays_as_it_is() {
        check("systemctl status rekeyd", "systemctl status rekeyd");
        check("rekeyd itself broke down", "rekeyd itself broke down");
        check("rekeyd --config a.toml check", "rekeyd --config a.toml check");
        check("write one with: rekeyd init", "write one with: rekeyd init");
    }

    #[test]
    fn a_path_that_a_shell_would_take_apart_is_quoted() {
        let spelled = at_config("rekeyd status", Some(Path::new("/a b/it's.toml")));
        assert_eq!(spelled, "rekeyd --config '/a b/it'\\''s.toml' status");
    }
}
