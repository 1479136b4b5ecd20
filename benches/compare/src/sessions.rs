//! Many sessions in little time: the outpost makes one for a bearer token, and its answer sets the cookie.

use std::net::SocketAddr;
use std::ops::Range;

use authentik_standin::{Standin, User};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use serde_json::json;

use crate::Failure;
use crate::common::{Client, cookies_of};

const CHECK: &str = "/outpost.goauthentik.io/auth/nginx";
/// Sessions of one user, far below the outpost's bound for a subject.
const PER_USER: usize = 100;
/// Requests at a time.
const CONNECTIONS: usize = 16;
/// Bytes of an access token with these claims, roughly: what authentik issues for a user with attributes.
const TOKEN_BYTES: Range<usize> = 1_400..1_600;

/// What was made.
pub(crate) struct Made {
    /// `name=value`, one for each session.
    pub(crate) cookies: Vec<String>,
    /// Length of the last access token.
    pub(crate) token_bytes: usize,
}

/// A user with five groups and a few attributes.
pub(crate) fn user(name: &str) -> User {
    User {
        groups: ["admins", "engineering", "grafana-editors", "on-call", "vpn"]
            .map(str::to_owned)
            .to_vec(),
        attributes: json!({
            "settings": {"locale": "en", "theme": {"base": "automatic"}},
            "department": "Research and Development",
            "location": "Building 7, second floor, room 214",
            "telephone": "+1 555 0100",
        }),
        ..User::new(name, "compare-pass-1")
    }
}

/// Makes the sessions with these numbers at the outpost.
///
/// # Errors
/// If an answer is not 200, or sets no cookie.
pub(crate) async fn make(
    authentik: &Standin,
    client_id: &str,
    outpost: SocketAddr,
    host: &str,
    numbers: Range<usize>,
) -> Result<Made, Failure> {
    for number in numbers.clone().filter(|number| number % PER_USER == 0) {
        authentik.add_user(user(&name(number)));
    }
    if !numbers.start.is_multiple_of(PER_USER) {
        authentik.add_user(user(&name(numbers.start)));
    }
    let share = numbers.len().div_ceil(CONNECTIONS);
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|task| {
            let start = (numbers.start + task * share).min(numbers.end);
            let own = start..(start + share).min(numbers.end);
            let (authentik, client_id) = (authentik.clone(), client_id.to_owned());
            let host = host.to_owned();
            tokio::spawn(async move { some(&authentik, &client_id, outpost, &host, own).await })
        })
        .collect();
    let mut all = Made {
        cookies: Vec::with_capacity(numbers.len()),
        token_bytes: 0,
    };
    for task in tasks {
        let made = task.await??;
        all.cookies.extend(made.cookies);
        all.token_bytes = all.token_bytes.max(made.token_bytes);
    }
    if !TOKEN_BYTES.contains(&all.token_bytes) {
        return Err(format!("tokens of {} bytes", all.token_bytes).into());
    }
    Ok(all)
}

async fn some(
    authentik: &Standin,
    client_id: &str,
    outpost: SocketAddr,
    host: &str,
    numbers: Range<usize>,
) -> Result<Made, String> {
    let mut client = Client::connect(outpost).await;
    let (mut cookies, mut token_bytes) = (Vec::with_capacity(numbers.len()), 0);
    for number in numbers {
        let token = authentik.mint(client_id, &name(number), json!({}));
        token_bytes = token.len();
        let request = Request::builder()
            .uri(CHECK)
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header("x-original-url", format!("http://{host}/"))
            .body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let (answer, _) = client.send(request).await;
        let cookie = cookies_of(&answer);
        if answer.status() != StatusCode::OK || cookie.is_empty() {
            return Err(format!("session {number}: {answer:?}"));
        }
        cookies.push(cookie);
    }
    Ok(Made {
        cookies,
        token_bytes,
    })
}

fn name(number: usize) -> String {
    format!("user-{}", number / PER_USER)
}
