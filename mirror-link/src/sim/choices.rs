//! Every sequence of choices, one run after the other: each run repeats the last one up to a choice, and takes the next there.

#[derive(Debug, Default)]
pub struct Choices {
    taken: Vec<Choice>,
    /// How many of them this run has come to.
    at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Choice {
    value: usize,
    of: usize,
}

impl Choices {
    /// 0 to `of` - 1.
    pub fn pick(&mut self, of: usize) -> usize {
        assert!(of > 0, "there is something to choose from");
        if self.is_new() {
            self.taken.push(Choice { value: 0, of });
        }
        let choice = self.taken[self.at];
        assert_eq!(choice.of, of, "a run repeats itself");
        self.at += 1;
        choice.value
    }

    /// This run has left the last one.
    pub fn is_new(&self) -> bool {
        self.at == self.taken.len()
    }

    /// False: that was the last run.
    pub fn begin_next(&mut self) -> bool {
        self.at = 0;
        while let Some(last) = self.taken.last_mut() {
            last.value += 1;
            if last.value < last.of {
                return true;
            }
            self.taken.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_comes_once() {
        let (mut choices, mut found) = (Choices::default(), Vec::new());
        loop {
            let first = choices.pick(3);
            let second = if first == 1 { choices.pick(2) } else { 9 };
            found.push((first, second));
            if !choices.begin_next() {
                break;
            }
        }
        assert_eq!(found, [(0, 9), (1, 0), (1, 1), (2, 9)]);
    }
}
