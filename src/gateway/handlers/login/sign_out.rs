//! Sign-out: only a navigation signs out, and one from another origin is asked to confirm.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Response, StatusCode};

use super::LoginFlow;
use super::cookies::remove_cookies;
use crate::gateway::error::GatewayError;
use crate::gateway::request::target::RequestTarget;
use crate::gateway::response::{GatewayResponse, html, redirect};
use crate::model::Session;
use crate::route::{LiveSession, Site};
use crate::web::page::{Page, Question};
use crate::web::request::navigation::Opened;

/// The query parameter with the token of the confirmation page.
const CONFIRM: &str = "confirm";
/// The query parameter of a sign-out that ends this browser's session alone.
const THIS_SESSION: &str = "session=this";

impl LoginFlow {
    /// `/sign_out`: ends every session of the user at the outpost, then signs out at authentik. With
    /// `session=this` it ends this browser's session at the application, and no other.
    pub(super) async fn sign_out(
        &self,
        target: RequestTarget<'_>,
        query: &str,
    ) -> Result<GatewayResponse, GatewayError> {
        let site = target.site()?;
        let RequestTarget {
            host,
            method,
            headers,
            ..
        } = target;
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return Err(GatewayError::PageMethod {
                site: Arc::clone(site),
                allow: "GET, HEAD, POST",
            });
        }
        let opened = Opened::of(method, headers, &host.authority());
        let token = token(query).filter(|_| *method == Method::POST);
        if opened == Opened::InBackground && token.is_none() {
            return Err(GatewayError::Background(Arc::clone(site)));
        }
        let Some(session) = self.authenticator.identify(site, headers).await? else {
            let home = site.application.external.as_str().to_owned();
            return self.begin(site, headers, home, 1);
        };
        // The token is accepted from every origin: no other page can know it.
        let confirmed =
            token.is_some_and(|token| site.keys.is_sign_out_token(token, &session.access_token));
        if opened != Opened::Here && !confirmed {
            let response = confirmation_page(site, &session, query);
            return Ok(GatewayResponse {
                session: Some(session),
                ..GatewayResponse::of(site, response)
            });
        }
        let sessions = &self.authenticator.sessions;
        let mut response = if is_for_this_session(query) {
            let ids: Vec<_> = sessions.ids(site, headers).collect();
            for id in ids {
                sessions.store.revoke(&id.key()).await;
            }
            if let Some(cookies) = &sessions.in_cookies {
                let ended = [Arc::clone(&session)];
                cookies.revoke_tokens(host.all_sites(), &ended).await;
            }
            signed_out(site)
        } else {
            self.end_sessions(&session, host.all_sites()).await;
            match site.relying_party.end_session_url() {
                Some(url) => redirect(url.as_str()),
                None => signed_out(site),
            }
        };
        if *method == Method::POST && response.status().is_redirection() {
            // The next request is a GET (RFC 9110 section 15.4.4).
            *response.status_mut() = StatusCode::SEE_OTHER;
        }
        remove_cookies(&mut response, site, headers, |_| true);
        Ok(GatewayResponse {
            session: Some(session),
            ..GatewayResponse::of(site, response)
        })
    }

    /// Ends every session of the user at the outpost.
    async fn end_sessions(&self, session: &LiveSession, sites: &[Arc<Site>]) {
        let (sessions, sub) = (&self.authenticator.sessions, &session.claims.sub);
        let in_cookies = sessions.in_cookies.as_ref();
        let in_cookies = in_cookies.map(|cookies| (cookies, cookies.store.of_subject(sub)));
        sessions.store.revoke_by_subject(sub).await;
        if let Some((cookies, known)) = in_cookies {
            // Other replicas have no record of it.
            cookies.revoke_tokens(sites, &known).await;
        }
    }
}

/// The token in a query.
fn token(query: &str) -> Option<&str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix(CONFIRM)?.strip_prefix('='))
}

/// Whether only the session of this browser ends.
fn is_for_this_session(query: &str) -> bool {
    query.split('&').any(|pair| pair == THIS_SESSION)
}

/// The confirmation page. Its form leads to the requested path, which reaches the outpost.
fn confirmation_page(site: &Site, session: &Session, query: &str) -> Response<Body> {
    let token = site.keys.sign_out_token(&session.access_token);
    let mut action = format!("?X-authentik-logout=true&{CONFIRM}={token}");
    if is_for_this_session(query) {
        action = format!("{action}&{THIS_SESSION}");
    }
    let page = Page {
        title: "Sign out?",
        text: "Another site, or a page that your browser does not name, asks to sign you out.",
        application: Some(&site.application.title),
        question: Some(Question {
            yes: "Sign out",
            action: &action,
            no: "Stay signed in",
            back: site.application.external.as_str(),
        }),
        ..Page::default()
    };
    html(StatusCode::OK, &page)
}

/// The page after a sign-out that does not lead to authentik.
fn signed_out(site: &Site) -> Response<Body> {
    let page = Page {
        title: "Signed out",
        text: "You are signed out of this application.",
        application: Some(&site.application.title),
        links: &[("Sign in again", site.application.external.as_str())],
        ..Page::default()
    };
    html(StatusCode::OK, &page)
}
