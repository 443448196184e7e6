//! A share of the data key: one point of a polynomial per byte, over GF(2^8).
//!
//! Each byte of the key is the value at 0 of a random polynomial of degree `threshold - 1`. A
//! share holds the values at one `x`, and then that `x`; as many shares as the threshold says
//! give the key back, and fewer say nothing about it. The field is AES's, with the polynomial
//! `0x11B`. The `x` count from 1 in the order of the groups, and any are read.
//! (getsops/sops v3.13.2, `shamir/shamir.go`.)
//!
//! The arithmetic has no branch and no table that a secret could choose an entry of.

use super::{DataKey, Entropy, Error};
use crate::secret::Secret;

/// Bytes of a data key.
const KEY: usize = 32;
/// Bytes of a share.
pub const LENGTH: usize = KEY + 1;

/// The values of all polynomials at one `x`, and that `x`.
pub type Share = Secret<[u8; LENGTH]>;

/// Splits a data key into `count` shares, of which `threshold` give it back.
pub fn split(key: &DataKey, count: u8, threshold: u8, entropy: Entropy<'_>) -> Vec<Share> {
    // The coefficients above the constant one, the highest first, for all bytes of the key each.
    let mut coefficients = Secret::new(vec![0; KEY * usize::from(threshold.saturating_sub(1))]);
    entropy(coefficients.expose_mut());
    let share = |x: u8| {
        let mut share = Share::new([0; LENGTH]);
        let values = share.expose_mut();
        for powers in coefficients.expose().chunks(KEY).chain([&key.expose()[..]]) {
            values.iter_mut().zip(powers).for_each(|(value, next)| *value = multiply(*value, x) ^ next);
        }
        values[KEY] = x;
        share
    };
    (1..=count).map(share).collect()
}

/// The data key that shares give back: by Lagrange, the value of each polynomial at 0.
///
/// Too few shares give some other key, which opens nothing. Fails if two have the same `x`, or one has 0.
pub fn combine(shares: &[Share]) -> Result<DataKey, Error> {
    let places: Vec<u8> = shares.iter().map(|share| share.expose()[KEY]).collect();
    let distinct = (1..places.len()).all(|at| !places[..at].contains(&places[at]));
    if shares.is_empty() || !distinct || places.contains(&0) {
        return Err(Error::BadShare);
    }
    let mut key = Secret::new([0; KEY]);
    for (share, x) in shares.iter().zip(&places) {
        let others = places.iter().filter(|other| *other != x);
        let basis = others.fold(1, |basis, other| multiply(basis, multiply(*other, inverse(other ^ x))));
        let bytes = key.expose_mut().iter_mut().zip(share.expose());
        bytes.for_each(|(byte, value)| *byte ^= multiply(*value, basis));
    }
    DataKey::from_bytes(key.expose())
}

/// `a · b` in GF(2^8): `a` is doubled eight times, and added where `b` has a bit.
fn multiply(mut a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in 0..8 {
        product ^= a & 0u8.wrapping_sub(b >> bit & 1);
        a = a << 1 ^ 0x1B & 0u8.wrapping_sub(a >> 7);
    }
    product
}

/// `1 / a`, which is `a^254`, as `a^255` is 1. (0 has no inverse, and gives 0.)
fn inverse(a: u8) -> u8 {
    // a^127 by squaring and multiplying six times, squared once more.
    let power = (0..6).fold(a, |power, _| multiply(multiply(power, power), a));
    multiply(power, power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(bytes: [u8; 32]) -> DataKey {
        DataKey::from_bytes(&bytes).unwrap()
    }

    fn share(values: [u8; 32], x: u8) -> Share {
        let mut share = Share::new([0; LENGTH]);
        share.expose_mut()[..KEY].copy_from_slice(&values);
        share.expose_mut()[KEY] = x;
        share
    }

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197, sections 4.2 and 4.2.1.
        for (a, b, product) in [(0x57, 0x83, 0xc1), (0x57, 0x13, 0xfe), (0x57, 0x02, 0xae), (0, 9, 0)] {
            assert_eq!(multiply(a, b), product);
        }
        assert!((1..=255).all(|a| multiply(a, inverse(a)) == 1));
    }

    #[test]
    fn a_share_is_the_polynomial_at_its_place() {
        // 42 + 7x at 1, 2 and 3.
        let shares = split(&key([42; 32]), 3, 2, &mut |buffer| buffer.fill(7));
        let points: Vec<_> = shares.iter().map(|share| (share.expose()[0], share.expose()[KEY])).collect();
        assert_eq!(points, [(42 ^ 7, 1), (42 ^ 14, 2), (42 ^ 9, 3)]);
    }

    #[test]
    fn shares_that_cannot_be_of_one_key_are_refused() {
        let twice = [share([1; 32], 5), share([2; 32], 5)];
        assert_eq!(combine(&twice), Err(Error::BadShare));
        assert_eq!(combine(&[share([1; 32], 5), share([2; 32], 0)]), Err(Error::BadShare));
        assert_eq!(combine(&[]), Err(Error::BadShare));
    }

    proptest! {
        #[test]
        fn any_threshold_of_the_shares_gives_the_key(
            bytes: [u8; 32],
            seed: [u8; 32],
            (count, threshold) in (2u8..12).prop_flat_map(|count| (Just(count), 2..=count)),
            order in any::<prop::sample::Index>(),
        ) {
            let mut random = 0u8;
            let shares = split(&key(bytes), count, threshold, &mut |buffer| buffer.iter_mut().enumerate().for_each(|(at, byte)| {
                random = random.wrapping_mul(5).wrapping_add(seed[at % 32] | 1);
                *byte = random;
            }));
            let from = order.index(usize::from(count));
            let mut picked: Vec<_> = shares.into_iter().collect();
            picked.rotate_left(from);
            // All of them do, as many as needed do, and one less gives another key.
            prop_assert_eq!(&combine(&picked).unwrap(), &key(bytes));
            picked.truncate(usize::from(threshold));
            prop_assert_eq!(&combine(&picked).unwrap(), &key(bytes));
            picked.pop();
            prop_assert_ne!(&combine(&picked).unwrap(), &key(bytes));
        }
    }
}
