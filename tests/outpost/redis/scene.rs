//! People with browsers in front of replicas: what they ask, and what the answers are worth.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authentik_standin::{Standin, User};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use tokio::sync::watch;

use crate::support::{Browser, PASSWORD, World, location, try_send, within};

/// Pause of a browser between two requests: a modest load, for the machine's sake.
const PAUSE: Duration = Duration::from_millis(10);

/// What was counted during one fault.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) right: usize,
    pub(super) unavailable: usize,
    pub(super) logins: usize,
    pub(super) ends: usize,
    /// Longest time from an end to its notice by every replica.
    pub(super) slowest: Duration,
    pub(super) wrong: Vec<String>,
}

/// How a session stands, as far as anybody can know.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    Promised,
    /// authentik has announced its end.
    Ending,
    /// Every replica that runs has said that nobody is signed in: none may let it through again.
    Ended,
}

pub(super) struct Person {
    pub(super) name: String,
    pub(super) cookies: String,
    pub(super) standing: Mutex<Standing>,
}

impl Person {
    pub(super) fn standing(&self) -> Standing {
        *self.standing.lock().expect("no panic")
    }

    pub(super) fn stands(&self, standing: Standing) {
        *self.standing.lock().expect("no panic") = standing;
    }

    pub(super) fn is_promised(&self) -> bool {
        matches!(self.standing(), Standing::Promised)
    }
}

/// What the tasks share.
pub(super) struct Scene {
    pub(super) authentik: Standin,
    pub(super) nginx: SocketAddr,
    pub(super) host: String,
    pub(super) replicas: Vec<SocketAddr>,
    pub(super) people: Mutex<Vec<Arc<Person>>>,
    pub(super) fault: watch::Sender<&'static str>,
    pub(super) counts: Mutex<BTreeMap<&'static str, Counts>>,
    pub(super) answers: watch::Sender<usize>,
    pub(super) names: AtomicUsize,
}

impl Scene {
    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        let fault = *self.fault.borrow();
        count(
            self.counts
                .lock()
                .expect("no panic")
                .entry(fault)
                .or_default(),
        );
        self.answers.send_modify(|answers| *answers += 1);
    }

    /// A request through nginx.
    pub(super) async fn page(&self, target: &str, cookies: &str) -> Response<Bytes> {
        let request = Request::builder()
            .uri(target)
            .header(header::HOST, &self.host)
            .header(header::COOKIE, cookies)
            .body(Full::default())
            .expect("a request");
        try_send(self.nginx, request).await.expect("nginx answers")
    }

    /// What one replica says of a person; `None` if it does not run.
    pub(super) async fn verdict(&self, replica: SocketAddr, person: &Person) -> Option<u16> {
        let request = Request::builder()
            .method(Method::GET)
            .uri("/outpost.goauthentik.io/auth/nginx")
            .header(header::HOST, &self.host)
            .header("x-original-url", format!("http://{}/", self.host))
            .header(header::COOKIE, &person.cookies)
            .body(Full::default())
            .expect("a request");
        let answer = try_send(replica, request).await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Waits until a replica says this of a person.
    pub(super) async fn says(&self, replica: SocketAddr, person: &Person, wanted: &[Option<u16>]) {
        within(async {
            while !wanted.contains(&self.verdict(replica, person).await) {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }

    /// Waits until nginx, which may have passed it over, asks this replica.
    pub(super) async fn is_asked(&self, replica: SocketAddr, cookies: &str) {
        let replica = replica.to_string();
        loop {
            let answer = self.page("/", cookies).await;
            let asked = answer.headers().get("x-asked");
            if asked.is_some_and(|asked| *asked == replica) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One person's browser, asking for a page again and again.
    pub(super) async fn browse(self: Arc<Self>, person: Arc<Person>) {
        loop {
            let before = person.standing();
            let answer = self.page("/", &person.cookies).await;
            let after = person.standing();
            let status = answer.status().as_u16();
            let over = matches!(before, Standing::Ended);
            let promised = matches!((before, after), (Standing::Promised, Standing::Promised));
            let name = &person.name;
            self.count(|counts| match status {
                200 if over => counts
                    .wrong
                    .push(format!("{name} is let through after the end")),
                302 if promised => counts.wrong.push(format!("{name} shall sign in again")),
                200 | 302 => counts.right += 1,
                500 | 502..=504 => counts.unavailable += 1,
                _ => counts.wrong.push(format!("{name} got {status}")),
            });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Somebody new signs in, and tries again while that is said to be impossible for now.
    pub(super) async fn sign_in(&self) -> Arc<Person> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("person {number}");
        self.authentik.add_user(User::new(&name, PASSWORD));
        let cookies = within(async {
            loop {
                match self.attempt(&name).await {
                    Ok(cookies) => return cookies,
                    Err(503 | 500 | 502 | 504) => self.count(|counts| counts.unavailable += 1),
                    Err(status) => {
                        let lost = format!("the login of {name} ends with {status}");
                        self.count(|counts| counts.wrong.push(lost));
                    }
                }
                tokio::time::sleep(10 * PAUSE).await;
            }
        })
        .await;
        self.count(|counts| counts.logins += 1);
        let standing = Mutex::new(Standing::Promised);
        Arc::new(Person {
            name,
            cookies,
            standing,
        })
    }

    /// A login as a browser goes through it; the cookies, or the status that it ended with.
    pub(super) async fn attempt(&self, name: &str) -> Result<String, u16> {
        let (mut browser, home) = (Browser::default(), format!("http://{}/", self.host));
        let world = World {
            authentik: self.authentik.clone(),
            outpost: (),
        };
        let mut target = format!("/outpost.goauthentik.io/start?rd={home}");
        for _ in 0..6 {
            let answer = self.page(&target, &browser.cookies(&self.host)).await;
            browser.keep(&self.host, answer.headers());
            if answer.status() != 302 {
                return Err(answer.status().as_u16());
            }
            let next = location(&answer);
            if next == home {
                return Ok(browser.cookies(&self.host));
            }
            target = Browser::authorize_as(&world, &next, name);
        }
        Err(302)
    }

    /// authentik ends somebody's session, and every replica notices.
    pub(super) async fn end(self: Arc<Self>, person: Arc<Person>) {
        person.stands(Standing::Ending);
        let begun = Instant::now();
        self.authentik.end_sessions_of(&person.name);
        self.count(|counts| counts.ends += 1);
        for &replica in &self.replicas {
            // One that says that it cannot know may have a copy still. One that does not run will
            // ask Redis, which the others have told.
            let denied = [Some(401), None];
            self.says(replica, &person, &denied).await;
        }
        let noticed = begun.elapsed();
        self.count(|counts| counts.slowest = counts.slowest.max(noticed));
        person.stands(Standing::Ended);
    }
}
