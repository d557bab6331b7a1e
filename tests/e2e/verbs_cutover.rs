//! The table of verbs and phases once more, for a key whose create ends the one before it. Each key has an account of its own.
use crate::rig::Rig;
use crate::verbs::Cell::{No, Yes};
use crate::verbs::End::{In, Paused, Rests, Shown};
use crate::verbs::{MANAGED, Scene, at};
use rekeyd::control::protocol::PhaseName;
use rekeyd::simulator::{Call, Fault, Service, Simulator, World};
use std::fs;
use std::time::Duration;

async fn mobivate() -> Scene {
    Scene::of(Service::Mobivate, at(Service::Mobivate)).await
}

fn accepts_new_keys(sim: &Simulator) {
    sim.behave(Service::Mobivate, |it| it.accept_after_ms = 0);
    sim.accept_new_keys(Service::Mobivate);
}

fn refuses_new_keys(sim: &Simulator) {
    sim.behave(Service::Mobivate, |it| it.accept_after_ms = 3_600_000);
}

#[tokio::test]
async fn a_cutover_that_is_announced() {
    let scene = mobivate().await;
    scene.each(&["rotate"]).await;
    scene.all(|it| it.phase == PhaseName::Announce).await;
    let row = [
        /* rotate   */ Yes("rotation 2 begins in the next window", In(PhaseName::Announce)),
        /* now      */ Yes("rotation 2 begins now", Rests(2)),
        /* leaked   */ Yes("rotation 2 begins now", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("neither paused nor halted", In(PhaseName::Announce)),
        /* rollback */ No("a new key ends the old one"),
        /* abandon  */ No("no new version"),
        /* adopt    */ No("not possible in this phase"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}

#[tokio::test]
async fn the_create_of_a_cutover_with_a_lost_answer() {
    let scene = mobivate().await;
    // The create takes effect, and for long the read does not show that it did.
    scene.everywhere(|sim| {
        sim.faults(Service::Mobivate, |it| it.often(Call::Create, Fault::LostAnswer, 1000));
        sim.behave(Service::Mobivate, |it| it.lag_ms = 600_000);
    });
    scene.each(&["rotate", "--now"]).await;
    // So often that the owners were told, and so long that the old key is known to be dead.
    scene.all(|it| it.phase == PhaseName::Create && it.failures >= 3).await;
    let row = [
        /* rotate   */ Yes("rotation 2 is under way already, in create", Rests(2)),
        /* now      */ Yes("rotation 2 is under way already, in create", Rests(2)),
        /* leaked   */ Yes("rotation 2 is under way already, in create", Rests(2)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("tried again now", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ No("the provider refuses the old key"),
        /* adopt    */ No("a rotation is under way"),
        /* ack      */ Yes("told again only when it becomes something else", Rests(2)),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    let found = |_: &Rig| {
        scene.everywhere(|sim| {
            sim.faults(Service::Mobivate, rekeyd::simulator::FaultPlan::clear);
            sim.behave(Service::Mobivate, |it| it.lag_ms = 0);
        });
    };
    scene.check(row, found).await;
}

#[tokio::test]
async fn the_delivery_in_the_gap_of_a_cutover() {
    let scene = mobivate().await;
    crate::rig::write(&scene.rig.path("hold"), "");
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Deliver).await;
    let row = [
        /* rotate   */ Yes("rotation 2 is under way already, in deliver", Rests(2)),
        /* now      */ Yes("rotation 2 is under way already, in deliver", Rests(2)),
        /* leaked   */ Yes("rotation 2 is under way already, in deliver", Rests(2)),
        /* pause    */ Yes("the cutover under way finishes", Rests(2)),
        /* resume   */ Yes("", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ No("the new key is in use already"),
        /* adopt    */ No("a rotation is under way"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |rig| fs::remove_file(rig.path("hold")).unwrap()).await;
}

#[tokio::test]
async fn the_verification_after_a_cutover() {
    let world = World { accept_within: Duration::from_secs(300), ..at(Service::Mobivate) };
    let scene = Scene::of(Service::Mobivate, world).await;
    scene.everywhere(refuses_new_keys);
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Verify).await;
    let row = [
        /* rotate   */ Yes("rotation 2 is under way already, in verify", Rests(2)),
        /* now      */ Yes("rotation 2 is under way already, in verify", Rests(2)),
        /* leaked   */ Yes("rotation 2 is under way already, in verify", Rests(2)),
        /* pause    */ Yes("the cutover under way finishes", Rests(2)),
        /* resume   */ Yes("", Rests(2)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ No("the new key is in use already"),
        /* adopt    */ No("a rotation is under way"),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| scene.everywhere(accepts_new_keys)).await;
}

#[tokio::test]
async fn at_rest_after_a_cutover() {
    let scene = mobivate().await;
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Steady && crate::rig::number(it) == 2).await;
    let row = [
        /* rotate   */ Yes("rotation 3 begins in the next window", In(PhaseName::Announce)),
        /* now      */ Yes("rotation 3 begins now", Rests(3)),
        /* leaked   */ Yes("rotation 3 begins now", Rests(3)),
        /* pause    */ Yes("nothing is begun or revoked until", Paused),
        /* resume   */ Yes("neither paused nor halted", In(PhaseName::Steady)),
        /* rollback */ No("a new key ends the old one"),
        /* abandon  */ No("no new version"),
        /* adopt    */ Yes("adopted", Rests(3)),
        /* ack      */ No("nothing is firing"),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}

/// The provider refused what it issued, twice: the third version is the one in use when it is accepted at last.
#[tokio::test]
async fn halted_in_a_cutover() {
    let scene = mobivate().await;
    scene.everywhere(refuses_new_keys);
    scene.each(&["rotate", "--now"]).await;
    scene.all(|it| it.phase == PhaseName::Halted).await;
    scene.everywhere(accepts_new_keys);
    let row = [
        /* rotate   */ No("it is halted"),
        /* now      */ No("it is halted"),
        /* leaked   */ No("it is halted"),
        /* pause    */ Yes("nothing is begun or revoked until", In(PhaseName::Halted)),
        /* resume   */ Yes("it goes on in verify", Rests(3)),
        /* rollback */ No("a rotation is under way"),
        /* abandon  */ No("the new key is in use already"),
        /* adopt    */ Yes("adopted", Rests(4)),
        /* ack      */ Yes("told again only when it becomes something else", In(PhaseName::Halted)),
        /* revoked  */ No("no old version waits"),
        /* retire   */ MANAGED,
        /* forget   */ MANAGED,
        /* reveal   */ Yes("", Shown),
    ];
    scene.check(row, |_| {}).await;
}
