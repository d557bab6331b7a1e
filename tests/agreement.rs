//! The providers and the simulation were written apart, from the same documents: here they meet.
#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]
use rekeyd::clock;
use rekeyd::core::facts::Probe;
use rekeyd::core::names::{Incarnation, Token};
use rekeyd::providers::{Auth, CreateRequest, Created};
use rekeyd::secret::Secret;
use rekeyd::simulator::{Options, Service, Simulator, World, write_config};
use std::time::Duration;

async fn check(format: &str) {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let world = World { format: format.to_owned(), ..World::default() };
    let loaded = rekeyd::config::load(&write_config(dir.path(), &simulator, &world).unwrap()).unwrap();
    for (service, name) in Service::ALL.map(|it| (it, World::key_name(it))) {
        let key = &loaded.settings.keys[&name.parse().unwrap()];
        let provider = &loaded.settings.providers[&key.provider].provider;
        let by = Incarnation { install: "0a1b2c3d".into(), epoch: "4e5f60".into() };
        let token = Token { by, name: key.name.clone(), n: 1 };
        let valid_to = Some(clock::now().plus(Duration::from_secs(3600)));
        let ask = CreateRequest { token: &token, create: key.create.as_ref(), valid_to };
        let raw = provider.create(&Auth::default(), &ask).await.unwrap();
        let issued = match provider.parse(&raw).unwrap() {
            Created::One(it) => it,
            Created::All(all) => all.last().unwrap().clone(),
        };
        let secret = issued.secret.unwrap();
        let truth = simulator.truth().find(secret.expose_str().unwrap()).unwrap();
        assert_eq!(truth.service, service);
        assert_eq!(provider.probe(&secret).await.0, Probe::Alive, "{name}");
        assert_eq!(provider.probe(&Secret::from("another-key".to_owned())).await.0, Probe::Dead, "{name}");
        if let Some(id) = issued.id {
            assert_eq!((&id, issued.valid_from, issued.valid_to), (&truth.id, truth.valid_from, truth.valid_to));
            let listed = provider.list(&Auth::default(), key.create.as_ref()).await.unwrap();
            assert_eq!((listed.keys.len(), listed.keys[0].name.clone()), (1, truth.name));
            provider.revoke(&Auth::default(), &id).await.unwrap();
            assert_eq!(provider.probe(&secret).await.0, Probe::Dead, "{name}");
        }
    }
}

#[tokio::test]
async fn providers_and_simulation_understand_each_other_in_json() {
    check("json").await;
}

#[tokio::test]
async fn providers_and_simulation_understand_each_other_in_xml() {
    check("xml").await;
}
