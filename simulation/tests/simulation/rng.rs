//! Chance, as an argument: everything random in a run comes from its seed.

/// A small generator (splitmix64): good enough to choose faults, the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64, row: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ row.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.draw() >> 11) % n.max(1)
    }

    /// True that many times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A span between nothing and `most` milliseconds; every other one is nothing.
    pub fn pause(&mut self, most: i64) -> i64 {
        if self.chance(500) { 0 } else { self.span(most) }
    }

    /// A span between nothing and `most` milliseconds.
    pub fn span(&mut self, most: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(most).unwrap_or(0) + 1)).unwrap_or(0)
    }
}
