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

/// Each created by both runs, which is slow to test with thousands.
const OBJECTS_OF_TWO_RUNS: usize = 120;
/// How often a list that changes is read.
const LIST_ATTEMPTS: usize = 3;

/// What one run has just created, the other asks for by name.
#[tokio::test]
async fn two_runs_at_once_leave_nothing_half_done_and_list_everything_once_each() {
    let world = World::new().await;
    world.authentik.promote_admin();
    for number in 0..OBJECTS_OF_TWO_RUNS {
        let name = format!("app-{number}");
        world.cluster.put(service("apps", &name, &[]));
    }
    let (one, other) = tokio::join!(world.run(&["--apply"]), world.run(&["--apply"]));
    for said in [one, other] {
        // One that always reads while the other creates gives up.
        let is_fine = said.code == Some(0) || said.complaints.contains("changes while it is read");
        assert!(is_fine, "{}", said.complaints);
    }
    let requests = world.authentik.requests();
    let lists = requests.iter().filter(|request| {
        let query = request.query.as_deref().unwrap_or_default();
        request.path.ends_with("/providers/proxy/") && query.starts_with("page=1&")
    });
    assert!(lists.count() <= 2 * LIST_ATTEMPTS);

    let said = world.run(&["--apply"]).await;
    let settled = format!("0 to change, {OBJECTS_OF_TWO_RUNS} up to date");
    assert!(said.out.contains(&settled), "{}", said.out);
    assert_eq!(world.authentik.admin_providers().len(), OBJECTS_OF_TWO_RUNS);
    assert_eq!(world.slugs().len(), OBJECTS_OF_TWO_RUNS);
    let [assigned, embedded] = world.authentik.admin_assigned();
    assert_eq!((assigned.len(), embedded.len()), (OBJECTS_OF_TWO_RUNS, 0));
}
