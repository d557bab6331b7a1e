//! What the command line takes, and what it refuses.
use clap::Parser;
use rekeyd::cli::{Cli, Command, command_line};

fn parses(line: &str) -> bool {
    Cli::try_parse_from(line.split(' ')).is_ok()
}

#[test]
fn the_command_line_is_consistent() {
    command_line().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_understood() {
    for line in [
        "rekeyd run",
        "rekeyd status",
        "rekeyd status a b --exit-code --json",
        "rekeyd --json --color never --config x.toml status",
        "rekeyd history",
        "rekeyd history a --since 2026-12-04 --until 2026-12-05T10:00:00+01:00",
        "rekeyd adopt a --valid-to 2026-12-04T22:00:00Z --id 42",
        "rekeyd adopt a --issued-at 2026-12-04 --unverified",
        "rekeyd adopt a --age-unknown",
        "rekeyd adopt a",
        "rekeyd adopt a --from-target --deliver",
        "rekeyd adopt --all --from-target --yes",
        "rekeyd rotate a b --now --reason audit --wait --timeout 5m",
        "rekeyd rotate a --compromised",
        "rekeyd resume a b",
        "rekeyd abandon a",
        "rekeyd reveal a",
        "rekeyd plan --for 30d",
        "rekeyd reload",
        "rekeyd completions bash",
        "rekeyd man",
    ] {
        assert!(parses(line), "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    for line in [
        "rekeyd adopt",
        "rekeyd adopt --all",
        "rekeyd adopt a --all --from-target",
        "rekeyd adopt a --from-target --yes",
        "rekeyd adopt --all --from-target --id 42",
        "rekeyd adopt a --age-unknown --valid-to 2026-12-04",
        "rekeyd adopt a --valid-to tomorrow",
        "rekeyd rotate",
        "rekeyd rotate a --timeout 5m",
        "rekeyd status Not-A-Name",
        "rekeyd plan --for soon",
        "rekeyd resume",
        "rekeyd nonsense",
    ] {
        assert!(!parses(line), "{line}");
    }
}

#[test]
fn a_plan_looks_ninety_days_ahead_unless_told_otherwise() {
    let Command::Plan(args) = Cli::try_parse_from(["rekeyd", "plan"]).unwrap().command else { panic!("not a plan") };
    assert!(format!("{args:?}").contains("7776000s"), "{args:?}");
}
