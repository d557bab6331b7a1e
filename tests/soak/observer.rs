//! Looks at the consumers' files all the time, and knows what is true at the services.
use crate::town::Town;
use rekeyd::clock;
use rekeyd::core::time::Timestamp;
use rekeyd::simulator::{Service, Truth};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often all files are looked at, as far as the machine has the time: [`Seen`] says how often it was.
const SAMPLE: Duration = Duration::from_millis(10);

/// What was seen.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) samples: u64,
    /// How often all files were looked at, and within how long altogether.
    pub(crate) rounds: u32,
    pub(crate) within: Duration,
    /// The longest time from one round to the next.
    pub(crate) longest: Duration,
    /// Keys that came into use.
    pub(crate) rotations: u64,
    /// What was dead although the service keeps old keys, once for each time that it came up.
    pub(crate) dead: Vec<String>,
    /// How long a consumer was without a working key, where each create ends the key before it.
    pub(crate) gaps: Vec<Duration>,
}

/// Looks until it is ended.
pub(crate) struct Observer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Observer {
    pub(crate) fn of(town: &Town) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let file = |(service, key): (Service, String)| File::new(service, town.file(&key));
        let mut files: Vec<File> = town.keys().into_iter().map(file).collect();
        let (truth, ended) = (town.rig.sim.truth().clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::Relaxed) {
                let began = Instant::now();
                files.iter_mut().for_each(|it| it.look(&truth, &mut seen));
                thread::sleep(SAMPLE.saturating_sub(began.elapsed()));
                let took = began.elapsed();
                seen.rounds += 1;
                seen.within += took;
                seen.longest = seen.longest.max(took);
            }
            seen
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// One consumer's file.
struct File {
    service: Service,
    path: PathBuf,
    held: String,
    /// Since when what it holds is refused.
    dead_since: Option<Timestamp>,
}

impl File {
    fn new(service: Service, path: PathBuf) -> Self {
        let held = fs::read_to_string(&path).unwrap();
        Self { service, path, held, dead_since: None }
    }

    fn look(&mut self, truth: &Truth, seen: &mut Seen) {
        seen.samples += 1;
        let held = fs::read_to_string(&self.path).unwrap_or_default();
        let live = truth.is_live_at(self.service, &held);
        // Between the look at the file and that at the service the file may have been replaced.
        if !live && fs::read_to_string(&self.path).unwrap_or_default() != held {
            return;
        }
        seen.rotations += u64::from(held != self.held);
        if self.service == Service::Mobivate {
            self.measure(truth, live, seen);
        } else if !live && self.dead_since.is_none() {
            seen.dead.push(format!("{} held {held:?}", self.path.display()));
        }
        self.dead_since = if live { None } else { self.dead_since.or(Some(clock::now())) };
        self.held = held;
    }

    /// The gap is from the moment in which the service ended the old key to the first look at the new one.
    fn measure(&self, truth: &Truth, live: bool, seen: &mut Seen) {
        if live && self.dead_since.is_some() {
            let ended = truth.find(&self.held).and_then(|it| it.revoked_at).or(self.dead_since);
            seen.gaps.extend(ended.map(|it| clock::now().since(it)));
        }
    }
}
