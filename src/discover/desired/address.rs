//! External addresses of applications, as annotations and rules of an Ingress give them.

use url::Host::Domain;
use url::Url;

/// Longest host name and longest URL that authentik accepts, in characters: those of the `URLValidator`
/// of Django 4.2.3 and later, which its own validator extends.
const MAX_HOST_CHARS: usize = 253;
const MAX_URL_CHARS: usize = 2048;

/// A host of an Ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Whether the Ingress has a certificate for it.
    pub tls: bool,
}

/// An external address; without a scheme it is https. What authentik would not accept is refused
/// here, before anything is created.
pub(super) fn external(text: &str) -> Result<String, String> {
    if text.contains([',', ';']) || text.contains(char::is_whitespace) {
        return Err(format!(
            "{text:?} has to be one address; an application has one external host, so label one object for each"
        ));
    }
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let wrong =
        || format!("{text:?} is not the address of a host, for example https://app.example.com");
    let url = Url::parse(&full).map_err(|_| wrong())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(wrong());
    }
    if let Some(Domain(host)) = url.host()
        && !host.split('.').all(is_host_label)
    {
        return Err(format!(
            "{host:?} is refused by authentik as a host: expected letters, digits and \"-\" between dots, without \"*\" or \"_\""
        ));
    }
    // ASCII by now.
    for (what, chars, max) in [
        (
            "the host",
            url.host_str().map_or(0, str::len),
            MAX_HOST_CHARS,
        ),
        ("the address", url.as_str().len(), MAX_URL_CHARS),
    ] {
        if chars > max {
            return Err(format!(
                "is refused by authentik: {what} has {chars} characters, and at most {max} are accepted"
            ));
        }
    }
    // authentik makes redirect URIs of it, in which the slash of a bare host would show.
    let path = url.path();
    let url = if path == "/" {
        url.as_str().trim_end_matches('/')
    } else {
        url.as_str()
    };
    Ok(url.to_owned())
}

/// Whether authentik accepts a part of a host name; it accepts the same as RFC 1123 section 2.1.
/// Letters beyond ASCII are encoded already.
fn is_host_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// An Ingress has to leave no doubt: a wrong scheme would only show at the first login.
pub(super) fn of_ingress(hosts: &[Host]) -> Result<String, String> {
    match hosts {
        [host] if host.name.starts_with('*') => Err(format!(
            "is missing, and the Ingress is for {} hosts",
            host.name
        )),
        [host] if host.tls => external(&host.name),
        [host] => Err(format!(
            "is missing, and the Ingress has no certificate for {}; say whether it is http or https",
            host.name
        )),
        [] => Err("is missing, and the Ingress names no host".to_owned()),
        several => {
            let names: Vec<_> = several.iter().map(|host| host.name.as_str()).collect();
            Err(format!(
                "is missing, and the Ingress has several hosts: {}",
                names.join(", ")
            ))
        }
    }
}
