//! What `docs/SECURITY.md` asks of reverse proxies, in every recipe: clients cannot name themselves,
//! and browsers reach nothing of ours that holds a token.

use authentik_proxy::web::header::identity::{META, USER};
use serde_json::{Value, json};

use crate::{documents, files, parse, pattern, read, root};

/// Where Envoy's connection manager says what becomes of names with `_`.
const UNDERSCORES: &str = "common_http_protocol_options/headers_with_underscores_action";

/// The identity headers, each in all spellings with `_`, which many applications take for the same.
fn spellings() -> Vec<String> {
    let mut found = Vec::new();
    for name in USER.iter().chain(&META) {
        let mut spelt = vec![String::new()];
        for c in name.as_str().chars() {
            let other = (c == '-').then_some('_');
            let choices = [Some(c), other].into_iter().flatten();
            spelt = choices
                .flat_map(|c| spelt.iter().map(move |begun| format!("{begun}{c}")))
                .collect();
        }
        found.extend(spelt);
    }
    found
}

/// Those with `-` alone, where whatever has a `_` is dropped.
fn names() -> Vec<String> {
    let mut names = spellings();
    names.retain(|name| !name.contains('_'));
    assert_eq!(names.len(), 12);
    names
}

fn lower(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|name| name.as_str().expect("a name").to_lowercase())
        .collect()
}

/// The one document of a recipe that has a value at `pointer`, and that value.
fn value(file: &str, pointer: &str) -> Value {
    let documents = parse(file, &read(file));
    let found = documents.iter().find_map(|d| d.pointer(pointer));
    found
        .unwrap_or_else(|| panic!("{file} has {pointer}"))
        .clone()
}

/// What `pattern` captures in a file, in lower case.
fn captured(file: &str, pattern: &str) -> Vec<String> {
    let text = read(file);
    let pattern = self::pattern(pattern);
    let found = pattern.captures_iter(&text);
    found.map(|one| one[1].to_lowercase()).collect()
}

fn all_in(file: &str, removed: &[String]) {
    for name in names() {
        assert!(removed.contains(&name), "{file}: a client can send {name}");
    }
}

#[test]
fn no_recipe_lets_clients_name_themselves() {
    let file = "deploy/nginx.conf.example";
    all_in(file, &captured(file, r"proxy_set_header (X-authentik-\S+)"));
    assert!(captured(file, r"(underscores_in_headers\s+on)").is_empty());

    for file in [
        "README.md",
        "deploy/recipes/ingress-nginx/forward-auth.yaml",
    ] {
        let list = captured(file, r"auth-response-headers: >-\s+(\S+)");
        let [list] = &list[..] else {
            panic!("one list in {file}");
        };
        let list: Vec<String> = list.split(',').map(str::to_owned).collect();
        all_in(file, &list);
        // These become headers of the request to the application.
        assert!(!list.contains(&"set-cookie".to_owned()), "{file}");
    }

    let regex = "traefik.http.middlewares.authentik.forwardauth.authResponseHeadersRegex";
    for (file, pointer) in [
        (
            "dynamic.yaml",
            "/http/middlewares/authentik/forwardAuth/authResponseHeadersRegex".to_owned(),
        ),
        (
            "kubernetes.yaml",
            "/spec/forwardAuth/authResponseHeadersRegex".to_owned(),
        ),
        ("compose.yaml", format!("/services/outpost/labels/{regex}")),
    ] {
        let file = format!("deploy/recipes/traefik/{file}");
        let regex = value(&file, &pointer);
        let regex = pattern(regex.as_str().expect("text"));
        for name in spellings() {
            assert!(regex.is_match(&name), "{file}: a client can send {name}");
        }
        assert!(!regex.is_match("x-forwarded-for"), "{file}");
    }

    for (file, part) in [
        (
            "deploy/recipes/caddy/Caddyfile",
            r"request_header -\*(\w+)\*",
        ),
        (
            "deploy/recipes/haproxy/haproxy.cfg",
            r"del-header (\w+) -m sub",
        ),
    ] {
        let parts = captured(file, part);
        for name in spellings() {
            let removed = parts.iter().any(|part| name.contains(part));
            assert!(removed, "{file}: a client can send {name}");
        }
    }

    let file = "deploy/recipes/envoy/static.yaml";
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config".to_owned();
    let part = value(
        file,
        &format!(
            "{manager}/early_header_mutation_extensions/0/typed_config/mutations/0/remove_on_match/key_matcher/contains"
        ),
    );
    let part = part.as_str().expect("a part of names");
    assert!(names().iter().all(|name| name.contains(part)));
    assert_eq!(
        value(file, &format!("{manager}/{UNDERSCORES}")),
        "DROP_HEADER"
    );

    no_gateway_lets_clients_name_themselves();
}

/// The part of [`no_recipe_lets_clients_name_themselves`] about resources of the Gateway API.
fn no_gateway_lets_clients_name_themselves() {
    let file = "deploy/recipes/envoy-gateway/http.yaml";
    let early = value(file, "/spec/headers/earlyRequestHeaders/remove");
    all_in(file, &lower(&early));
    let ours = value(file, "/spec/extAuth/http/headersToBackend");
    all_in(file, &lower(&ours));
    let underscores = value(file, "/spec/headers/withUnderscoresAction");
    assert_eq!(underscores, "DropHeader");

    let file = "deploy/recipes/kgateway/http.yaml";
    let early = "/spec/default/httpSettings/earlyRequestHeaderModifier/remove";
    all_in(file, &lower(&value(file, early)));
    let response = "/spec/extAuth/httpService/authorizationResponse/headersToBackend";
    all_in(file, &lower(&value(file, response)));

    let file = "deploy/recipes/istio/gateway.yaml";
    let manager = "/spec/configPatches/0/patch/value/typed_config";
    let early = value(
        file,
        &format!("{manager}/early_header_mutation_extensions/0/typed_config/mutations"),
    );
    let early = early.as_array().expect("a list").iter();
    all_in(file, &lower(&early.map(|m| m["remove"].clone()).collect()));
    assert_eq!(
        value(file, &format!("{manager}/{UNDERSCORES}")),
        "DROP_HEADER"
    );
    let file = "deploy/recipes/istio/mesh.yaml";
    let ours = "/meshConfig/extensionProviders/1/envoyExtAuthzHttp/headersToUpstreamOnAllow";
    all_in(file, &lower(&value(file, ours)));

    let file = "deploy/recipes/traefik-gateway/gateway.yaml";
    let regex = value(file, "/spec/forwardAuth/authResponseHeadersRegex");
    let regex = pattern(regex.as_str().expect("text"));
    assert!(
        spellings().iter().all(|name| regex.is_match(name)),
        "{file}"
    );

    // Over gRPC the answer removes those that have no value.
    let file = "deploy/recipes/cilium/grpc.yaml";
    let protocol = value(file, "/spec/rules/0/filters/0/externalAuth/protocol");
    assert_eq!(protocol, "GRPC", "{file}");

    // All that can be done there.
    let file = "deploy/recipes/gateway-api/external-auth.yaml";
    let ours = value(
        file,
        "/spec/rules/0/filters/0/externalAuth/http/allowedResponseHeaders",
    );
    all_in(file, &lower(&ours));
}

#[test]
fn envoys_question_has_in_every_recipe_what_the_answer_depends_on() {
    let patterns = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/allowed_headers/patterns";
    let patterns = value("deploy/recipes/envoy/static.yaml", patterns);
    let patterns = patterns.as_array().expect("a list").iter();
    let expected: Vec<_> = patterns.map(|one| one["exact"].clone()).collect();
    assert!(expected.contains(&Value::from("access-control-request-method")));
    for (file, pointer) in [
        ("envoy-gateway/http.yaml", "/spec/extAuth/headersToExtAuth"),
        (
            "gateway-api/external-auth.yaml",
            "/spec/rules/0/filters/0/externalAuth/http/allowedHeaders",
        ),
        (
            "istio/mesh.yaml",
            "/meshConfig/extensionProviders/1/envoyExtAuthzHttp/includeRequestHeadersInCheck",
        ),
        ("kgateway/http.yaml", "/spec/extAuth/headersToForward"),
    ] {
        let file = format!("deploy/recipes/{file}");
        assert_eq!(
            value(&file, pointer),
            Value::from(expected.clone()),
            "{file}"
        );
    }
    // Over gRPC, authorization is not sent unless it is named.
    let file = "deploy/recipes/cilium/grpc.yaml";
    let sent = value(
        file,
        "/spec/rules/0/filters/0/externalAuth/grpc/allowedHeaders",
    );
    let mut expected = lower(&Value::from(expected));
    expected.push("authorization".to_owned());
    expected.sort();
    assert_eq!(lower(&sent), expected, "{file}");
}

#[test]
fn browsers_are_led_to_the_pages_of_a_login_alone() {
    // In documents a path without an end is what somebody leads to us as a whole.
    let whole = pattern(r"/outpost\.goauthentik\.io(?:[^/\w.]|$)");
    let mut texts = files("docs");
    texts.push(("README.md".to_owned(), read("README.md")));
    for (name, text) in texts {
        let found = whole.find(&text).map(|found| found.as_str());
        assert_eq!(found, None, "{name}: /auth/ there holds the person's token");
    }

    let pages =
        ["start", "callback", "sign_out", ""].map(|p| format!("/outpost.goauthentik.io/{p}"));
    let mut led = 0;
    for (name, document) in documents() {
        let rules = document["spec"]["rules"].as_array();
        for rule in rules.into_iter().flatten() {
            let paths = rule["http"]["paths"].as_array().into_iter().flatten();
            let paths = paths.map(|path| &path["path"]);
            let matches = rule["matches"].as_array().into_iter().flatten();
            let matches = matches.map(|one| &one["path"]["value"]);
            for path in paths.chain(matches).filter_map(Value::as_str) {
                if path != "/" {
                    assert!(pages.contains(&path.to_owned()), "{name}: {path}");
                    led += 1;
                }
            }
        }
    }
    assert_eq!(led, 28, "four pages in seven recipes");
    // The model of this resource accepts any rule: its type is a union.
    let file = "deploy/recipes/istio/gateway.yaml";
    let operation = json!({
        "hosts": ["grafana.home.example", "grafana.home.example:*"],
        "notPaths": pages,
    });
    let authorized = json!([{"to": [{"operation": operation}]}]);
    let is_policy = |d: &&Value| d["kind"] == "AuthorizationPolicy";
    let documents = parse(file, &read(file));
    let policy = documents.iter().find(is_policy).expect("a policy");
    assert_eq!(policy["spec"]["rules"], authorized, "{file}");
    let exact = pages
        .each_ref()
        .map(|page| format!("Path(`{page}`)"))
        .join(" || ");
    for (name, text) in files("deploy/recipes/traefik") {
        let count = |part: &str| text.matches(part).count();
        assert_eq!((count(&exact), count("PathPrefix")), (1, 0), "{name}");
    }
    let file = "deploy/recipes/envoy/static.yaml";
    let hosts = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes";
    let routes = value(file, hosts);
    let to_us = |route: &&Value| route["route"]["cluster"] == "outpost";
    let routes = routes.as_array().expect("routes").iter().filter(to_us);
    let paths: Vec<_> = routes.map(|route| route["match"]["path"].clone()).collect();
    assert_eq!(Value::from(paths), Value::from(pages.to_vec()), "{file}");
    let file = "deploy/nginx.conf.example";
    let text = read(file);
    for page in &pages {
        let exact =
            format!("location = {page} {{\n        proxy_pass http://outpost:9000{page};\n");
        assert!(text.contains(&exact), "{file}: {page}");
    }
}

/// nginx routes by the host of the request line, if it has one (RFC 9112 section 3.2.2), which `$host`
/// is; `$http_host` is the `Host` header, which may name another application.
#[test]
fn ap_2026_01_no_recipe_asks_about_a_host_that_nginx_does_not_route_by() {
    let mut texts = files("deploy");
    texts.extend(files("docs"));
    texts.extend(files("config"));
    texts.push(("README.md".to_owned(), read("README.md")));
    let mut routed = 0;
    // That one says why.
    texts.retain(|(name, _)| name != "docs/SECURITY.md");
    for (name, text) in texts {
        for header in ["$http_host", "$http_x_forwarded_host", "$server_port"] {
            let lines = text.lines().filter(|line| line.contains(header));
            // Comments may say why not.
            let mut lines = lines.filter(|line| !line.trim_start().starts_with('#'));
            assert_eq!(lines.next(), None, "{name}");
        }
        routed += text.matches("$host").count();
    }
    assert!(routed >= 6, "the recipes have what nginx routes by");
    for file in [
        "README.md",
        "deploy/recipes/ingress-nginx/forward-auth.yaml",
    ] {
        let urls = captured(file, r"auth-url: >-\s+(\S+)");
        let proofs = urls.iter().filter(|url| url.ends_with("?host=$host"));
        assert_eq!((urls.len(), proofs.count()), (1, 1), "{file}");
        let pages = captured(file, r"auth-signin: >-\s+(\S+)");
        let routed = pages
            .iter()
            .filter(|page| page.contains("rd=$scheme://$host$"));
        assert_eq!((pages.len(), routed.count()), (1, 1), "{file}");
    }
}

/// What the client sent in front of its address could name any, such as one of `trusted_networks`.
#[test]
fn ap_2026_05_no_recipe_passes_on_what_clients_say_of_their_address() {
    for (name, text) in files("deploy") {
        assert!(!text.contains("$proxy_add_x_forwarded_for"), "{name}");
    }
    let set = captured(
        "deploy/nginx.conf.example",
        r"proxy_set_header X-Forwarded-For +(\S+);",
    );
    assert_eq!(set, ["$remote_addr"; 6]);
    let haproxy = captured(
        "deploy/recipes/haproxy/haproxy.cfg",
        r"set-header X-Forwarded-For (\S+)",
    );
    assert_eq!(haproxy, ["%[src]"]);
}

/// ingress-nginx reads the authorization answer with the buffer of the Ingress that has `auth-url`.
#[test]
fn large_identity_headers_fit_where_the_authorization_answer_is_read() {
    let file = "deploy/recipes/ingress-nginx/forward-auth.yaml";
    let size = "nginx.ingress.kubernetes.io/proxy-buffer-size";
    for document in parse(file, &read(file)) {
        let annotations = &document["metadata"]["annotations"];
        assert_eq!(annotations[size], "32k", "{file}: {annotations}");
    }
    let text = read("README.md");
    let block = text.split("```").find(|block| block.contains("auth-url: "));
    let block = block.expect("annotations in README.md");
    assert!(block.contains(&format!("{size}: 32k")), "{block}");
}

/// A browser that goes back replays a stored redirect, and the user signs in once more.
#[test]
fn redirects_that_reverse_proxies_make_are_not_stored() {
    for (file, redirect) in [
        (
            "deploy/nginx.conf.example",
            r"add_header Cache-Control (no-store) always;\s+return 302",
        ),
        (
            "deploy/recipes/haproxy/haproxy.cfg",
            r"return status 302 hdr Location \S+ hdr Cache-Control (no-store)",
        ),
    ] {
        assert_eq!(captured(file, redirect), ["no-store"], "{file}");
    }
}

#[test]
fn envoy_denies_while_the_outpost_fails_and_says_that_it_fails() {
    for recipe in ["envoy-gateway", "kgateway"] {
        for file in ["http.yaml", "grpc.yaml"] {
            let file = format!("deploy/recipes/{recipe}/{file}");
            assert_eq!(value(&file, "/spec/extAuth/failOpen"), false, "{file}");
            assert_eq!(value(&file, "/spec/extAuth/statusOnError"), 503, "{file}");
        }
    }
    let file = "deploy/recipes/istio/mesh.yaml";
    for provider in ["0/envoyExtAuthzGrpc", "1/envoyExtAuthzHttp"] {
        let provider = format!("/meshConfig/extensionProviders/{provider}");
        assert_eq!(value(file, &format!("{provider}/failOpen")), false);
        assert_eq!(value(file, &format!("{provider}/statusOnError")), "503");
    }
    let file = "deploy/recipes/envoy-gateway/http.yaml";
    assert_eq!(
        value(file, "/spec/path/escapedSlashesAction"),
        "RejectRequest"
    );
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let failing = format!("{manager}/http_filters/0/typed_config");
    let file = "deploy/recipes/envoy/static.yaml";
    assert_eq!(value(file, &format!("{failing}/failure_mode_allow")), false);
    assert_eq!(
        value(file, &format!("{failing}/status_on_error/code")),
        "ServiceUnavailable"
    );
}

/// Pages show parts of the recipes, and link the files that they are of.
#[test]
fn pages_about_reverse_proxies_show_the_recipes_as_they_are() {
    let link = pattern(r"\]\(\.\./\.\./(deploy/[^)#]+)\)");
    let block = pattern(r"(?s)```(?:nginx|yaml|caddyfile|haproxy)\n(.*?)```");
    let mut shown = 0;
    for (name, text) in files("docs/reverse-proxies") {
        let linked = link.captures_iter(&text).map(|found| found[1].to_owned());
        let linked = linked.filter(|file| root().join(file).is_file());
        let recipes: Vec<String> = linked.map(|file| read(&file)).collect();
        for found in block.captures_iter(&text) {
            let part = &found[1];
            let known = recipes.iter().any(|recipe| recipe.contains(part));
            assert!(known, "{name}: in no recipe that it links:\n{part}");
            shown += 1;
        }
    }
    assert!(shown >= 8, "{shown} parts of recipes");
}
