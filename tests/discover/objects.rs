//! Labelled objects, as a real server has them.

use serde_json::{Value, json};

/// A Service as a real server has it, with one port.
pub(crate) fn service(namespace: &str, name: &str, annotations: &[(&str, &str)]) -> Value {
    let mut all = json!({"authentik.io/external-host": format!("https://{name}.home.example")});
    for (key, value) in annotations {
        all[format!("authentik.io/{key}")] = (*value).into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": "7f3c0b0e-8a44-4f0e-9a40-000000000000",
            "creationTimestamp": "2026-11-01T10:00:00Z",
            "labels": {
                "app.kubernetes.io/managed-by": "Helm",
                "app.kubernetes.io/name": name,
                "authentik.io/proxy": "enabled",
            },
            "annotations": all,
            "managedFields": [{
                "manager": "helm-controller",
                "operation": "Update",
                "apiVersion": "v1",
                "time": "2026-11-01T10:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:type": {}}},
            }],
        },
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"}],
            "selector": {"app.kubernetes.io/name": name},
            "clusterIP": "10.96.12.7",
            "clusterIPs": ["10.96.12.7"],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

/// An Ingress as a real server has it, with a certificate for its host.
pub(crate) fn ingress(namespace: &str, name: &str) -> Value {
    let host = format!("{name}.home.example");
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "generation": 1,
            "labels": {"authentik.io/proxy": "enabled"},
            "annotations": {"authentik.io/service-name": "By Ingress"},
        },
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": [host], "secretName": "tls"}],
            "rules": [{"host": host, "http": {"paths": [{
                "path": "/",
                "pathType": "Prefix",
                "backend": {"service": {"name": name, "port": {"number": 80}}},
            }]}}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    })
}
