//! End to end: the real binary as a child process, against the simulated services over real HTTP and SMTP. What a test
//! claims it reads from outside: the control socket, the consumers' files, and the books of the services.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic anywhere, and tells what it saw")]
#[path = "e2e/adoption.rs"]
mod adoption;
#[path = "e2e/backup.rs"]
mod backup;
#[path = "e2e/by_hand.rs"]
mod by_hand;
#[path = "support/chance.rs"]
mod chance;
#[path = "e2e/clocks.rs"]
mod clocks;
#[path = "e2e/comebacks.rs"]
mod comebacks;
#[path = "e2e/command_line.rs"]
mod command_line;
#[path = "e2e/config.rs"]
mod config;
#[path = "e2e/copies.rs"]
mod copies;
#[path = "e2e/crashes.rs"]
mod crashes;
#[path = "e2e/creation.rs"]
mod creation;
#[path = "e2e/credentials.rs"]
mod credentials;
#[path = "support/damage.rs"]
mod damage;
#[path = "e2e/decommission.rs"]
mod decommission;
#[path = "e2e/disk.rs"]
mod disk;
#[path = "e2e/drift.rs"]
mod drift;
#[path = "e2e/escalation.rs"]
mod escalation;
#[path = "e2e/freezes.rs"]
mod freezes;
#[path = "e2e/hints.rs"]
mod hints;
#[path = "e2e/hooks.rs"]
mod hooks;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "support/http.rs"]
#[allow(unreachable_pub, dead_code, reason = "what lies in `support` serves several tests")]
mod http;
#[path = "e2e/incident.rs"]
mod incident;
#[path = "e2e/invoices.rs"]
mod invoices;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/listener.rs"]
mod listener;
#[path = "e2e/logins.rs"]
mod logins;
#[path = "e2e/lost.rs"]
mod lost;
#[path = "support/mounts.rs"]
mod mounts;
#[path = "e2e/moves.rs"]
mod moves;
#[path = "e2e/near_end.rs"]
mod near_end;
#[path = "e2e/notices.rs"]
mod notices;
#[path = "e2e/operator.rs"]
mod operator;
#[path = "e2e/plan.rs"]
mod plan;
#[path = "e2e/power.rs"]
mod power;
#[path = "e2e/put_back.rs"]
mod put_back;
#[path = "e2e/rack.rs"]
mod rack;
#[path = "e2e/regressions.rs"]
mod regressions;
#[path = "e2e/reload.rs"]
mod reload;
#[path = "e2e/rig.rs"]
mod rig;
#[path = "e2e/rights.rs"]
mod rights;
#[path = "e2e/rotation.rs"]
mod rotation;
#[path = "e2e/set_back.rs"]
mod set_back;
#[path = "e2e/slow.rs"]
mod slow;
#[path = "e2e/stuck.rs"]
mod stuck;
#[path = "e2e/suspended.rs"]
mod suspended;
#[path = "e2e/system.rs"]
mod system;
#[path = "e2e/telling.rs"]
mod telling;
#[path = "e2e/trouble.rs"]
mod trouble;
#[path = "e2e/two_daemons.rs"]
mod two_daemons;
#[path = "e2e/units.rs"]
mod units;
#[path = "e2e/verbs.rs"]
mod verbs;
#[path = "e2e/verbs_between.rs"]
mod verbs_between;
#[path = "e2e/verbs_cutover.rs"]
mod verbs_cutover;
#[path = "e2e/verbs_under_way.rs"]
mod verbs_under_way;
#[path = "e2e/walk.rs"]
mod walk;
#[path = "e2e/watch.rs"]
mod watch;
#[path = "e2e/words.rs"]
mod words;
