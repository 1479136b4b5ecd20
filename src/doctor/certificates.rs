//! The certificates that authentik serves: names, issuers and expiry.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hyper_rustls::MaybeHttpsStream;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::config::{Config, base_url};
use crate::web::client::BackChannel;
use crate::web::client::trust::Trust;

/// A certificate should have been renewed by the time that only this part of its life is left, and
/// in any case this long before its end.
const RENEWAL_FRACTION: u32 = 5;
const MAX_RENEWAL_TIME: Duration = Duration::from_hours(14 * 24);
/// Names of one certificate that are reported.
const MAX_NAMES: usize = 5;

/// What a server shows, its own certificate first.
pub(super) struct Chain(Vec<Certificate>);

impl Chain {
    /// What authentik shows, whether it is trusted or not.
    pub(super) async fn shown(trust: &Trust, config: &Config) -> Option<Self> {
        let uri = base_url(&config.authentik.host).as_str().parse().ok()?;
        let timeout = config.control.request_timeout;
        let back_channel = BackChannel::over(trust, true, timeout, &config.egress);
        let MaybeHttpsStream::Https(stream) = back_channel.connect(uri).await.ok()? else {
            return None;
        };
        let shown = stream.inner().get_ref().1.peer_certificates()?;
        let chain = shown.iter().map(read).collect::<Option<Vec<_>>>()?;
        (!chain.is_empty()).then_some(Self(chain))
    }

    /// How long the server's own certificate is good for, if that is not long. Those of authorities
    /// are for others to renew, and the one that was trusted need not be among them.
    pub(super) fn ends_soon(&self) -> Option<Duration> {
        let own = self.0.first()?;
        let validity = own.tbs_certificate().validity();
        let begins = validity.not_before.to_system_time();
        let ends = not_after(own);
        let soon = ends.duration_since(begins).unwrap_or_default() / RENEWAL_FRACTION;
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        (left < soon.min(MAX_RENEWAL_TIME)).then_some(left)
    }
}

fn read(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    Certificate::from_der(certificate).ok()
}

fn not_after(certificate: &Certificate) -> SystemTime {
    let validity = certificate.tbs_certificate().validity();
    validity.not_after.to_system_time()
}

/// Each certificate with its names, issuer and expiry.
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
    names.iter().filter_map(text).take(MAX_NAMES).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    /// A certificate that began and will end so many hours from now.
    fn certificate(began: i64, ends: i64) -> Certificate {
        let mut params = CertificateParams::new(["a.test".to_owned()]).expect("a name");
        let now = OffsetDateTime::now_utc();
        params.not_before = now + time::Duration::hours(began);
        params.not_after = now + time::Duration::hours(ends);
        let key = KeyPair::generate().expect("a key");
        let signed = params.self_signed(&key).expect("a certificate");
        read(signed.der()).expect("its own")
    }

    #[test]
    fn the_servers_own_certificate_ends_soon_by_its_whole_life() {
        for (began, ends, soon) in [
            (-24 * 300, 24 * 30, false),
            (-24 * 300, 24 * 13, true),
            // Three months, as from Let's Encrypt.
            (-24 * 60, 24 * 30, false),
            // A day, as from step-ca.
            (-12, 12, false),
            (-20, 4, true),
        ] {
            let long = certificate(-24, 24 * 1000);
            let chain = Chain(vec![certificate(began, ends), long]);
            assert_eq!(chain.ends_soon().is_some(), soon, "{began} to {ends}");
        }
        let authority = certificate(-24 * 300, 24);
        let chain = Chain(vec![certificate(-24, 24 * 300), authority]);
        assert_eq!(chain.ends_soon(), None, "the expiry of a CA does not count");
    }
}
