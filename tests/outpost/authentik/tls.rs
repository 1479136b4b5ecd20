//! authentik behind a certificate of a private authority.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use authentik_standin::{Provider, Standin};
use nix::sys::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::operations::process::{Process, diagnostic};
use crate::support::volume::Volume;
use crate::support::{Browser, Outpost as _, World, furnish, get, within};

const HOST: &str = "grafana.test";
/// What a server of the authority may be called besides 127.0.0.1.
pub(crate) const AUTHENTIK: &str = "authentik.test";

/// An authority that no system trusts.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority of the tests");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, directory }
    }

    /// A directory with nothing but the authority's certificate.
    fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The authority's certificate as a file.
    pub(crate) fn file(&self) -> String {
        let file = self.directory().join("ca.pem");
        file.to_str().expect("text").to_owned()
    }

    /// How a server on loopback serves TLS with a certificate of this authority.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server_until(rcgen::date_time_ymd(4096, 1, 1))
    }

    fn server_until(&self, not_after: OffsetDateTime) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = named("authentik of the tests");
        params.not_after = not_after;
        let loopback = SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST));
        params.subject_alt_names.push(loopback);
        let name = AUTHENTIK.try_into().expect("a name");
        params.subject_alt_names.push(SanType::DnsName(name));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("key and certificate fit");
        Arc::new(config)
    }

    /// An authentik with such a certificate.
    pub(crate) async fn authentik(&self) -> Standin {
        let builder = Standin::builder().tls(self.server());
        builder.start().await.expect("started")
    }

    /// The same with one that ends in so many days.
    pub(crate) async fn authentik_until(&self, days: i64) -> Standin {
        let not_after = OffsetDateTime::now_utc() + time::Duration::days(days);
        let builder = Standin::builder().tls(self.server_until(not_after));
        builder.start().await.expect("started")
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// REST, websocket and code exchange work with these variables.
async fn everything_works(authority: &Authority, variables: &[(&str, &str)]) {
    let authentik = authority.authentik().await;
    assert_eq!(authentik.url().scheme(), "https");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let mut world = World::<Process>::running(authentik, vec![grafana], variables).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let page = "http://grafana.test/";
    let answer = world.nginx(page, &browser.cookies(HOST), &[]).await;
    assert_eq!(answer.status(), 200);
    world.outpost.stop().await;
}

#[tokio::test]
async fn an_unknown_authority_is_named_with_the_fix_and_the_program_lives() {
    let authority = Authority::new();
    let authentik = authority.authentik().await;
    let mut process = Process::beside(&authentik, &[]).await;
    let line = process.wait_line("configuration not loaded").await;
    let event = diagnostic(&line);
    for part in [
        "TLS failed",
        "UnknownIssuer",
        authentik.url().as_str(),
        "AUTHENTIK_PROXY_TLS__CA_FILE",
        "AUTHENTIK_INSECURE=true",
    ] {
        assert!(event.contains(part), "{part} in {event}");
    }
    let ping = "/outpost.goauthentik.io/ping";
    let answer = get(process.address(), ping, "x", &[]).await;
    assert_eq!(answer.status(), 204);
    process.stop().await;
    assert_eq!(process.complaints(), [event], "one line says it");
}

#[tokio::test]
async fn authentik_insecure_accepts_any_certificate() {
    everything_works(&Authority::new(), &[("AUTHENTIK_INSECURE", "true")]).await;
}

#[tokio::test]
async fn ca_file_names_an_authority() {
    let authority = Authority::new();
    let variables = [("AUTHENTIK_PROXY_TLS__CA_FILE", &*authority.file())];
    everything_works(&authority, &variables).await;
}

#[tokio::test]
async fn ssl_cert_file_names_an_authority() {
    let authority = Authority::new();
    everything_works(&authority, &[("SSL_CERT_FILE", &authority.file())]).await;
}

#[tokio::test]
async fn ssl_cert_dir_names_a_directory_of_authorities() {
    let authority = Authority::new();
    let directory = authority.directory().to_str().expect("text");
    everything_works(&authority, &[("SSL_CERT_DIR", directory)]).await;
}

#[tokio::test]
async fn nothing_is_said_to_a_server_of_another_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let authentik = authority.authentik().await;
    let variables = [("AUTHENTIK_PROXY_TLS__CA_FILE", &*other.file())];
    let mut process = Process::beside(&authentik, &variables).await;
    process.wait_line("TLS failed").await;
    assert_eq!(authentik.requests(), []);
    process.stop().await;
}

#[tokio::test]
async fn another_authority_is_trusted_without_a_restart() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pem = |authority: &Authority| std::fs::read_to_string(authority.file()).expect("read");
    let (right, wrong) = (pem(&authority), pem(&other));
    for variable in ["AUTHENTIK_PROXY_TLS__CA_FILE", "SSL_CERT_FILE"] {
        let authentik = authority.authentik().await;
        let providers = vec![Provider::forward_single("grafana", "http://grafana.test")];
        furnish(&authentik, providers);
        let volume = Volume::new(&[("ca.pem", &wrong)]);
        let mut process = Process::beside(&authentik, &[(variable, &volume.path("ca.pem"))]).await;
        process.wait_line("TLS failed").await;

        volume.replace(&[("ca.pem", "nothing")]);
        process.signal(Signal::SIGHUP);
        let line = process.wait_line("cannot be reloaded").await;
        assert!(diagnostic(&line).contains(variable), "{line}");

        volume.replace(&[("ca.pem", &right)]);
        // Nothing announces the change: it is found.
        let line = process.wait_line("configuration reloaded").await;
        assert_eq!(line["applied"], "CA certificates");
        process.wait_line("configuration loaded").await;
        within(authentik.wait_websocket()).await;

        // No connection that was verified by the old authority is used again.
        volume.replace(&[("ca.pem", &wrong)]);
        process.signal(Signal::SIGHUP);
        process.wait_lines("configuration reloaded", 2).await;
        process.signal(Signal::SIGUSR1);
        process.wait_lines("TLS failed", 2).await;
        process.stop().await;
    }
}
