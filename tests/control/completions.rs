//! The completions, each in the shell that it is for: what was begun is completed.
use std::process::{Command, Stdio};

/// A shell that finds nothing to complete would wait for it for ever.
const SECONDS: &str = "120";

/// What a shell says to a script whose first argument is the folder with its completion. `None` where there is no such shell.
fn said(shell: &str, file: &str, options: &[&str], script: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_rekeyd")).args(["completions", shell]).output().unwrap();
    assert!(made.status.success());
    std::fs::write(dir.path().join(file), made.stdout).unwrap();
    if !is_there(shell) {
        println!("skipped: there is no {shell}");
        return None;
    }
    let mut command = Command::new("timeout");
    command.arg(SECONDS).arg(shell).args(options).args(["-c", script]).arg(dir.path()).arg(dir.path());
    // Where it keeps what it knows, and what it takes the terminal for.
    command.env("HOME", dir.path()).env("TERM", "dumb").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}: {text}", output.status);
    Some(text)
}

fn is_there(shell: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|it| it.join(shell).is_file())
}

#[test]
fn bash_completes_a_command_and_its_options() {
    let script = "source \"$0/rekeyd\" && complete -p rekeyd; \
                  COMP_WORDS=(rekeyd rotat) COMP_CWORD=1; _rekeyd rekeyd rotat rekeyd; echo \"${COMPREPLY[@]}\"; \
                  COMP_WORDS=(rekeyd rotate --compr) COMP_CWORD=2; _rekeyd rekeyd --compr rotate; echo \"${COMPREPLY[@]}\"";
    let Some(text) = said("bash", "rekeyd", &["--norc"], script) else { return };
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].ends_with("-F _rekeyd rekeyd"), "{text}");
    assert_eq!(lines[1..], ["rotate", "--compromised"]);
}

/// zsh completes only where somebody types: it is given a terminal.
#[test]
fn zsh_completes_a_command_and_its_options() {
    let script = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PROMPT=; unset zle_bracketed_paste; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; echo REA''DY"
zpty -r shell out '*READY*'
zpty -w -n shell $'rekeyd rotat\t--compr\t'
zpty -r shell out '*--compromised *'
print -r -- "$out"
"#;
    let Some(text) = said("zsh", "_rekeyd", &["-f"], script) else { return };
    assert!(text.contains("rekeyd rotate "), "{text:?}");
}

#[test]
fn fish_completes_a_command_and_its_options() {
    let script = "source $argv[1]/rekeyd.fish; complete -C 'rekeyd rotat'; complete -C 'rekeyd rotate --compr'";
    let Some(text) = said("fish", "rekeyd.fish", &["--no-config"], script) else { return };
    let words: Vec<_> = text.lines().filter_map(|it| it.split('\t').next()).collect();
    assert_eq!(words, ["rotate", "--compromised"]);
}
