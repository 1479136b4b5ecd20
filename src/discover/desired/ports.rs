//! The port of a Service that requests go to.

/// The ports of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Whether its name leads to the pods themselves (`clusterIP: None`), so that nothing is
    /// between that would turn its ports into theirs.
    pub headless: bool,
    /// All of them.
    pub all: Vec<Port>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Its name, which a single port need not have.
    pub name: Option<String>,
    /// `TCP`, or what no request can go to.
    pub protocol: String,
    /// The port of the pods that it stands for.
    pub target: Target,
}

/// A port of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Its number.
    Number(u16),
    /// Its name in each pod, where only Kubernetes looks it up.
    Name(String),
}

impl Ports {
    /// The port that is meant, by number, by name, or because it is the only one.
    pub(in crate::discover) fn choose(&self, named: Option<&str>) -> Result<u16, String> {
        let tcp: Vec<_> = self.all.iter().filter(|port| port.is_tcp()).collect();
        let Some(named) = named else {
            return match tcp[..] {
                [only] => self
                    .reached(only)
                    .map_err(|text| format!("is missing, and port {} {text}", only.number)),
                [] if self.all.is_empty() => {
                    Err("is missing, and the Service has no port".to_owned())
                }
                [] => Err(format!(
                    "is missing, and the Service has no TCP port: {}",
                    list(self.all.iter())
                )),
                _ => Err(format!(
                    "is missing, and the Service has several: {}",
                    list(tcp)
                )),
            };
        };
        let number = named.parse().ok();
        let is = |port: &&&Port| Some(port.number) == number || port.name.as_deref() == Some(named);
        match (tcp.iter().find(is), number) {
            (Some(port), _) => self
                .reached(port)
                .map_err(|text| format!("is {named:?}, which {text}")),
            // A Service that is an alias need not list any, and pods may listen on others.
            (None, Some(number)) if number != 0 && self.leads_anywhere(&tcp) => Ok(number),
            _ => Err(format!(
                "is {named:?}, which is no TCP port of the Service; it has {}",
                list(self.all.iter())
            )),
        }
    }

    fn leads_anywhere(&self, tcp: &[&Port]) -> bool {
        self.all.is_empty() || self.headless && !tcp.is_empty()
    }

    /// The number under which the name of the Service answers for a port.
    fn reached(&self, port: &Port) -> Result<u16, String> {
        match &port.target {
            _ if !self.headless => Ok(port.number),
            Target::Number(number) => Ok(*number),
            Target::Name(name) => Err(format!(
                "leads to {name:?} of the pods of a headless Service, which does not map names of ports to numbers; set it to the number that the pods listen on, or make that the targetPort"
            )),
        }
    }
}

impl Port {
    fn is_tcp(&self) -> bool {
        self.protocol == "TCP"
    }
}

fn list<'a>(ports: impl IntoIterator<Item = &'a Port>) -> String {
    let shown = ports.into_iter().map(|port| {
        let protocol = if port.is_tcp() {
            String::new()
        } else {
            format!("/{}", port.protocol)
        };
        let name = port.name.as_ref();
        let name = name.map_or_else(String::new, |name| format!(" ({name})"));
        format!("{}{protocol}{name}", port.number)
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, name: &str, protocol: &str, target: Target) -> Port {
        Port {
            number,
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            protocol: protocol.to_owned(),
            target,
        }
    }

    fn choose(headless: bool, all: &[Port], named: &str) -> Result<u16, String> {
        let all = all.to_vec();
        let named = Some(named).filter(|named| !named.is_empty());
        Ports { headless, all }.choose(named)
    }

    #[test]
    fn the_name_of_a_headless_service_leads_to_its_pods() {
        let numbered = [port(80, "http", "TCP", Target::Number(8080))];
        let named = [port(80, "http", "TCP", Target::Name("web".into()))];
        for name in ["", "80", "http"] {
            assert_eq!(choose(false, &numbered, name), Ok(80), "{name}");
            assert_eq!(choose(true, &numbered, name), Ok(8080), "{name}");
            assert_eq!(choose(false, &named, name), Ok(80), "{name}");
            let text = choose(true, &named, name).expect_err("only pods know");
            for part in ["\"web\" of the pods", "set it to the number"] {
                assert!(text.contains(part), "{name}: {text}");
            }
        }
        // What it says to do can be done.
        for ports in [&numbered[..], &named, &[]] {
            assert_eq!(choose(true, ports, "8080"), Ok(8080));
        }
        let both = [
            numbered[0].clone(),
            port(8080, "", "TCP", Target::Number(9)),
        ];
        assert_eq!(choose(true, &both, "8080"), Ok(9));
        for wrong in ["0", "web", "65536"] {
            choose(true, &named, wrong).expect_err(wrong);
        }
    }

    #[test]
    fn only_tcp_counts() {
        let http = port(80, "http", "TCP", Target::Number(80));
        let dns = port(53, "dns", "UDP", Target::Number(53));
        let both = [dns.clone(), http];
        assert_eq!(choose(false, &both, ""), Ok(80));
        for headless in [false, true] {
            assert_eq!(
                choose(headless, std::slice::from_ref(&dns), ""),
                Err("is missing, and the Service has no TCP port: 53/UDP (dns)".to_owned())
            );
            for named in ["53", "dns"] {
                assert_eq!(
                    choose(headless, std::slice::from_ref(&dns), named),
                    Err(format!(
                        "is {named:?}, which is no TCP port of the Service; it has 53/UDP (dns)"
                    ))
                );
            }
        }
        assert_eq!(
            choose(false, &both, "dns"),
            Err(
                "is \"dns\", which is no TCP port of the Service; it has 53/UDP (dns), 80 (http)"
                    .to_owned()
            )
        );
    }
}
