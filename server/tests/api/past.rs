//! Who changed an object, and what it was before: asked of the verbs behind both doors.

use kontiki_server as server;
use proto::seam::Env;
use serde_json::Value;
use server::auth::Identity;
use server::objects::{Freshness, Get, Objects, Target};

use crate::harness::{CONFIG_MAPS, Replica, config_map, delete, post, put};

#[tokio::test]
async fn an_objects_past_can_be_read_and_says_who_made_it() {
    let replica = Replica::start().await;
    let path = format!("{CONFIG_MAPS}/m");
    let (alice, bob) = (replica.client("alice", &["system:masters"]), replica.client("bob", &["system:masters"]));
    post(&alice, CONFIG_MAPS, &config_map("m", "one")).await.expect(201);
    put(&bob, &path, &config_map("m", "two")).await.expect(200);
    post(&bob, CONFIG_MAPS, &config_map("mm", "its key begins with the other's")).await.expect(201);
    delete(&alice, &path).await.expect(200);

    let objects = Objects::new(replica.store.clone(), Env::real());
    let target = Target::object(api::kinds::find("", "v1", "configmaps").unwrap(), "default", "m");
    let user = Identity::system("test");
    let history = |limit| server::objects::History { target: target.clone(), limit, user: user.clone() };
    let found = objects.history(history(0)).await.unwrap().changes;
    assert_eq!(found.iter().map(|change| change.author.as_str()).collect::<Vec<_>>(), ["alice", "bob", "alice"]);
    let newest = objects.history(history(1)).await.unwrap().changes;
    assert_eq!(newest.iter().map(|change| change.revision).collect::<Vec<_>>(), [found[2].revision]);

    let at = async |revision| {
        let freshness = Freshness::Exactly(revision);
        let object = objects.get(Get { target: target.clone(), freshness, user: user.clone() }).await;
        let json = |object: server::objects::Object| serde_json::from_slice::<Value>(&object.json()).unwrap();
        object.map(|object| json(object)["data"].clone()).map_err(|status| status.code)
    };
    let (made, changed) = (config_map("m", "one")["data"].clone(), config_map("m", "two")["data"].clone());
    assert_eq!(at(found[0].revision - 1).await, Err(404), "not yet there");
    assert_eq!(at(found[0].revision).await, Ok(made));
    assert_eq!(at(found[1].revision).await, Ok(changed.clone()));
    assert_eq!(at(found[2].revision - 1).await, Ok(changed), "a revision that changed another object");
    assert_eq!(at(found[2].revision).await, Err(404), "deleted");

    let never = Target { name: "never".into(), ..target.clone() };
    let never = server::objects::History { target: never, limit: 0, user: user.clone() };
    assert_eq!(objects.history(never).await.unwrap_err().code, 404);
    replica.stop().await;
}
