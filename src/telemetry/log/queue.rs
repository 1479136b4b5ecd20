//! The thread that writes the log, and the lines that wait for it.
//!
//! `tracing-appender` has such a thread as well. It allocates for each line, limits lines and not
//! bytes, wakes its thread for each line, and writes each line on its own.

use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

/// Bytes of lines that may wait. Further lines are lost, so that requests never wait for the log. As
/// much again may be in the hands of the thread.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Waiting bytes that the thread does not leave until [`PAUSE`] is over.
const MANY_WAITING_BYTES: usize = MAX_WAITING_BYTES / 4;
/// Pause between two batches of lines. A line that finds the thread idle is written at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause before the next attempt, if standard output is non-blocking and its reader slow.
const RETRY_DELAY: Duration = Duration::from_millis(10);
/// How long the process waits at its end for the reader of the log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a buffer that are kept after a batch.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// Lines on their way to the log.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The thread has something to do.
    work: Condvar,
    /// All lines are written.
    done: Condvar,
    lost: Counter,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines, in order.
    lines: Vec<u8>,
    /// Lines that were lost after those.
    lost: u64,
    thread: Thread,
    /// Whether lines are to be written without a pause.
    flush: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// Waits for a line.
    #[default]
    Idle,
    /// Waits for more lines.
    Pausing,
    Writing,
}

/// Writes the lines that wait when it is dropped, in five seconds at most.
#[derive(Debug)]
#[must_use]
pub struct FlushGuard(Arc<Queue>);

impl FlushGuard {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

impl Queue {
    /// Starts the thread.
    pub(super) fn start(out: impl Write + Send + 'static, lost: Counter) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            lost,
        });
        let written = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || written.run(out))?;
        Ok(queue)
    }

    /// Takes a line, which ends with its line feed. Never waits for the log.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        let waiting = state.lines.len() + line.len();
        if waiting > MAX_WAITING_BYTES {
            state.lost += 1;
            self.lost.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        // A wake-up for each line would cost more than the line.
        let wakes = match state.thread {
            Thread::Idle => true,
            Thread::Pausing => waiting >= MANY_WAITING_BYTES,
            Thread::Writing => false,
        };
        if wakes {
            state.thread = Thread::Writing;
            drop(state);
            self.work.notify_one();
        }
    }

    /// Waits until all lines are written, or until the time is over.
    fn flush(&self, timeout: Duration) {
        let mut state = self.lock();
        state.flush = true;
        self.work.notify_one();
        let unwritten =
            |state: &mut State| !state.lines.is_empty() || state.thread == Thread::Writing;
        let waited = self.done.wait_timeout_while(state, timeout, unwritten);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.flush = false;
    }

    fn run(&self, mut out: impl Write) {
        let (mut batch, mut is_torn) = (Vec::new(), false);
        let mut state = self.lock();
        loop {
            while state.lines.is_empty() {
                state.thread = Thread::Idle;
                self.done.notify_all();
                let woken = self.work.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            state.thread = Thread::Writing;
            std::mem::swap(&mut state.lines, &mut batch);
            let lost = std::mem::take(&mut state.lost);
            drop(state);
            if lost > 0 {
                tracing::warn!(
                    lines = lost,
                    hint = "make the reader of standard output faster, or set the log level to warning",
                    "log lines were lost: standard output is read too slowly",
                );
            }
            if is_torn {
                batch.insert(0, b'\n');
            }
            let rest = write(&mut out, &batch);
            self.lost.inc_by(lines_in(rest));
            is_torn = !batch[..batch.len() - rest.len()].ends_with(b"\n");
            batch.clear();
            batch.shrink_to(MAX_KEPT_BYTES);
            state = self.lock();
            state.thread = Thread::Pausing;
            let is_pausing = |state: &mut State| !state.flush && state.thread == Thread::Pausing;
            let paused = self.work.wait_timeout_while(state, PAUSE, is_pausing);
            state = paused.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what it can, and returns the rest.
fn write<'a>(out: &mut impl Write, mut bytes: &'a [u8]) -> &'a [u8] {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_DELAY),
            // The disk is full, or the reader is gone.
            Err(_) => break,
        }
    }
    bytes
}

fn lines_in(bytes: &[u8]) -> u64 {
    let ends = bytes.iter().filter(|byte| **byte == b'\n');
    ends.count().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader of the log that takes what it is told to. `write` waits for it.
    struct Reader {
        results: Receiver<io::Result<usize>>,
        calls: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.calls.send(bytes.to_vec());
            // Everything once the test is over.
            let result = self.results.recv().unwrap_or(Ok(usize::MAX));
            result.map(|taken| taken.min(bytes.len()))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Log = (
        Arc<Queue>,
        Counter,
        Receiver<Vec<u8>>,
        Sender<io::Result<usize>>,
    );

    fn log() -> Log {
        let ((calls, called), (results, returned)) = (channel(), channel());
        let (lost, out) = (
            Counter::default(),
            Reader {
                results: returned,
                calls,
            },
        );
        let queue = Queue::start(out, lost.clone()).expect("a thread");
        (queue, lost, called, results)
    }

    const EVERYTHING: io::Result<usize> = Ok(usize::MAX);
    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn lines_that_a_stalled_reader_leaves_no_space_for_are_counted() {
        let (queue, lost, calls, results) = log();
        queue.push(b"first\n");
        assert_eq!(calls.recv().expect("a call"), b"first\n");
        // The reader has stalled: `write` does not return. All these return nevertheless.
        let line = |number: usize| format!("{number:01023}\n").into_bytes();
        let fitting = MAX_WAITING_BYTES / 1024;
        for number in 0..fitting + 10 {
            queue.push(&line(number));
        }
        assert_eq!(lost.get(), 10);
        results.send(EVERYTHING).expect("it waits");
        let expected: Vec<u8> = (0..fitting).flat_map(line).collect();
        assert!(calls.recv().expect("a call") == expected, "in order");
        queue.push(b"after\n");
        results.send(EVERYTHING).expect("it waits");
        assert_eq!(calls.recv().expect("a call"), b"after\n");
        assert_eq!(lost.get(), 10);
    }

    #[test]
    fn lines_are_written_in_batches() {
        let (queue, lost, calls, results) = log();
        queue.push(b"0\n");
        calls.recv().expect("a call");
        let lines: Vec<_> = (1..1000).map(|number| format!("{number}\n")).collect();
        for line in &lines {
            queue.push(line.as_bytes());
        }
        results.send(EVERYTHING).expect("it waits");
        assert_eq!(calls.recv().expect("a call"), lines.concat().into_bytes());
        assert_eq!(lost.get(), 0);
    }

    #[test]
    fn the_guard_waits_until_everything_is_written() {
        let (queue, _, calls, results) = log();
        for number in 0..100 {
            queue.push(format!("{number}\n").as_bytes());
        }
        let reader = thread::spawn(move || {
            let mut read = Vec::new();
            // At first it takes nothing, then one byte at a time.
            calls.recv().expect("a call");
            let refused = Err(ErrorKind::WouldBlock.into());
            results.send(refused).expect("it waits");
            while !read.ends_with(b"99\n") {
                read.push(calls.recv().expect("a call")[0]);
                results.send(Ok(1)).expect("it waits");
            }
            read
        });
        queue.flush(LONG);
        let state = queue.lock();
        assert!(state.lines.is_empty() && state.thread != Thread::Writing);
        let expected: Vec<_> = (0..100).map(|number| format!("{number}\n")).collect();
        let read = reader.join().expect("no panic");
        assert_eq!(read, expected.concat().into_bytes());
    }

    #[test]
    fn the_guard_gives_up_on_a_stalled_reader() {
        let (queue, _, calls, _results) = log();
        queue.push(b"first\n");
        calls.recv().expect("a call");
        queue.push(b"second\n");
        queue.flush(Duration::from_millis(1));
        assert_eq!(queue.lock().lines, b"second\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_begins_a_line() {
        let (queue, lost, calls, results) = log();
        queue.push(b"first\n");
        calls.recv().expect("a call");
        queue.push(b"second\nthird\n");
        // The disk is full after four bytes.
        results.send(Ok(4)).expect("it waits");
        assert_eq!(calls.recv().expect("a call"), b"t\n");
        results
            .send(Err(ErrorKind::StorageFull.into()))
            .expect("it waits");
        assert_eq!(calls.recv().expect("a call"), b"\nsecond\nthird\n");
        assert_eq!(lost.get(), 1);
        results.send(Ok(8)).expect("it waits");
        assert_eq!(calls.recv().expect("a call"), b"third\n");
        results
            .send(Err(ErrorKind::BrokenPipe.into()))
            .expect("it waits");
        queue.push(b"fourth\n");
        assert_eq!(calls.recv().expect("a call"), b"fourth\n");
        assert_eq!(lost.get(), 2);
    }
}
