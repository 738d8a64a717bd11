//! What is written: the same bytes by all tasks, or each task's own where they are to be verified.

use super::content::Content;

#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    block_bytes: usize,
    is_shared: bool,
}

impl Payload {
    /// Bytes that do not compress.
    pub fn shared(block_bytes: usize, seed: u64) -> Payload {
        let mut bytes = vec![0; block_bytes];
        Content::new(seed, 0, 0).fill(&mut bytes);
        Payload { bytes, block_bytes, is_shared: true }
    }

    pub fn own(tasks: usize, block_bytes: usize) -> Payload {
        Payload { bytes: vec![0; tasks * block_bytes], block_bytes, is_shared: false }
    }

    pub fn part(&self, task: u32, start: usize, length: usize) -> &[u8] {
        &self.bytes[self.start_of(task) + start..][..length]
    }

    pub fn fill(&mut self, task: u32, content: Content) {
        debug_assert!(!self.is_shared, "others would be written with it");
        let start = self.start_of(task);
        content.fill(&mut self.bytes[start..][..self.block_bytes]);
    }

    fn start_of(&self, task: u32) -> usize {
        if self.is_shared { 0 } else { task as usize * self.block_bytes }
    }
}
