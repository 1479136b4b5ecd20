//! Replicas behind nginx under load, while one part after the other is killed, hangs or forgets.
//!
//! Every answer is weighed: a session that somebody was promised and that no event ended must be
//! let through or be unknown, one that has ended everywhere must not be let through.

use std::fmt::Write as _;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use authentik_standin::nginx::{Nginx, free_address};
use authentik_standin::{Provider, Standin};
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::scene::{Counts, Person, Scene, Standing};
use super::server::Server;
use crate::cookies;
use crate::operations::process::Process;
use crate::support::{settings, within};

/// People who are signed in from the beginning.
const PEOPLE: usize = 6;
/// Answers that each part of a fault lasts.
const ENOUGH: usize = 150;
const NOTHING: &str = "nothing";
const DURABLE: [&str; 2] = ["--appendonly", "yes"];

/// The parts that break, and the browsers.
struct Chaos {
    scene: Arc<Scene>,
    /// Where the sessions are; without it they are in cookies.
    redis: Option<Server>,
    replicas: Vec<Process>,
    nginx: Nginx,
    browsers: JoinSet<()>,
    events: JoinSet<Option<Arc<Person>>>,
}

impl Chaos {
    async fn start(replicas: usize, redis: Option<Server>) -> Self {
        let authentik = Standin::builder().start().await.expect("started");
        let address = free_address().expect("a port");
        let host = format!("grafana.localhost:{}", address.port());
        authentik.add_provider(Provider::forward_single(
            "grafana",
            &format!("http://{host}"),
        ));
        let addresses: Vec<_> = (0..replicas)
            .map(|_| free_address().expect("a port"))
            .collect();
        let nginx = Nginx::balancing(address, &addresses).await;
        let scene = Scene {
            authentik,
            nginx: address,
            host,
            replicas: addresses,
            people: Mutex::default(),
            fault: watch::Sender::new(NOTHING),
            counts: Mutex::default(),
            answers: watch::Sender::new(0),
            names: AtomicUsize::new(0),
        };
        let mut chaos = Self {
            scene: Arc::new(scene),
            redis,
            replicas: Vec::new(),
            nginx: nginx.expect("nginx is installed: apt-get install nginx-light"),
            browsers: JoinSet::new(),
            events: JoinSet::new(),
        };
        for number in 0..replicas {
            let replica = chaos.replica(number).await;
            chaos.replicas.push(replica);
        }
        for _ in 0..PEOPLE {
            let person = chaos.scene.sign_in().await;
            chaos.welcome(person);
        }
        chaos.settle().await;
        chaos
    }

    /// Starts a replica on its address, and waits until it serves.
    async fn replica(&self, number: usize) -> Process {
        let address = self.scene.replicas[number].to_string();
        let port = self.redis.as_ref().map(Server::port);
        let mut more = vec![("AUTHENTIK_LISTEN__HTTP", address.as_str())];
        match &port {
            Some(port) => more.extend([
                ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
                ("AUTHENTIK_REDIS__PORT", port),
                ("AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT", "500ms"),
            ]),
            None => more.push(cookies::STORE),
        }
        let process = Process::start(settings(&self.scene.authentik, &more)).await;
        process.wait_line("configuration loaded").await;
        process.wait_line("is connected").await;
        process
    }

    /// Lets a person who has signed in browse from now on.
    fn welcome(&mut self, person: Arc<Person>) {
        self.scene
            .people
            .lock()
            .expect("no panic")
            .push(Arc::clone(&person));
        self.browsers.spawn(Arc::clone(&self.scene).browse(person));
    }

    /// Waits for so many answers that whatever is broken was felt.
    async fn bear(&self) {
        let mut answers = self.scene.answers.subscribe();
        let enough = *answers.borrow() + ENOUGH;
        let enough = answers.wait_for(|answers| *answers >= enough);
        within(enough).await.expect("the sender is ours");
    }

    /// Names what is broken from now on; a session ends and people sign in meanwhile.
    fn fault(&mut self, name: &'static str) {
        self.scene.fault.send_replace(name);
        let people = self.scene.people.lock().expect("no panic").clone();
        let first = people.iter().find(|person| person.is_promised());
        let person = Arc::clone(first.expect("more come than go"));
        let scene = Arc::clone(&self.scene);
        self.events.spawn(async move {
            scene.end(person).await;
            None
        });
        for _ in 0..2 {
            let scene = Arc::clone(&self.scene);
            self.events
                .spawn(async move { Some(scene.sign_in().await) });
        }
    }

    /// Waits until everything is as if nothing had happened: who is signed in is known to every
    /// replica, who is not to none.
    async fn settle(&mut self) {
        while let Some(event) = within(self.events.join_next()).await {
            if let Some(person) = event.expect("no panic") {
                self.welcome(person);
            }
        }
        let people = self.scene.people.lock().expect("no panic").clone();
        for person in &people {
            let ended = matches!(person.standing(), Standing::Ended);
            let wanted = if ended { 401 } else { 200 };
            for &replica in &self.scene.replicas {
                self.scene.says(replica, person, &[Some(wanted)]).await;
            }
        }
        let promised = people.iter().rev().find(|person| person.is_promised());
        for replica in &self.scene.replicas {
            let cookies = &promised.expect("more come than go").cookies;
            within(self.scene.is_asked(*replica, cookies)).await;
        }
        self.bear().await;
    }

    async fn kill_each_replica(&mut self) {
        for number in 0..self.replicas.len() {
            self.replicas[number].signal(Signal::SIGKILL);
            self.replicas[number].wait_exit().await;
            self.fault("a replica is killed and starts again");
            self.bear().await;
            self.replicas[number] = self.replica(number).await;
            self.settle().await;
        }
    }

    async fn stop_each_replica(&mut self) {
        for number in 0..self.replicas.len() {
            self.replicas[number].signal(Signal::SIGSTOP);
            self.fault("a replica hangs (SIGSTOP) and goes on");
            self.bear().await;
            self.replicas[number].signal(Signal::SIGCONT);
            self.settle().await;
        }
    }

    async fn break_websockets(&mut self) {
        self.scene.authentik.refuse_websockets(true);
        self.scene.authentik.drop_websockets();
        self.fault("the websockets to authentik are down for a while");
        self.bear().await;
        self.scene.authentik.refuse_websockets(false);
        self.settle().await;
    }

    fn redis(&mut self) -> &mut Server {
        self.redis.as_mut().expect("it has the sessions")
    }

    async fn break_redis(&mut self) {
        self.redis().kill().await;
        self.fault("Redis is killed and starts again with its data");
        self.bear().await;
        self.redis().start_again().await;
        self.settle().await;

        self.redis().pause();
        self.fault("Redis hangs (SIGSTOP) and goes on");
        // Longer than anybody waits for it.
        for _ in 0..4 {
            self.bear().await;
        }
        self.redis().resume();
        self.settle().await;

        // Only one replica has ever seen them.
        let quiet = [self.scene.sign_in().await, self.scene.sign_in().await];
        self.redis().kill().await;
        self.fault("Redis is killed and starts again empty");
        self.bear().await;
        self.redis().start_empty().await;
        for person in quiet {
            self.welcome(person);
        }
        self.settle().await;
    }

    /// Ends everything; returns what was counted as a table, and what was wrong.
    async fn end(mut self) -> (String, Vec<String>) {
        self.browsers.shutdown().await;
        for replica in &mut self.replicas {
            replica.stop().await;
        }
        self.nginx.stop().await.expect("stopped");
        let counts = std::mem::take(&mut *self.scene.counts.lock().expect("no panic"));
        let mut table = String::from(
            "| fault | answers | right | unavailable | wrong | sign-ins | ends | last replica to notice one |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let mut wrong = Vec::new();
        for (fault, counts) in counts {
            let Counts {
                right,
                unavailable,
                logins,
                ends,
                slowest,
                ..
            } = counts;
            let errors = counts.wrong.len();
            let answers = right + unavailable + errors;
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "| {fault} | {answers} | {right} | {unavailable} | {errors} | {logins} | {ends} | {slowest:.0?} |"
            );
            wrong.extend(
                counts
                    .wrong
                    .into_iter()
                    .map(|what| format!("{fault}: {what}")),
            );
        }
        (table, wrong)
    }
}

#[expect(clippy::print_stdout, reason = "docs/RELIABILITY.md has such a table")]
async fn survives(replicas: usize, redis: Option<Server>) {
    let mut chaos = Chaos::start(replicas, redis).await;
    chaos.fault(NOTHING);
    chaos.settle().await;
    chaos.kill_each_replica().await;
    chaos.stop_each_replica().await;
    match chaos.redis {
        Some(_) => chaos.break_redis().await,
        None => chaos.break_websockets().await,
    }
    let (table, wrong) = chaos.end().await;
    println!("{replicas} replicas:\n{table}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
#[ignore = "needs Redis and nginx"]
async fn two_replicas_give_no_wrong_answer_whatever_breaks() {
    survives(2, Some(Server::start(&DURABLE).await)).await;
}

#[tokio::test]
#[ignore = "needs Redis and nginx"]
async fn three_replicas_give_no_wrong_answer_whatever_breaks() {
    survives(3, Some(Server::start(&DURABLE).await)).await;
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn three_replicas_with_sessions_in_cookies_give_no_wrong_answer_whatever_breaks() {
    survives(3, None).await;
}
