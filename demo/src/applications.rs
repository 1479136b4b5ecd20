//! The applications of the demo and their addresses.

/// One application.
#[derive(Debug)]
pub(crate) struct Application {
    /// Its provider, and its host below `localhost`.
    pub(crate) name: &'static str,
    /// Its description.
    pub(crate) about: &'static str,
    /// Whether it is in mode `proxy` even behind nginx.
    pub(crate) proxied: bool,
    /// The group that may use it; `None`: all users.
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

/// All applications.
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

/// The server that browsers connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// nginx, which asks the outpost.
    Nginx,
    /// The outpost itself, where nginx is not installed.
    Outpost,
}
