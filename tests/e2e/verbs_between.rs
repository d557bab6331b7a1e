//! The table of verbs and phases once more, for what lies between two rotations: an old key whose end is refused, and a state
//! that was put back and does not know the world yet.
use crate::verbs::Cell::{Either, No, Yes};
use crate::verbs::End::{In, Paused, Rests, Shown};
use crate::verbs::{MANAGED, Scene, at};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, World};
use std::fs;
use std::time::Duration;

const REFUSED: Fault = Fault::ErrorBefore { status: 500 };

#[tokio::test]
async fn the_end_of_an_old_key_that_is_refused() {
    let world = World { overlap: Duration::from_millis(1200), ..at(Service::Infobip) };
    let scene = Scene::of(Service::Infobip, world).await;
    scene.rig.sim.faults(Service::Infobip, |it| it.often(Call::Revoke, REFUSED, 1000));
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Revoke && it.attention.iter().any(|it| it.reason == "unrevoked")).await;
    let row = [
        /* rotate   */ Yes("rotation 3 begins now", Rests(3)),
        /* now      */ Yes("rotation 3 begins now", Rests(3)),
        /* leaked   */ Yes("rotation 3 begins now", Rests(3)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("what waits is tried now", In(PhaseName::Steady)),
        /* rollback */ No("being revoked already"),
        /* abandon  */ No("no new version"),
        /* adopt    */ Yes("adopted", Rests(3)),
        // The third refusal is told.
        /* ack      */
        Either("nothing is firing", "told again only when it becomes something else"),
        /* revoked  */ Yes("booked as revoked", In(PhaseName::Steady)),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |rig| rig.sim.faults(Service::Infobip, |it| it.clear())).await;
}

#[tokio::test]
async fn a_state_that_was_put_back_and_can_not_be_compared_yet() {
    let mut scene = Scene::of(Service::Infobip, at(Service::Infobip)).await;
    let backup = scene.rig.path("state.backup");
    scene.rig.ok(&["backup", backup.to_str().unwrap()]).await;
    scene.rig.stop().await;
    fs::remove_dir_all(scene.rig.path("state")).unwrap();
    scene.rig.ok(&["restore", backup.to_str().unwrap()]).await;
    scene.rig.sim.faults(Service::Infobip, |it| it.often(Call::List, REFUSED, 1000));
    scene.rig.run().await;
    scene.all(|it| it.phase == PhaseName::Reobserve).await;
    let row = [
        /* rotate   */ Yes("rotation 2 begins now", Rests(2)),
        /* now      */ Yes("rotation 2 begins now", Rests(2)),
        /* leaked   */ Yes("rotation 2 begins now", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("what waits is tried now", In(PhaseName::Steady)),
        /* rollback */ No("not possible in this phase"),
        /* abandon  */ No("no new version"),
        /* adopt    */ No("not possible in this phase"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |rig| rig.sim.faults(Service::Infobip, |it| it.clear())).await;
}
