//! Unknown variables.
//!
//! An unknown name that begins with `AUTHENTIK_PROXY_` is an error. authentik itself has settings that
//! begin with `AUTHENTIK_`, so another unknown name is a warning, and only if it resembles one of the
//! outpost's. Kubernetes sets variables too: for a Service `authentik-proxy` it
//! sets `AUTHENTIK_PROXY_PORT` and a dozen more in every pod of the namespace.

use super::env::Vars;
use crate::config::settings::{
    FILE_VARIABLE, IGNORED_VARIABLES, OWN_PREFIX, Setting, derived_variable, settings,
};
use crate::config::suggest::{did_you_mean, nearest};
use crate::model::Diagnostic;

/// Maximum edit distance between a misspelled name and the one that was meant.
const MAX_EDITS: usize = 2;

/// The unknown variables that begin with `AUTHENTIK_PROXY_`.
pub(super) fn errors(vars: &Vars) -> impl Iterator<Item = Diagnostic> {
    unread(vars)
        .filter(|name| name.starts_with(OWN_PREFIX))
        .map(|name| {
            let meant = settings()
                .find(|setting| derived_variable(setting.key) == name)
                .map(|setting| setting.variable().into_owned())
                .or_else(|| nearest(name, known(), name.len() / 6))
                .or_else(|| {
                    let former = nearest(name, former(), name.len() / 6);
                    let is_meant = |setting: &&Setting| setting.former_variable() == former;
                    former.as_ref()?;
                    Some(settings().find(is_meant)?.variable().into_owned())
                });
            Diagnostic {
                hint: did_you_mean(meant),
                ..format!("{}: unknown variable", name.escape_debug()).into()
            }
        })
}

/// The unknown variables that resemble one of the outpost's.
pub(super) fn warnings(vars: &Vars) -> impl Iterator<Item = Diagnostic> {
    unread(vars)
        .filter(|name| !name.starts_with(OWN_PREFIX))
        .filter_map(|name| {
            let meant = nearest(name, known(), MAX_EDITS)?;
            Some(Diagnostic {
                hint: did_you_mean(Some(meant)),
                ..format!("{name} is not a setting and was ignored").into()
            })
        })
}

/// A variable that resembles the one of `setting`.
pub(super) fn misspelling<'a>(setting: &Setting, vars: &'a Vars) -> Option<&'a str> {
    nearest(&setting.variable(), unread(vars), MAX_EDITS)
}

fn unread(vars: &Vars) -> impl Iterator<Item = &str> {
    vars.with_prefix("AUTHENTIK_")
        .filter(|(name, value)| {
            !known().chain(former()).any(|known| known == *name)
                && !IGNORED_VARIABLES.contains(name)
                && !is_service_link(name, value)
        })
        .map(|(name, _)| name)
}

fn known() -> impl Iterator<Item = String> {
    let variables = settings().map(|setting| setting.variable().into_owned());
    variables.chain([FILE_VARIABLE.to_owned()])
}

/// Former names are accepted; for a misspelled one the present name is suggested.
fn former() -> impl Iterator<Item = String> {
    settings().filter_map(Setting::former_variable)
}

/// Whether Kubernetes made this variable from a Service of the namespace.
fn is_service_link(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
    {
        return true;
    }
    if name.ends_with("_PORT") {
        let schemes = ["tcp://", "udp://", "sctp://"];
        if schemes.iter().any(|scheme| value.starts_with(scheme)) {
            return true;
        }
    }
    // `…_PORT_9000_TCP`, then nothing, `_PROTO`, `_PORT` or `_ADDR`.
    name.match_indices("_PORT_").any(|(at, separator)| {
        let mut parts = name[at + separator.len()..].split('_');
        parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hint as _;

    fn vars(names: &[(&str, &str)]) -> Vars {
        names.iter().copied().collect()
    }

    #[test]
    fn unknown_names_of_the_outposts_settings_are_errors() {
        for (name, expected) in [
            (
                "AUTHENTIK_PROXY_SHUTDOWN_DRAIN_TIMEOUT",
                "; did you mean AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT?",
            ),
            (
                "AUTHENTIK_PROXY_LISTEN__HTTP",
                "; did you mean AUTHENTIK_LISTEN__HTTP?",
            ),
            (
                "AUTHENTIK_PROXY_LISTEN__TRUSTED_PROXIES",
                "; did you mean AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS?",
            ),
            (
                "AUTHENTIK_PROXY_CONFG",
                "; did you mean AUTHENTIK_PROXY_CONFIG?",
            ),
            (
                "AUTHENTIK_PROXY_SHUTDOWN__TIMOUT",
                "; did you mean AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT?",
            ),
            ("AUTHENTIK_PROXY_BANANA_SPLIT_WITH_CREAM", ""),
        ] {
            let found: Vec<_> = errors(&vars(&[(name, "x")]))
                .map(|error| error.with_hint())
                .collect();
            assert_eq!(found, [format!("{name}: unknown variable{expected}")]);
            assert_eq!(warnings(&vars(&[(name, "x")])).count(), 0, "{name}");
        }
    }

    #[test]
    fn near_misses_are_warnings() {
        for (name, meant) in [
            ("AUTHENTIK_TOKN", "AUTHENTIK_TOKEN"),
            ("AUTHENTIK_TOKNE", "AUTHENTIK_TOKEN"),
            ("AUTHENTIK_LISTEN_HTTP", "AUTHENTIK_LISTEN__HTTP"),
            ("AUTHENTIK_REDIS_PORT", "AUTHENTIK_REDIS__PORT"),
            ("AUTHENTIK_LOGLEVEL", "AUTHENTIK_LOG_LEVEL"),
        ] {
            let found: Vec<_> = warnings(&vars(&[(name, "6379")])).collect();
            assert_eq!(found.len(), 1, "{name}");
            let hint = found[0].hint.as_deref();
            assert_eq!(hint, Some(&*format!("did you mean {meant}?")), "{found:?}");
            assert_eq!(errors(&vars(&[(name, "x")])).count(), 0, "{name}");
        }
    }

    #[test]
    fn settings_of_authentik_itself_pass_silently() {
        for name in [
            "AUTHENTIK_SECRET_KEY",
            "AUTHENTIK_POSTGRESQL__HOST",
            "AUTHENTIK_EMAIL__HOST",
            "AUTHENTIK_LISTEN__LDAP",
            "AUTHENTIK_LISTEN__LDAPS",
            "AUTHENTIK_LISTEN__RADIUS",
            "AUTHENTIK_LISTEN__DEBUG",
            "AUTHENTIK_LISTEN__DEBUG_PY",
            "AUTHENTIK_WEB__PATH",
            "AUTHENTIK_DEBUG",
            "AUTHENTIK_DISABLE_UPDATE_CHECK",
            "AUTHENTIK_ERROR_REPORTING__ENABLED",
            "AUTHENTIK_DISABLE_STARTUP_ANALYTICS",
        ] {
            let vars = vars(&[(name, "x")]);
            assert_eq!(errors(&vars).chain(warnings(&vars)).next(), None, "{name}");
        }
    }

    #[test]
    fn what_kubernetes_makes_from_services_passes_silently() {
        let vars = vars(&[
            ("AUTHENTIK_PORT", "tcp://10.96.0.7:9000"),
            ("AUTHENTIK_REDIS_PORT", "tcp://10.96.0.8:6379"),
            ("AUTHENTIK_PROXY_PORT", "tcp://10.96.0.9:9000"),
            ("AUTHENTIK_PROXY_PORT_9000_TCP", "tcp://10.96.0.9:9000"),
            ("AUTHENTIK_PROXY_PORT_9000_TCP_ADDR", "10.96.0.9"),
            ("AUTHENTIK_PROXY_PORT_9000_TCP_PORT", "9000"),
            ("AUTHENTIK_PROXY_PORT_9000_TCP_PROTO", "tcp"),
            ("AUTHENTIK_PROXY_SERVICE_HOST", "10.96.0.9"),
            ("AUTHENTIK_PROXY_SERVICE_PORT", "9000"),
            ("AUTHENTIK_PROXY_SERVICE_PORT_HTTP_METRICS", "9300"),
        ]);
        let found: Vec<_> = errors(&vars).chain(warnings(&vars)).collect();
        assert_eq!(found, []);
    }
}
