//! The certificates that authentik shows, for who wonders why they are not trusted, or until when.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::web::trust::Trust;

/// A certificate that ends within this time should have been renewed.
const SOON: Duration = Duration::from_hours(14 * 24);
/// Names of one certificate that are told.
const MOST_NAMES: usize = 5;

/// What a server shows, its own certificate first.
pub(super) struct Chain(Vec<Certificate>);

impl Chain {
    /// What a host shows at its addresses within a time, whether it is trusted or not.
    pub(super) async fn shown(
        trust: &Trust,
        host: &str,
        addresses: &[SocketAddr],
        patience: Duration,
    ) -> Option<Self> {
        let connector = TlsConnector::from(Arc::new(trust.client(true)));
        let name = ServerName::try_from(host.to_owned()).ok()?;
        let shaken = async {
            let stream = TcpStream::connect(addresses).await.ok()?;
            connector.connect(name, stream).await.ok()
        };
        let stream = timeout(patience, shaken).await;
        let shown = stream.ok()??;
        let shown = shown.get_ref().1.peer_certificates()?;
        let chain = shown.iter().map(read).collect::<Option<Vec<_>>>()?;
        (!chain.is_empty()).then_some(Self(chain))
    }

    /// How long the first of them to end is good for, if that is not long.
    pub(super) fn ends_soon(&self) -> Option<Duration> {
        let ends = self.0.iter().map(not_after).min()?;
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        (left < SOON).then_some(left)
    }
}

fn read(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    Certificate::from_der(certificate).ok()
}

fn not_after(certificate: &Certificate) -> SystemTime {
    let validity = certificate.tbs_certificate().validity();
    validity.not_after.to_system_time()
}

/// Each certificate, whom it is for, who vouches for it and until when.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, certificate) in self.0.iter().enumerate() {
            let said = certificate.tbs_certificate();
            let between = if place == 0 { "" } else { "; " };
            let subject = match said.subject() {
                subject if subject.is_empty() => "a certificate".into(),
                subject => subject.to_string(),
            };
            write!(f, "{between}{subject}")?;
            let names = names(certificate);
            if place == 0 && !names.is_empty() {
                write!(f, " for {}", names.join(", "))?;
            }
            let until = httpdate::fmt_http_date(not_after(certificate));
            write!(f, " from {}, until {until}", said.issuer())?;
        }
        Ok(())
    }
}

/// The hosts and addresses that a certificate is for.
fn names(certificate: &Certificate) -> Vec<String> {
    let said = certificate.tbs_certificate();
    let Ok(Some((_, SubjectAltName(names)))) = said.get_extension() else {
        return Vec::new();
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().escape_debug().to_string()),
        GeneralName::IpAddress(address) => {
            let octets = address.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    };
    names.iter().filter_map(text).take(MOST_NAMES).collect()
}
