//! The daemon may die anywhere: the real binary, built with the feature `failpoints`, dies at every point of
//! `src/failpoint.rs` in every course of events below, the first, the second and the last time that it comes there. It is
//! started again, and what must be true then is read from outside: the consumers' files, the books of the services, the
//! notices that came.
//!
//! `CRASH_COURSES="mobivate life"` walks only these; `CRASH_POINTS="RowsSynced"` only these points; `CRASH_EVERY=1` dies
//! at every time that a point is reached, not only at three of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic anywhere, and tells what it did"
)]
#[path = "crash_matrix/courses.rs"]
mod courses;
#[path = "crash_matrix/offline.rs"]
mod offline;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "e2e/rig.rs"]
mod rig;
#[path = "crash_matrix/walk.rs"]
mod walk;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "e2e/watch.rs"]
mod watch;

use courses::COURSES;
use offline::PROCEDURES;
use rekeyd::failpoint::Point;
use std::collections::BTreeSet;
use std::time::Instant;
use walk::Walked;

#[test]
fn the_daemon_may_die_at_every_point_of_every_course() {
    let wanted = |list: &str, name: &str| {
        let list = std::env::var(list).unwrap_or_default();
        list.is_empty() || list.split_whitespace().any(|it| it == name)
    };
    let points: Vec<Point> = Point::ALL.iter().copied().filter(|it| wanted("CRASH_POINTS", it.name())).collect();
    let courses: Vec<_> = COURSES.iter().filter(|it| wanted("CRASH_COURSES", it.name)).collect();
    let procedures: Vec<_> = PROCEDURES.into_iter().filter(|it| wanted("CRASH_COURSES", it.0)).collect();
    let all = COURSES.len() + PROCEDURES.len();
    let every = std::env::var_os("CRASH_EVERY").is_some();
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let walked: Vec<Walked> = runtime.block_on(async {
        let walks = courses.iter().map(|it| tokio::spawn(walk::walk(it, points.clone(), every)));
        let more = procedures.iter().map(|it| tokio::spawn(offline::walk(it.0, it.1, points.clone(), every)));
        let mut walked = Vec::new();
        for walk in walks.chain(more).collect::<Vec<_>>() {
            // One that fails says so on the way; the others go on.
            walked.extend(walk.await);
        }
        walked
    });
    let deaths: usize = walked.iter().map(|it| it.deaths.len()).sum();
    let died_at: BTreeSet<Point> = walked.iter().flat_map(|it| &it.deaths).map(|it| it.0).collect();
    for it in &walked {
        println!("{it}");
    }
    println!(
        "died {deaths} times, at {} of {} points, in {} courses, within {:.0} s",
        died_at.len(),
        Point::ALL.len(),
        walked.len(),
        began.elapsed().as_secs_f64()
    );
    assert_eq!(walked.len(), courses.len() + procedures.len(), "a course failed, see above");
    let never: Vec<_> = points.iter().filter(|it| !died_at.contains(it)).collect();
    assert!(walked.len() < all || never.is_empty(), "no course comes to {never:?}");
}
