//! Envoy with its recipe, over HTTP and over gRPC.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Behind, parsed};

pub(super) fn envoy(behind: &Behind<'_>, address: SocketAddr, grpc: bool) -> String {
    let mut recipe = parsed("recipes/envoy/static.yaml", &[]);
    let place = |address: SocketAddr| json!({"address": address.ip().to_string(), "port_value": address.port()});
    let listener = &mut recipe["static_resources"]["listeners"][0];
    listener["address"]["socket_address"] = place(address);
    let chain = &mut listener["filter_chains"][0];
    let context = &mut chain["transport_socket"]["typed_config"]["common_tls_context"];
    let protocols = &context["alpn_protocols"];
    assert_eq!(*protocols, json!(["h2", "http/1.1"]), "browsers get HTTP/2");
    let files = &mut context["tls_certificates"][0];
    assert!(files["certificate_chain"]["filename"].is_string());
    assert!(files["private_key"]["filename"].is_string());
    if let Some(certificate) = behind.certificate {
        files["certificate_chain"]["filename"] = certificate.chain().into();
        files["private_key"]["filename"] = certificate.key().into();
    } else {
        let chain = chain.as_object_mut().expect("a chain");
        chain.remove("transport_socket").expect("TLS");
    }
    let manager = &mut chain["filters"][0]["typed_config"];
    // It waits that long before it closes a connection that it refuses to go on with.
    manager["delayed_close_timeout"] = Value::from("0.01s");
    let hosts = &mut manager["route_config"]["virtual_hosts"];
    let host = hosts[0].to_string();
    let hosts_of = |(number, (name, _)): (usize, &(&str, SocketAddr))| -> Value {
        let own = host.replace("app.example.com", name);
        let own = own.replace(
            "\"cluster\":\"app\"",
            &format!("\"cluster\":\"app{number}\""),
        );
        let mut own: Value = serde_json::from_str(&own).expect("JSON");
        own["name"] = Value::from(format!("app{number}"));
        own
    };
    *hosts = behind.sites.iter().enumerate().map(hosts_of).collect();
    let timeout = behind.patience("10s", "1s");
    let server = &mut manager["http_filters"][0]["typed_config"]["http_service"]["server_uri"];
    assert_eq!(server["timeout"], "10s");
    server["timeout"] = timeout.into();
    if grpc {
        let asking = manager["http_filters"][0]["typed_config"].as_object_mut();
        let asking = asking.expect("ext_authz");
        for http in ["allowed_headers", "http_service"] {
            asking.remove(http).expect(http);
        }
        let service = json!({"envoy_grpc": {"cluster_name": "ext-authz"}, "timeout": timeout});
        asking.insert("grpc_service".to_owned(), service);
    }
    let clusters = recipe["static_resources"]["clusters"].as_array_mut();
    let clusters = clusters.expect("clusters");
    let cluster = clusters[0].clone();
    let to = |name: &str, address: SocketAddr| {
        let mut own = cluster.clone();
        own["name"] = Value::from(name);
        let assignment = &mut own["load_assignment"];
        assignment["cluster_name"] = Value::from(name);
        assignment["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
            place(address);
        own
    };
    let mut all = vec![to("outpost", behind.outpost)];
    for (number, (_, application)) in behind.sites.iter().enumerate() {
        all.push(to(&format!("app{number}"), *application));
    }
    let mut asked = to("ext-authz", behind.grpc);
    asked["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    all.push(asked);
    *clusters = all;
    recipe.to_string()
}
