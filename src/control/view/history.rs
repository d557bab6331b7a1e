//! What happened, as `history` shows it.
use crate::control::protocol::{
    ChannelRow, CommandRow, DeliveryRow, HistoryReport, NoticeRow, PhaseRow, ReadRow, RotationRow,
};
use crate::core::names::KeyName;
use crate::core::record::{Delivery, Rotation};
use crate::core::time::Timestamp;
use crate::engine::handle::{self, History};

/// For `GET /v1/history` and `GET /v1/keys/{key}/history`.
pub fn history(from: History) -> HistoryReport {
    HistoryReport {
        rotations: from.rotations.into_iter().map(|(key, it)| rotation(key, it)).collect(),
        notices: from.notices.into_iter().map(notice).collect(),
        reads: from.reads.into_iter().map(read).collect(),
        commands: from.commands.into_iter().map(command).collect(),
    }
}

fn rotation(key: KeyName, it: Rotation) -> RotationRow {
    let phases = phases(&it);
    let delivery = |(target, of): (_, Delivery)| DeliveryRow {
        target,
        at: of.at.into(),
        ms: of.ms,
        result: of.result,
        attempts: of.attempts,
    };
    RotationRow {
        key,
        attempt: it.attempt,
        version: it.version,
        trigger: it.wish.trigger,
        actor: it.wish.actor,
        reason_given: it.wish.reason,
        started_at: it.started_at.into(),
        finished_at: it.finished_at.map(Into::into),
        result: it.result,
        cutover_gap_ms: it.cutover_gap_ms,
        phases,
        deliveries: it.deliveries.into_iter().map(delivery).collect(),
    }
}

/// Each phase lasts until the next begins, the last one until the rotation ends.
fn phases(of: &Rotation) -> Vec<PhaseRow> {
    let ends = of.phases.iter().skip(1).map(|(_, at)| Some(*at)).chain([of.finished_at]);
    let row = |((phase, at), end): (&(String, Timestamp), Option<Timestamp>)| PhaseRow {
        phase: phase.clone(),
        at: (*at).into(),
        ms: end.map(|it| u64::try_from(it.since(*at).as_millis()).unwrap_or(u64::MAX)),
    };
    of.phases.iter().zip(ends).map(row).collect()
}

fn notice(it: handle::NoticeRow) -> NoticeRow {
    let channel = |it: handle::ChannelRow| ChannelRow {
        channel: it.channel,
        state: it.state.to_owned(),
        at: it.at.into(),
        why: it.why,
    };
    NoticeRow {
        id: it.notice.id,
        kind: it.notice.kind,
        key: it.notice.key,
        severity: it.notice.severity,
        at: it.notice.at.into(),
        owner: it.owner,
        summary: it.notice.summary,
        channels: it.channels.into_iter().map(channel).collect(),
    }
}

fn read(it: handle::ReadRow) -> ReadRow {
    let last_at = it.last.map(Into::into);
    ReadRow { key: it.name, at: it.at.into(), by: it.by, version: it.version, via: it.via, times: it.times, last_at }
}

fn command(it: handle::CommandRow) -> CommandRow {
    CommandRow {
        key: it.name,
        at: it.at.into(),
        verb: it.verb,
        options: it.options,
        actor: it.actor,
        reason_given: it.reason,
        result: it.result,
    }
}
