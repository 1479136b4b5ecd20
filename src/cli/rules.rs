//! `authentik-proxy rules`: explains how a request would be authorized.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use clap::Args;
use http::Method;

use crate::app::{App, StartError};
use crate::config::Config;
use crate::model::{
    Application, AuthorizationRequest, Decision, Hint, HintText, Mode, RequestedUrl,
    RequestedUrlError,
};
use crate::route::Site;

/// A request to explain.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Request {
    /// Slug of the application at authentik
    pub slug: String,
    /// URL of the request, for example <https://app.example.com/admin>
    pub url: String,
    /// Method of the request
    #[arg(long, default_value = "GET")]
    pub method: Method,
    /// Address of the client
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub client: IpAddr,
    /// The user is signed in, without groups unless --group names some
    #[arg(long)]
    pub signed_in: bool,
    /// A group of the signed-in user; may be repeated
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
}

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The applications could not be loaded.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No such application.
    #[error("this outpost has no application with the slug {0:?}, but {1}")]
    Slug(String, String),
    /// The URL belongs to another application.
    #[error("a request for {0} goes to {1}, not to {2:?}")]
    Elsewhere(String, String, String),
    /// The URL is invalid.
    #[error("{0:?} is not usable as a URL: {1}")]
    Url(String, RequestedUrlError),
}

impl Hint for ExplainError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::Start(error) => error.hint(),
            Self::Elsewhere(..) => Some("use that slug, or correct the URL".into()),
            Self::Slug(..) | Self::Url(..) => None,
        }
    }
}

/// Loads the applications from authentik, as the server would, and decides on one request.
pub async fn explain(config: &Config, request: &Request) -> Result<String, ExplainError> {
    let live = App::load(config).await?;
    let snapshot = live.load();
    let sites = snapshot.table.sites();
    let site = sites
        .iter()
        .find(|site| site.application.slug == request.slug)
        .ok_or_else(|| {
            let slugs: Vec<_> = sites.iter().map(|s| s.application.slug.as_str()).collect();
            ExplainError::Slug(request.slug.clone(), slugs.join(", "))
        })?;
    let url = RequestedUrl::parse(&request.url)
        .map_err(|error| ExplainError::Url(request.url.clone(), error))?;
    // As the server routes it.
    let routes = snapshot.table.host(url.authority());
    let leads_to = routes.find(url.path());
    let elsewhere = |place: String| {
        let (url, slug) = (request.url.clone(), request.slug.clone());
        Err(ExplainError::Elsewhere(url, place, slug))
    };
    match leads_to {
        None => return elsewhere("no application of this outpost".to_owned()),
        Some(other) if !Arc::ptr_eq(other, site) => {
            return elsewhere(format!("{:?}", other.application.slug));
        }
        Some(_) if is_own_page(&url, site) => {
            return elsewhere("the outpost's own pages".to_owned());
        }
        Some(_) => {}
    }
    let certain = routes.is_certain(url.path());
    Ok(Explanation {
        application: &site.application,
        request,
        url,
        certain,
    }
    .to_string())
}

/// Whether the outpost answers the URL itself: all traffic of the application passes through it.
fn is_own_page(url: &RequestedUrl<'_>, site: &Site) -> bool {
    let application = &site.application;
    let at_root = url.path().strip_prefix("/outpost.goauthentik.io");
    let own = at_root.or_else(|| application.external.own_path(url.path()));
    application.mode == Mode::Proxy && own.is_some_and(|own| own.is_empty() || own.starts_with('/'))
}

struct Explanation<'a> {
    application: &'a Application,
    request: &'a Request,
    url: RequestedUrl<'a>,
    /// Whether every server takes the path for one of this application.
    certain: bool,
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (application, request) = (self.application, self.request);
        let signed_in = request.signed_in || !request.groups.is_empty();
        let groups = signed_in.then_some(request.groups.as_slice());
        let asked = AuthorizationRequest {
            url: &self.url,
            method: Some(&request.method),
            client: Some(request.client),
            preflight: false,
            routed_host: None,
        };
        let (decision, reason) = application.decide(&asked, groups);
        // Checked before anything else, for every user.
        let (decision, reason) = if self.certain {
            (decision, reason.to_string())
        } else {
            let reason = "ambiguous path: servers normalize it differently, and some would take it for another application's of this host";
            (Decision::Deny, reason.to_owned())
        };
        let decision = match decision {
            Decision::Allow => "allowed",
            Decision::Login => "login required",
            Decision::Deny => "denied",
        };
        let user = match groups {
            None => "anonymous".to_owned(),
            Some([]) => "a user without groups".to_owned(),
            Some(groups) => format!("a user in {}", groups.join(", ")),
        };
        let (title, home) = (&application.title, application.external.as_str());
        writeln!(f, "application  {title} ({home})")?;
        let (method, client) = (&request.method, request.client);
        writeln!(
            f,
            "request      {method} {} from {client}, {user}",
            self.url
        )?;
        writeln!(f, "decision     {decision}")?;
        writeln!(f, "reason       {reason}")
    }
}
