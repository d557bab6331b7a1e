//! What wakes the engine. The scheduler has one job, the sweep: its own zoned and repeated jobs can't be relied on over a
//! change of the clock, so that everything that is due at a time stands in the due index instead. A tick that comes twice
//! or not at all is harmless: what is due is read from stored times.
use super::event::Event;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Starts the sweep's ticks. `schedule` is a cron expression with seconds, in UTC.
///
/// # Errors
/// Where the scheduler does not take the expression.
pub(super) async fn start(schedule: &str, events: mpsc::Sender<Event>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let job = Job::new(schedule, move |_, _| {
        // A full queue means that the engine is awake anyway.
        let _ = events.try_send(Event::Sweep);
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}
