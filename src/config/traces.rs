//! Traces, which OpenTelemetry's own variables configure.

use super::layers::Reader;
use crate::model::Diagnostic;

/// What OpenTelemetry's variables say that its SDK does not decide by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether a collector is configured: `OTEL_EXPORTER_OTLP_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, and neither `OTEL_SDK_DISABLED` nor
    /// `OTEL_TRACES_EXPORTER=none`.
    pub enabled: bool,
    /// Whether the service has a name: `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES`.
    pub named: bool,
}

pub(super) fn read(reader: &Reader<'_>) -> Traces {
    let set = |name| reader.environment(name).is_some();
    let is = |name, expected: &str| {
        let value = reader.environment(name);
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
    };
    let attributes = reader.environment("OTEL_RESOURCE_ATTRIBUTES");
    Traces {
        enabled: !is("OTEL_SDK_DISABLED", "true")
            && !is("OTEL_TRACES_EXPORTER", "none")
            && (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
        named: set("OTEL_SERVICE_NAME")
            || attributes.is_some_and(|all| all.contains("service.name=")),
    }
}

/// The SDK would ignore another protocol and speak gRPC to a port that does not understand it, and
/// export by OTLP whatever else is asked for.
pub(super) fn check_protocol(reader: &mut Reader<'_>, traces: Traces) {
    let exporter = reader.environment("OTEL_TRACES_EXPORTER").unwrap_or("otlp");
    if traces.enabled && !exporter.trim().eq_ignore_ascii_case("otlp") {
        reader.problem(
            Diagnostic::new("OTEL_TRACES_EXPORTER: traces are exported by OTLP only")
                .hinting("expected otlp or none"),
        );
    }
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    let set = |name| Some((name, reader.environment(name)?));
    let other = names.into_iter().find_map(set);
    if let Some((name, _)) = other.filter(|(_, value)| traces.enabled && value.trim() != "grpc") {
        reader.problem(
            Diagnostic::new(format!("{name}: traces are exported by gRPC only"))
                .hinting("expected grpc, and the collector's port for it (usually 4317)"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn traces_are_what_opentelemetrys_variables_say() {
        for (variables, enabled, named) in [
            (&[][..], false, false),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")],
                true,
                false,
            ),
            (
                &[(
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                    "http://collector:4317",
                )],
                true,
                false,
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false, false),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
                    ("OTEL_SDK_DISABLED", "True"),
                    ("OTEL_SERVICE_NAME", "door"),
                ],
                false,
                true,
            ),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                    ("OTEL_TRACES_EXPORTER", "none"),
                ],
                false,
                false,
            ),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
                    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ],
                true,
                false,
            ),
            (
                &[("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=door")],
                false,
                true,
            ),
        ] {
            let settings = [
                ("AUTHENTIK_HOST", "https://a.test"),
                ("AUTHENTIK_TOKEN", "t"),
            ];
            let config = Config::from_pairs(settings.iter().chain(variables).copied());
            let expected = Traces { enabled, named };
            assert_eq!(
                config.expect("it is valid").traces,
                expected,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_a_problem() {
        for (name, value, fix) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "4317"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/protobuf",
                "4317",
            ),
            ("OTEL_TRACES_EXPORTER", "console", "expected otlp or none"),
        ] {
            let settings = [
                ("AUTHENTIK_HOST", "https://a.test"),
                ("AUTHENTIK_TOKEN", "t"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
                (name, value),
            ];
            let problem = Config::from_pairs(settings).expect_err("not spoken");
            let problem = problem.to_string();
            assert!(problem.contains(name) && problem.contains(fix), "{problem}");
        }
    }
}
