//! `rekeyd man`: the manual, one page with every subcommand; and all pages of it, for a package.
mod roff;

use super::exit::{Exit, Failure};
use super::output::Output;
use clap_mangen::Man;
use std::io;
use std::path::{Path, PathBuf};

/// `rekeyd man`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Write every page into this folder instead: rekeyd(1), one for each command, and rekeyd.toml(5)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What rekeyd.toml(5) is made of.
const CONFIG: &str = include_str!("../../docs/config.md");

/// The sections that the command line itself does not tell.
const MORE: &str = r#".SH "EXIT STATUS"
.TP
0
done, or well
.TP
1
a human is needed (status \-\-exit\-code), a rotation failed (rotate \-\-wait), a key would be worse off (plan \-\-what\-if), or a channel failed (notify)
.TP
2, 64
the command line makes no sense
.TP
65
what was given is no good: a dead key, a verb that has no sense now
.TP
66
there is no such key, or nothing on stdin
.TP
69
the daemon does not run
.TP
70
a fault of rekeyd
.TP
73, 74
a file can't be created, read or written
.TP
75
not now, or still under way: try later
.TP
77
not permitted
.TP
78
the config has faults
.SH SIGNALS
TERM and INT stop the daemon once the calls in flight have ended (at most 30 s), a second one stops it at once.
HUP reads the config anew. USR1 looks at every key now, and asks its provider.
.SH FILES
.TP
/etc/rekeyd/rekeyd.toml, /etc/rekeyd/conf.d/*.toml
the config
.TP
/run/rekeyd/control.sock
the control socket
.TP
/var/lib/rekeyd
the state: sealed secrets, records, notices on their way, and the history
.SH ENVIRONMENT
.TP
REKEYD_CONFIG
the config, where \-\-config does not name it
.TP
STATE_DIRECTORY, RUNTIME_DIRECTORY, CREDENTIALS_DIRECTORY
set by systemd: where the state, the control socket and the credentials are
.TP
RUST_LOG
what is logged, such as rekeyd::engine=trace
.TP
NO_COLOR
no colours
.SH "SEE ALSO"
.BR rekeyd.toml (5)
for every field of the config.
The control socket, the metrics, the systemd units and the architecture are described in docs/ of the sources.
"#;

pub(super) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.dir {
        Some(dir) => write_all(dir)?,
        None => out.bytes(&page()?)?,
    }
    Ok(Exit::Ok)
}

fn write_all(dir: &Path) -> Result<(), Failure> {
    let write = |name: String, page: Vec<u8>| {
        let path = dir.join(name);
        let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, page));
        written.map_err(|it| Failure::new(Exit::CannotCreate, format!("{}: {it}", path.display())))
    };
    write("rekeyd.1".to_owned(), page()?)?;
    write("rekeyd.toml.5".to_owned(), roff::config_page(CONFIG).into_bytes())?;
    let mut line = super::command_line();
    line.build();
    for sub in line.get_subcommands().filter(|it| it.get_name() != "help") {
        let mut page = Vec::new();
        Man::new(sub.clone()).section("1").render(&mut page)?;
        write(format!("rekeyd-{}.1", sub.get_name()), page)?;
    }
    Ok(())
}

fn page() -> io::Result<Vec<u8>> {
    let mut line = super::command_line();
    line.build();
    let mut page = Vec::new();
    let main = Man::new(line.clone()).section("1");
    main.render_title(&mut page)?;
    main.render_name_section(&mut page)?;
    main.render_synopsis_section(&mut page)?;
    main.render_description_section(&mut page)?;
    main.render_options_section(&mut page)?;
    page.extend_from_slice(b".SH COMMANDS\n");
    for sub in line.get_subcommands().filter(|it| it.get_name() != "help") {
        page.extend_from_slice(subcommand(sub)?.as_bytes());
    }
    page.extend_from_slice(MORE.as_bytes());
    Ok(page)
}

/// The synopsis, description and options of one subcommand, as one part of the page.
fn subcommand(sub: &clap::Command) -> io::Result<String> {
    let own = |it: &clap::Arg| !it.is_global_set() && !["help", "version"].contains(&it.get_id().as_str());
    let hidden: Vec<_> = sub.get_arguments().filter(|it| !own(it)).map(|it| it.get_id().clone()).collect();
    let sub = hidden.into_iter().fold(sub.clone(), |sub, id| sub.mut_arg(id, |it| it.hide(true)));
    let has_options = sub.get_arguments().any(|it| !it.is_hide_set());
    let man = Man::new(sub.clone());
    let synopsis = rendered(|to| man.render_synopsis_section(to))?;
    let description = rendered(|to| man.render_description_section(to))?;
    let options = if has_options { rendered(|to| man.render_options_section(to))? } else { String::new() };
    Ok(format!(".SS {}\n{synopsis}.PP\n{description}{options}", sub.get_name()))
}

/// A section without its heading and without the preamble of a page.
fn rendered(section: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = Vec::new();
    section(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|it| ![".SH", ".ie", ".el"].iter().any(|own| it.starts_with(own)));
    Ok(lines.map(|it| format!("{it}\n")).collect())
}
