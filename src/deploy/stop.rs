//! Someone wishes that a deploy end.
//!
//! Before a container is touched it may end at once: whoever comes next finds nothing but files to put
//! back. From then on that would leave the stack half replaced. So the deploy hears of the wish, ends what it runs,
//! and goes back as after any other failure.

use std::sync::atomic::{AtomicBool, Ordering};

/// A wish that a deploy end, and whether the deploy hears of it.
#[derive(Debug, Default)]
pub struct Stop {
    heard: AtomicBool,
    wished: AtomicBool,
}

/// What whoever wished it has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// End the process: the deploy does not hear, or has heard of it before.
    End,
    /// Wait: the deploy ends by itself.
    Wait,
}

impl Stop {
    /// Wishes it.
    pub fn wish(&self) -> Then {
        let before = self.wished.swap(true, Ordering::SeqCst);
        if before || !self.heard.load(Ordering::SeqCst) { Then::End } else { Then::Wait }
    }

    /// True once it was wished.
    pub fn is_wished(&self) -> bool {
        self.wished.load(Ordering::SeqCst)
    }

    /// From here on the deploy hears of it.
    pub(super) fn listen(&self) {
        self.heard.store(true, Ordering::SeqCst);
    }

    /// The deploy is over.
    pub(super) fn over(&self) {
        self.heard.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_wish_that_is_heard_leaves_it_to_the_deploy() {
        let stop = Stop::default();
        stop.listen();
        assert!(!stop.is_wished());
        assert_eq!([stop.wish(), stop.wish()], [Then::Wait, Then::End]);
        assert!(stop.is_wished());
        let over = Stop::default();
        over.listen();
        over.over();
        assert_eq!(over.wish(), Then::End);
        assert_eq!(Stop::default().wish(), Then::End);
    }
}
