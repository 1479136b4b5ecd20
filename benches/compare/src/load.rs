//! An open-loop load generator: requests are due at a fixed rate, whatever the server does, and the latency
//! of each counts from the time at which it was due. One that waits because its connection still has a
//! response outstanding has waited for the server.
//!
//! It keeps a processor busy, so that a request is sent at the microsecond at which it is due.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use crate::Failure;

/// How long the last responses are waited for.
const MAX_OVERRUN: Duration = Duration::from_secs(10);
/// Requests of the beginning, in seconds, whose latency does not count.
const WARM_UP: f64 = 0.5;

/// What load to make.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// The request as bytes.
    pub(crate) request: Vec<u8>,
    pub(crate) connections: usize,
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
}

struct Connection {
    stream: TcpStream,
    /// When the outstanding request was due, and those that wait behind it.
    due: VecDeque<Duration>,
    received: Vec<u8>,
}

impl Connection {
    /// Sends the request for which the connection has just become free.
    fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        // The socket's buffer is empty, and larger than a request.
        self.stream.write_all(request)
    }

    /// Reads what there is; says whether the response is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool, Failure> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => {
                    self.received.extend_from_slice(&buffer[..read]);
                    // There was no more, and the next event tells of more: epoll(7).
                    if read < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let complete = size(&self.received)?.is_some_and(|size| self.received.len() >= size);
        if complete {
            self.received.clear();
        }
        Ok(complete)
    }
}

/// Size of the response whose beginning was received, once its head is complete.
fn size(received: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..end])?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(head.into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let matches = name.eq_ignore_ascii_case("content-length");
        matches.then(|| value.trim().parse::<usize>())
    });
    let length = length.ok_or_else(|| format!("no length: {head}"))??;
    Ok(Some(end + 4 + length))
}

impl Load {
    /// Makes the load; returns latencies in microseconds, and how late the generator itself was.
    ///
    /// # Errors
    /// If a response is not 2xx, or a connection ends.
    pub(crate) fn run(&self) -> Result<Value, Failure> {
        let mut poll = Poll::new()?;
        let mut connections = self.connect(&poll)?;
        let interval = 1.0 / self.rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let (total, warm_up) = (
            (self.rate * self.seconds) as usize,
            (self.rate * WARM_UP) as usize,
        );
        let (mut latencies, mut late) = (Vec::with_capacity(total), Vec::with_capacity(total));
        let (mut sent, mut done) = (0_usize, 0_usize);
        let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 256 << 10]);
        let started = Instant::now();
        while done < total {
            let now = started.elapsed();
            #[expect(clippy::cast_precision_loss, reason = "less than 2^52 requests")]
            let due_at = |number: usize| Duration::from_secs_f64(number as f64 * interval);
            while sent < total && due_at(sent) <= now {
                let connection = &mut connections[sent % self.connections];
                connection.due.push_back(due_at(sent));
                if connection.due.len() == 1 {
                    connection.send(&self.request)?;
                }
                late.push(now.saturating_sub(due_at(sent)));
                sent += 1;
            }
            if now > Duration::from_secs_f64(self.seconds) + MAX_OVERRUN {
                return Err(format!("{} responses are missing", total - done).into());
            }
            poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                let connection = &mut connections[event.token().0];
                while connection.receive(&mut buffer)? {
                    let due = connection.due.pop_front().ok_or("an unasked response")?;
                    done += 1;
                    if done > warm_up {
                        latencies.push(started.elapsed().saturating_sub(due));
                    }
                    if connection.due.is_empty() {
                        break;
                    }
                    connection.send(&self.request)?;
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "less than 2^52 requests")]
        let rate = done as f64 / started.elapsed().as_secs_f64();
        latencies.sort_unstable();
        late.sort_unstable();
        Ok(json!({
            "rate": rate,
            "p50": quantile(&latencies, 500),
            "p99": quantile(&latencies, 990),
            "p99.9": quantile(&latencies, 999),
            "late_p99": quantile(&late, 990),
        }))
    }

    fn connect(&self, poll: &Poll) -> Result<Vec<Connection>, Failure> {
        let mut connections = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            // Connected before the clock runs.
            let stream = std::net::TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(number), Interest::READABLE)?;
            connections.push(Connection {
                stream,
                due: VecDeque::new(),
                received: Vec::new(),
            });
        }
        Ok(connections)
    }
}

/// A quantile of sorted times, in microseconds.
fn quantile(sorted: &[Duration], per_mille: usize) -> f64 {
    let index = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted
        .get(index)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_response_is_complete_with_its_body() {
        for (received, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", None),
            (
                "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n",
                Some(46),
            ),
        ] {
            let found = size(received.as_bytes()).expect("a response");
            assert_eq!(found, expected, "{received}");
        }
        assert!(size(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(size(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
    }

    /// The server answers nothing for a while: a generator that waited for it would see one slow request.
    #[test]
    fn a_stall_counts_for_each_request_that_was_due_in_it() {
        const STALL: Duration = Duration::from_millis(500);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut answered = 0;
            while stream.read_exact(&mut [0; 4]).is_ok() {
                if answered == 75 {
                    std::thread::sleep(STALL);
                }
                answered += 1;
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(response).is_err() {
                    return;
                }
            }
        });
        let load = Load {
            address,
            request: b"GET!".to_vec(),
            connections: 1,
            rate: 100.0,
            seconds: 1.25,
        };
        let result = load.run().expect("a result");
        // 75 requests count, of which 50 were due during the stall: the median waited for half of it.
        let median = result["p50"].as_f64().expect("a time");
        assert!(median > 100_000.0, "{result}");
    }
}
