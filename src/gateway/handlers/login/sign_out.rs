//! Signing out: only a page that is opened does, and one that another origin opened asks first.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Response, StatusCode};

use super::{redirect, remove_cookies};
use crate::gateway::error::GatewayError;
use crate::gateway::response::{GatewayResponse, html};
use crate::gateway::{Parted, RequestTarget};
use crate::model::Session;
use crate::route::Site;
use crate::web::page::{Page, Question};
use crate::web::request::navigation::Opened;

/// The parameter that carries the token of the page that asks.
const CONFIRM: &str = "confirm";

impl Parted {
    /// `/sign_out`: ends every session of the person here, then signs out at authentik.
    pub(in crate::gateway) async fn sign_out(
        &self,
        site: &Arc<Site>,
        asked: RequestTarget<'_>,
        query: &str,
    ) -> Result<GatewayResponse, GatewayError> {
        let RequestTarget {
            authority,
            method,
            headers,
            ..
        } = asked;
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return Err(GatewayError::PageMethod {
                site: Arc::clone(site),
                allow: "GET, HEAD, POST",
            });
        }
        let opened = Opened::of(method, headers, &authority);
        let token = token(query).filter(|_| *method == Method::POST);
        if opened == Opened::InBackground && token.is_none() {
            return Err(GatewayError::Background(Arc::clone(site)));
        }
        let Some(session) = self.identify(site, headers).await? else {
            let home = site.application.external.as_str().to_owned();
            return self.begin(site, headers, home, 1);
        };
        // The token counts wherever the form was sent from: no other page can know it.
        let confirmed =
            token.is_some_and(|token| site.keys.is_sign_out_token(token, &session.access_token));
        if opened != Opened::Here && !confirmed {
            let response = ask(site, &session);
            return Ok(GatewayResponse {
                session: Some(session),
                ..GatewayResponse::of(site, response)
            });
        }
        self.store.revoke_by_subject(&session.claims.sub).await;
        let mut response = match site.relying_party.end_session_url() {
            Some(url) => redirect(url.as_str()),
            None => signed_out(site),
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
}

/// The token in a query.
fn token(query: &str) -> Option<&str> {
    let mut pairs = query.split('&');
    pairs.find_map(|pair| pair.strip_prefix(CONFIRM)?.strip_prefix('='))
}

/// The page that asks. Its form leads to the very path that was asked for, which reaches us.
fn ask(site: &Site, session: &Session) -> Response<Body> {
    let token = site.keys.sign_out_token(&session.access_token);
    let action = format!("?X-authentik-logout=true&{CONFIRM}={token}");
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

/// What is shown where authentik has no page of its own for it.
fn signed_out(site: &Site) -> Response<Body> {
    let page = Page {
        title: "Signed out",
        text: "You are signed out of this application.",
        application: Some(&site.application.title),
        ..Page::default()
    };
    html(StatusCode::OK, &page)
}
