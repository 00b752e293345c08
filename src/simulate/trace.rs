//! The last steps before a failure, for a person to read. Costs nothing while nobody asked for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Lines that are kept.
const LINES_MAX: usize = 400;

#[derive(Clone, Default)]
pub struct Trace(Option<Rc<Kept>>);

#[derive(Default)]
struct Kept {
    /// What the world is made of.
    head: RefCell<Vec<String>>,
    lines: RefCell<VecDeque<String>>,
    now_ns: Cell<u64>,
}

impl Trace {
    pub fn kept() -> Self {
        Self(Some(Rc::default()))
    }

    /// The time of what is said next, since the world's start.
    pub fn at(&self, now_ns: u64) {
        if let Some(kept) = &self.0 {
            kept.now_ns.set(now_ns);
        }
    }

    /// Something of the world as a whole, which later steps do not push out.
    pub fn head(&self, line: impl FnOnce() -> String) {
        if let Some(kept) = &self.0 {
            kept.head.borrow_mut().push(line());
        }
    }

    pub fn say(&self, line: impl FnOnce() -> String) {
        let Some(kept) = &self.0 else { return };
        let ns = kept.now_ns.get();
        let mut lines = kept.lines.borrow_mut();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{:>6}.{:06} ms  {}", ns / 1_000_000, ns % 1_000_000, line()));
    }

    pub fn lines(&self) -> Vec<String> {
        let Some(kept) = &self.0 else { return Vec::new() };
        kept.head.borrow().iter().chain(kept.lines.borrow().iter()).cloned().collect()
    }
}
