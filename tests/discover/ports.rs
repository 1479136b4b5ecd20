//! Where the name of a Service leads, as its spec says.

use serde_json::{Value, json};

use crate::World;
use crate::objects::service;

fn with_ports(name: &str, headless: bool, ports: Value, annotations: &[(&str, &str)]) -> Value {
    let mut object = service("apps", name, annotations);
    if headless {
        object["spec"]["clusterIP"] = "None".into();
        object["spec"]["clusterIPs"] = json!(["None"]);
    }
    object["spec"]["ports"] = ports;
    object
}

#[tokio::test]
async fn requests_go_to_an_address_that_listens() {
    let world = World::new().await;
    let web = json!({"name": "web", "protocol": "TCP", "port": 80, "targetPort": "http"});
    let dns = json!({"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53});
    let numbered = json!({"port": 80, "targetPort": 8080});
    let bare = json!({"port": 3000});
    let pods = [("internal-port", "8081")];
    for (name, headless, ports, annotations, port) in [
        ("usual", false, json!([numbered]), &[][..], "80"),
        ("named", false, json!([web]), &[], "80"),
        ("headless", true, json!([numbered]), &[], "8080"),
        ("bare", true, json!([bare]), &[], "3000"),
        ("said", true, json!([web]), &pods, "8081"),
        ("dns-and-web", false, json!([dns, web]), &[], "80"),
    ] {
        let object = with_ports(name, headless, ports, annotations);
        world.cluster.put(object);
        let said = world.run(&[]).await;
        let expected = format!("-> http://{name}.apps.svc.cluster.local:{port}\n");
        assert!(said.out.contains(&expected), "{expected} in {}", said.out);
        world.cluster.remove(name);
    }
    for (headless, ports, expected) in [
        (
            true,
            json!([web]),
            "annotation authentik.io/internal-port is missing, and port 80 leads to \"http\" of the pods",
        ),
        (
            false,
            json!([dns]),
            "annotation authentik.io/internal-port is missing, and the Service has no TCP port: 53/UDP (dns)",
        ),
    ] {
        world.cluster.put(with_ports("wrong", headless, ports, &[]));
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.out.contains(expected), "{expected} in {}", said.out);
    }
    assert_eq!(world.writes(), [""; 0]);
}
