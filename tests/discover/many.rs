//! Thousands of objects: pages at both ends, and no request for each application where authentik
//! lists them.

use serde_json::Value;

use crate::objects::service;
use crate::{Said, World};

/// More than a page of Kubernetes (500) and many of authentik (100).
const OBJECTS: usize = 603;

async fn filled() -> (World, Said) {
    let world = World::new().await;
    for number in 0..OBJECTS {
        let name = format!("app-{number}");
        world.cluster.put(service("apps", &name, &[]));
    }
    world.authentik.promote_admin();
    let said = world.run(&["--apply"]).await;
    (world, said)
}

#[tokio::test]
async fn thousands_of_objects_are_read_in_pages() {
    let (world, said) = filled().await;
    assert_eq!(said.code, Some(0), "{}", said.complaints);
    assert_eq!(world.authentik.admin_providers().len(), OBJECTS);
    assert_eq!(world.slugs().len(), OBJECTS);

    world.authentik.clear_requests();
    world.cluster.expire_list();
    let said = world.run(&["--json"]).await;
    assert_eq!(said.code, Some(0), "{}", said.complaints);
    let plan: Value = serde_json::from_str(&said.out).expect("JSON");
    let items = plan["items"].as_array().expect("items");
    assert_eq!(items.len(), OBJECTS, "none is missing, none is there twice");
    let unchanged = |item: &&Value| item["verdict"]["change"] == Value::Array(Vec::new());
    assert_eq!(items.iter().filter(unchanged).count(), OBJECTS);
    // Outposts, the own user, and 7 pages each of providers and applications.
    assert_eq!(world.authentik.requests().len(), 16);
}
