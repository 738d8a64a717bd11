//! Chance, repeatable: everything a simulation draws comes from one seed.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed ^ 0x6c75_6e6d_6972_726f))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 to `end` - 1; `end` > 0.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is something to choose from");
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }

    /// `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Small values mostly, each power of two as likely as the next.
    pub fn skewed(&mut self, low: u64, high: u64) -> u64 {
        let span = (high - low).max(1);
        let bits = u64::from(64 - span.leading_zeros());
        let most = span >> self.below(bits);
        low + self.below(most + 1).min(high - low)
    }

    pub fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    pub fn coin(&mut self) -> bool {
        self.draw() >> 63 == 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// One word stirred: SplitMix64's output function.
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_sequence_and_every_value_comes() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..1000).map(|_| rng.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!((0..10).all(|value| draw(7).iter().filter(|&&drawn| drawn == value).count() > 50));
    }

    #[test]
    fn bounds_are_kept() {
        let mut rng = Rng::new(1);
        for _ in 0..1000 {
            assert!((3..=5).contains(&rng.between(3, 5)));
            assert!((3..=900).contains(&rng.skewed(3, 900)));
            assert_eq!(rng.skewed(4, 4), 4);
        }
        assert!(!rng.permille(0) && rng.permille(1000));
    }
}
