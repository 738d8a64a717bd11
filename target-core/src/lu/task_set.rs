//! The task set (SAM-5 §8): which commands may run, by their task attributes. One for each I_T_L nexus (TST = 001b).
//!
//! ```text
//!   admit ──► dormant ──(nothing before it blocks it)──► enabled ──► finished
//!                └──────────────── abort ──────────────────┘
//! ```

use std::collections::VecDeque;

use crate::scsi::status::TaskAttribute;

/// Tasks in one set before TASK SET FULL: more than any session's command window, which is 4096, with its immediate commands.
pub const TASKS_MAX: usize = 8192;

/// Why a task was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// TASK SET FULL status.
    Full,
    /// Another task of the same tag is there: OVERLAPPED COMMANDS ATTEMPTED (0Bh, 4Eh/00h).
    Overlapped,
    /// No ACA condition ever exists here: INVALID MESSAGE ERROR (05h, 49h/00h; SAM-5 §8.6.5).
    AutoContingentAllegiance,
}

#[derive(Debug)]
struct Task<Tag> {
    tag: Tag,
    attribute: TaskAttribute,
    enabled: bool,
}

/// Tasks of one nexus, oldest first.
#[derive(Debug)]
pub struct TaskSet<Tag> {
    tasks: VecDeque<Task<Tag>>,
    /// ORDERED and HEAD OF QUEUE tasks in the set; with none of them every task is enabled.
    barriers: usize,
    /// Enabled and not yet handed out.
    runnable: VecDeque<Tag>,
}

impl<Tag> Default for TaskSet<Tag> {
    fn default() -> TaskSet<Tag> {
        TaskSet { tasks: VecDeque::new(), barriers: 0, runnable: VecDeque::new() }
    }
}

impl<Tag: Copy + Eq> TaskSet<Tag> {
    pub fn admit(&mut self, tag: Tag, attribute: TaskAttribute) -> Result<(), Refused> {
        if attribute == TaskAttribute::Aca {
            return Err(Refused::AutoContingentAllegiance);
        }
        if self.tasks.len() == TASKS_MAX {
            return Err(Refused::Full);
        }
        if self.contains(tag) {
            return Err(Refused::Overlapped);
        }
        let enabled = match attribute {
            TaskAttribute::Simple => self.barriers == 0,
            TaskAttribute::Ordered => self.tasks.is_empty(),
            // "A command having the HEAD OF QUEUE attribute shall enter the enabled command state" (SAM-5 §8.6.4).
            TaskAttribute::HeadOfQueue | TaskAttribute::Aca => true,
        };
        self.barriers += usize::from(attribute != TaskAttribute::Simple);
        self.tasks.push_back(Task { tag, attribute, enabled });
        if enabled {
            self.runnable.push_back(tag);
        }
        Ok(())
    }

    /// Only SIMPLE tasks are in the set: another one may start at once, and need not enter if it also ends at once.
    pub fn is_unordered(&self) -> bool {
        self.barriers == 0
    }

    /// A SIMPLE task that has started already, in a set that [`is_unordered`](Self::is_unordered).
    pub fn admit_running(&mut self, tag: Tag) -> Result<(), Refused> {
        assert!(self.is_unordered(), "a task starts by itself only where nothing holds it back");
        self.admit(tag, TaskAttribute::Simple)?;
        let started = self.runnable.pop_back();
        assert!(started == Some(tag), "it was runnable at once");
        Ok(())
    }

    pub fn has_runnable(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// The next task to start, each once.
    pub fn runnable(&mut self) -> Option<Tag> {
        self.runnable.pop_front()
    }

    /// The task ended, whatever its status. False where it was not in the set (it had been aborted).
    pub fn finished(&mut self, tag: Tag) -> bool {
        self.remove(tag).is_some()
    }

    /// Take it out. `Some(true)`: it had been handed out and must be stopped. `None`: no such task.
    pub fn abort(&mut self, tag: Tag) -> Option<bool> {
        let handed_out = |set: &TaskSet<Tag>, enabled: bool| enabled && !set.runnable.contains(&tag);
        let enabled = self.tasks.iter().find(|task| task.tag == tag)?.enabled;
        let running = handed_out(self, enabled);
        self.runnable.retain(|other| *other != tag);
        self.remove(tag);
        Some(running)
    }

    /// Take out every task, oldest first; each with whether it had been handed out.
    pub fn abort_all(&mut self) -> Vec<(Tag, bool)> {
        let tags: Vec<Tag> = self.tasks.iter().map(|task| task.tag).collect();
        let runnable = std::mem::take(&mut self.runnable);
        let enabled: Vec<bool> = self.tasks.iter().map(|task| task.enabled).collect();
        self.tasks.clear();
        self.barriers = 0;
        tags.into_iter().zip(enabled).map(|(tag, enabled)| (tag, enabled && !runnable.contains(&tag))).collect()
    }

    pub fn contains(&self, tag: Tag) -> bool {
        self.tasks.iter().any(|task| task.tag == tag)
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    fn remove(&mut self, tag: Tag) -> Option<()> {
        let at = self.tasks.iter().position(|task| task.tag == tag)?;
        let task = self.tasks.remove(at)?;
        if self.barriers > 0 {
            self.barriers -= usize::from(task.attribute != TaskAttribute::Simple);
            self.enable();
        }
        Some(())
    }

    /// Walk from the oldest: what may run now that did not before?
    fn enable(&mut self) {
        let heads = self.tasks.iter().filter(|task| task.attribute == TaskAttribute::HeadOfQueue).count();
        if heads > 0 {
            // "until all HEAD OF QUEUE commands … have ended", for SIMPLE and ORDERED alike (§8.6.2, §8.6.3).
            return;
        }
        for at in 0..self.tasks.len() {
            let task = &mut self.tasks[at];
            let ordered = task.attribute == TaskAttribute::Ordered;
            if !task.enabled && (!ordered || at == 0) {
                task.enabled = true;
                self.runnable.push_back(task.tag);
            }
            if ordered {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordered_waits_for_the_older_and_holds_the_younger() {
        let mut set = TaskSet::default();
        set.admit(1, TaskAttribute::Simple).expect("room");
        set.admit(2, TaskAttribute::Ordered).expect("room");
        set.admit(3, TaskAttribute::Simple).expect("room");
        assert_eq!((set.runnable(), set.runnable()), (Some(1), None));
        set.finished(1);
        assert_eq!((set.runnable(), set.runnable()), (Some(2), None));
        set.finished(2);
        assert_eq!((set.runnable(), set.runnable()), (Some(3), None));
    }

    #[test]
    fn head_of_queue_runs_at_once() {
        let mut set = TaskSet::default();
        for tag in 1..=2 {
            set.admit(tag, TaskAttribute::Ordered).expect("room");
        }
        set.admit(3, TaskAttribute::HeadOfQueue).expect("room");
        assert_eq!((set.runnable(), set.runnable(), set.runnable()), (Some(1), Some(3), None));
        set.finished(1);
        assert_eq!(set.runnable(), None);
        set.finished(3);
        assert_eq!(set.runnable(), Some(2));
    }

    #[test]
    fn refusals() {
        let mut set = TaskSet::default();
        assert_eq!(set.admit(0, TaskAttribute::Aca), Err(Refused::AutoContingentAllegiance));
        for tag in 0..TASKS_MAX {
            set.admit(tag, TaskAttribute::Simple).expect("room");
        }
        assert_eq!(set.admit(TASKS_MAX, TaskAttribute::Simple), Err(Refused::Full));
        set.finished(0);
        assert_eq!(set.admit(1, TaskAttribute::Simple), Err(Refused::Overlapped));
    }

    #[test]
    fn abort_tells_whether_it_ran() {
        let mut set = TaskSet::default();
        set.admit(1, TaskAttribute::Simple).expect("room");
        set.admit(2, TaskAttribute::Ordered).expect("room");
        assert_eq!(set.runnable(), Some(1));
        assert_eq!(set.abort(2), Some(false));
        assert_eq!(set.abort(1), Some(true));
        assert_eq!(set.abort(1), None);
        assert!(!set.finished(1));
    }

    /// The clauses of SAM-5 §8.6 read word for word, asked of every task from scratch.
    #[derive(Default)]
    struct Oracle {
        tasks: Vec<(u8, TaskAttribute, bool)>,
    }

    impl Oracle {
        fn settle(&mut self) -> Vec<u8> {
            let heads = self.tasks.iter().any(|task| task.1 == TaskAttribute::HeadOfQueue);
            let mut started = Vec::new();
            for at in 0..self.tasks.len() {
                let older = &self.tasks[..at];
                let may = match self.tasks[at].1 {
                    TaskAttribute::HeadOfQueue => true,
                    TaskAttribute::Simple => !heads && older.iter().all(|task| task.1 != TaskAttribute::Ordered),
                    TaskAttribute::Ordered => !heads && older.is_empty(),
                    TaskAttribute::Aca => false,
                };
                if may && !self.tasks[at].2 {
                    self.tasks[at].2 = true;
                    started.push(self.tasks[at].0);
                }
            }
            started
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle(steps in proptest::collection::vec((0u8..4, 0usize..16), 1..200)) {
            let (mut set, mut oracle, mut tag) = (TaskSet::default(), Oracle::default(), 0u8);
            for (step, pick) in steps {
                let attribute = match step {
                    0 => Some(TaskAttribute::Simple),
                    1 => Some(TaskAttribute::Ordered),
                    2 => Some(TaskAttribute::HeadOfQueue),
                    _ => None,
                };
                if let Some(attribute) = attribute {
                    set.admit(tag, attribute).expect("room");
                    oracle.tasks.push((tag, attribute, false));
                    tag += 1;
                } else if !oracle.tasks.is_empty() {
                    let (gone, _, ran) = oracle.tasks.remove(pick % oracle.tasks.len());
                    if pick % 2 == 0 {
                        prop_assert!(set.finished(gone));
                    } else {
                        prop_assert_eq!(set.abort(gone), Some(ran));
                    }
                }
                let started: Vec<u8> = std::iter::from_fn(|| set.runnable()).collect();
                prop_assert_eq!(started, oracle.settle());
            }
        }
    }
}
