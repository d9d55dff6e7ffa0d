//! With the database stopped, the fleet is watched and published as before.

use store::testing::TestStore;

use crate::bench::Bench;
use crate::server::Server;

store::on_every_engine!(the_fleet_is_watched_without_the_database);

async fn the_fleet_is_watched_without_the_database(store: TestStore) {
    let bench = Bench::open(&store).await;
    let server = Server::ollama(&["m"]).await;
    bench.add("a", &server.url()).await;
    bench.watch();
    store.stop(&bench.db).await;
    assert!(bench.registry.drain_node("a").await.is_err());
    server.speak_ollama(&["m", "pulled-meanwhile"]);
    bench
        .until("the new model is known", |fleet| {
            !fleet.replicas("pulled-meanwhile").is_empty()
        })
        .await;
    assert!(bench.node("a").is_routable());
    store.resume().await;
    bench.stop().await;
}
