//! The applications: what they are, and how they are reached.

/// One application.
#[derive(Debug)]
pub(crate) struct Application {
    /// Its provider, and its host below `localhost`.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) about: &'static str,
    /// Whether the outpost passes requests on even if nginx is there.
    pub(crate) proxied: bool,
    /// Who may use it, where not everybody may.
    pub(crate) group: Option<&'static str>,
}

impl Application {
    const fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            proxied: false,
            group: None,
        }
    }
}

/// All of them.
pub(crate) const APPLICATIONS: [Application; 5] = [
    Application::new("grafana", "dashboards"),
    Application::new("prometheus", "queries and alerts"),
    Application::new("hubble", "traffic in the cluster"),
    Application {
        group: Some("admins"),
        ..Application::new("longhorn", "storage; for the group admins only")
    },
    Application {
        proxied: true,
        ..Application::new("homeassistant", "the house; always in mode proxy")
    },
];
