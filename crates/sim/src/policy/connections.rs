//! The connection pool of a client.

/// The connections of a client that reuses idle ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    idle: usize,
    opened: u64,
}

impl Connections {
    /// A pool that has `idle` connections from the start.
    #[must_use]
    pub fn warm(idle: usize) -> Self {
        Self { idle, opened: 0 }
    }

    /// Takes a connection for a request; returns whether it is a new connection.
    pub fn take(&mut self) -> bool {
        let reused = self.idle > 0;
        if reused {
            self.idle -= 1;
        } else {
            self.opened += 1;
        }
        !reused
    }

    /// Returns a connection to the pool. A client does so once it has read an answer to its end, and closes it
    /// otherwise.
    pub fn give_back(&mut self) {
        self.idle += 1;
    }

    /// Idle connections.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// Connections that were opened for requests.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_given_back_is_reused() {
        let mut connections = Connections::warm(1);
        assert!(!connections.take(), "the warm one");
        assert!(connections.take(), "a new one");
        connections.give_back();
        assert_eq!((connections.idle(), connections.opened()), (1, 1));
        assert!(!connections.take());
        assert!(connections.take(), "the other answer was aborted");
    }
}
