//! All parts together.

use std::io;
use std::net::SocketAddr;

use authentik_proxy::app::App;
use authentik_proxy::config::Config;
use authentik_proxy::telemetry::log::LogHandle;
use authentik_standin::nginx::{Nginx, Release, free_address};
use authentik_standin::{Provider, Standin, User as Account};
use axum::Router;
use axum::response::Html;
use http::{HeaderMap, Uri};
use tokio::net::TcpListener;

use crate::Failure;
use crate::applications::{APPLICATIONS, Application, Front};
use crate::page::{Links, page};
use crate::ports::Ports;

/// A user of the demo.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) groups: &'static [&'static str],
}

impl User {
    /// The password at the stand-in.
    pub(crate) fn password(&self) -> String {
        format!("{}-pass-1", self.name)
    }
}

/// All users.
pub(crate) const USERS: [User; 2] = [
    User {
        name: "alice",
        groups: &["admins", "users"],
    },
    User {
        name: "bob",
        groups: &["users"],
    },
];

/// The identity headers that nginx copies from the outpost's response to the application.
const IDENTITY: [&str; 12] = [
    "username",
    "groups",
    "entitlements",
    "email",
    "name",
    "uid",
    "jwt",
    "meta-jwks",
    "meta-outpost",
    "meta-provider",
    "meta-app",
    "meta-version",
];

/// The running demo.
pub(crate) struct Demo {
    front: SocketAddr,
    authentik: Standin,
    outpost: App,
    nginx: Option<Nginx>,
}

impl Demo {
    /// Starts all parts and reports each. Without an installed nginx, the outpost is in front.
    pub(crate) async fn start(
        ports: &Ports,
        wanted: Front,
        log: LogHandle,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, Failure> {
        let application = free_address()?;
        let nginx = match wanted {
            Front::Nginx => start_nginx(ports, application).await?,
            Front::Outpost => None,
        };
        progress(match nginx {
            Some(_) => "nginx is in front",
            None => "the outpost is in front",
        });
        let front = if nginx.is_some() {
            Front::Nginx
        } else {
            Front::Outpost
        };

        let authentik = Standin::builder()
            .listen(ports.authentik)
            .browser_url(authentik(ports.authentik).parse()?)
            .log_level("info")
            .start()
            .await?;
        configure(&authentik, ports.front, front, application);
        progress("authentik (a stand-in) is ready");

        let links = links(ports, front);
        serve(TcpListener::bind(application).await?, links);
        progress("the applications are ready");

        let outpost = start_outpost(&authentik, ports, front, log).await?;
        authentik.wait_websocket().await;
        progress("authentik-proxy has its configuration from authentik");
        Ok(Self {
            front: ports.front,
            authentik,
            outpost,
            nginx,
        })
    }

    /// The URL of an application.
    pub(crate) fn url(&self, application: &Application) -> String {
        format!("{}/", external(application, self.front))
    }

    /// The server in front.
    pub(crate) fn front(&self) -> Front {
        match self.nginx {
            Some(_) => Front::Nginx,
            None => Front::Outpost,
        }
    }

    /// The URL of the stand-in for browsers.
    pub(crate) fn authentik_url(&self) -> String {
        authentik(self.authentik.addr())
    }

    /// The URL that ends the session at authentik.
    pub(crate) fn invalidation_url(&self) -> String {
        invalidation(self.authentik.addr())
    }

    /// The outpost's metrics.
    pub(crate) fn metrics_url(&self) -> String {
        metrics(self.outpost.metrics_addresses()[0])
    }

    /// Stops all parts.
    pub(crate) async fn stop(self) -> io::Result<()> {
        if let Some(nginx) = self.nginx {
            nginx.stop().await?;
        }
        self.outpost.stop().await;
        self.authentik.shutdown().await;
        Ok(())
    }
}

/// Starts nginx; `None` if it is not installed.
async fn start_nginx(ports: &Ports, application: SocketAddr) -> io::Result<Option<Nginx>> {
    let blocks = configuration(ports, application);
    match Nginx::serving(Release::Installed, ports.front, &blocks).await {
        Ok(nginx) => Ok(Some(nginx)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The configuration of nginx.
fn configuration(ports: &Ports, application: SocketAddr) -> String {
    let identity = IDENTITY.map(|name| {
        let variable = name.replace('-', "_");
        format!(
            "auth_request_set $ak_{variable} $upstream_http_x_authentik_{variable};\n      \
             proxy_set_header X-authentik-{name} $ak_{variable};\n      "
        )
    });
    let proxied = APPLICATIONS
        .iter()
        .filter(|application| application.proxied);
    let proxied: Vec<_> = proxied
        .map(|one| format!("{}.localhost", one.name))
        .collect();
    include_str!("nginx.conf")
        .replace("@FRONT@", &ports.front.to_string())
        .replace("@OUTPOST@", &ports.outpost.to_string())
        .replace("@APPLICATION@", &application.to_string())
        .replace("@IDENTITY@", identity.concat().trim_end())
        .replace("@PROXIED@", &proxied.join(" "))
}

/// Gives authentik the users and a provider for each application.
fn configure(authentik: &Standin, at: SocketAddr, front: Front, application: SocketAddr) {
    let internal = format!("http://{application}");
    for application in &APPLICATIONS {
        let (name, external) = (application.name, external(application, at));
        let provider = if application.proxied || front == Front::Outpost {
            Provider::proxy(name, &external, &internal)
        } else {
            Provider::forward_single(name, &external)
        };
        authentik.add_provider(Provider {
            allowed_groups: application.group.map(|group| vec![group.to_owned()]),
            ..provider
        });
    }
    for user in &USERS {
        authentik.add_user(Account {
            groups: user.groups.iter().map(ToString::to_string).collect(),
            ..Account::new(user.name, &user.password())
        });
    }
}

/// Serves the pages of all applications.
fn serve(listener: TcpListener, links: Links) {
    let show =
        async move |uri: Uri, headers: HeaderMap| Html(page(&uri, &headers, &links).into_string());
    let router = Router::new().fallback(show);
    tokio::spawn(async move { axum::serve(listener, router).await });
}

async fn start_outpost(
    authentik: &Standin,
    ports: &Ports,
    front: Front,
    log: LogHandle,
) -> Result<App, Failure> {
    let listen = match front {
        Front::Nginx => ports.outpost,
        Front::Outpost => ports.front,
    };
    let (host, token) = (self::authentik(ports.authentik), authentik.token());
    let (listen, metrics) = (listen.to_string(), ports.metrics.to_string());
    let config = Config::from_pairs([
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_TOKEN", token.as_str()),
        ("AUTHENTIK_LISTEN__HTTP", listen.as_str()),
        ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__METRICS", metrics.as_str()),
        ("AUTHENTIK_PROXY_CONTROL__REFRESH_JITTER", "0"),
        ("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "0"),
    ])?;
    Ok(App::start(&config, log).await?)
}

fn links(ports: &Ports, front: Front) -> Links {
    let applications = APPLICATIONS.iter();
    let url = |application| format!("{}/", external(application, ports.front));
    Links {
        applications: applications.map(|one| (one, url(one))).collect(),
        metrics: metrics(ports.metrics),
        invalidation: invalidation(ports.authentik),
        front,
    }
}

/// The origin for browsers.
fn external(application: &Application, front: SocketAddr) -> String {
    format!("http://{}.localhost:{}", application.name, front.port())
}

fn authentik(address: SocketAddr) -> String {
    format!("http://localhost:{}/", address.port())
}

fn invalidation(address: SocketAddr) -> String {
    format!("{}flows/-/default/invalidation/", authentik(address))
}

fn metrics(address: SocketAddr) -> String {
    format!("http://{address}/metrics")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// The whole response to a request for `target`.
    async fn get(demo: &Demo, name: &str, target: &str, cookie: &str) -> String {
        let host = format!("{name}.localhost:{}", demo.front.port());
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(demo.front).await.expect("it listens");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("it reads");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        read.expect("an answer in UTF-8");
        answer
    }

    fn header<'a>(answer: &'a str, name: &str) -> &'a str {
        let lines = answer.lines().take_while(|line| !line.is_empty());
        let mut pairs = lines.filter_map(|line| line.split_once(": "));
        let found = pairs.find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("{name} in {answer}")).1
    }

    async fn story(front: Front) {
        let ports = Ports::any().expect("ports");
        let log = LogHandle::disconnected();
        let demo = Demo::start(&ports, front, log, &mut |_| ()).await;
        let demo = demo.expect("it starts");
        assert_eq!(demo.front(), front);
        for application in &APPLICATIONS {
            let name = application.name;
            // Redirects within the host, up to authentik's.
            let (mut target, mut cookie) = ("/page".to_owned(), String::new());
            let authorize = loop {
                let answer = get(&demo, name, &target, &cookie).await;
                let location = header(&answer, "location").to_owned();
                if location.starts_with(&demo.authentik_url()) {
                    let set = header(&answer, "set-cookie");
                    cookie = set.split(';').next().unwrap_or_default().to_owned();
                    break location;
                }
                target = location
                    .split_once(".localhost:")
                    .map_or(location.clone(), |(_, rest)| {
                        rest[rest.find('/').expect("a path")..].to_owned()
                    });
            };
            let callback = demo.authentik.authorize(&authorize, "alice");
            let answer = get(&demo, name, &callback, &cookie).await;
            assert_eq!(
                header(&answer, "location"),
                format!("{}page", demo.url(application))
            );
            let set = header(&answer, "set-cookie");
            let session = set.split(';').next().unwrap_or_default();
            let page = get(&demo, name, "/page", session).await;
            for expected in [
                &format!("<h1>{name}</h1>"),
                "<b id=\"user\">alice</b>",
                "<th scope=\"row\">x-authentik-groups</th><td>admins|users</td>",
                "<i>a signed token of ",
                "<a href=\"/outpost.goauthentik.io/sign_out\">",
                &demo.metrics_url(),
                &demo.invalidation_url(),
            ] {
                assert!(page.contains(expected), "{expected} in {page}");
            }
        }
        demo.stop().await.expect("it stops");
    }

    #[tokio::test]
    async fn every_application_shows_who_signed_in_without_nginx() {
        story(Front::Outpost).await;
    }

    #[tokio::test]
    #[ignore = "needs nginx"]
    async fn every_application_shows_who_signed_in_behind_nginx() {
        story(Front::Nginx).await;
    }
}
