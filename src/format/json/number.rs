//! JSON numbers, which versions of sops store in two ways.
//!
//! Up to 3.13.1 every number is a float64; since 3.13.2 a whole number within 64 bits is an integer.
//! The digits that are sealed and counted by the MAC are the same up to 2^53, and beyond if the digits
//! are the shortest for that float. So here a number is an integer wherever its digits are one's.

use super::super::{Content, Leaf, Scalar, scalar};

/// The value of a number as written.
pub(super) fn read(written: &str) -> Result<Scalar<'static>, &'static str> {
    match written.parse() {
        // Only a float tells -0 from 0.
        Ok(0) if written.starts_with('-') => Ok(Scalar::Float(-0.0)),
        Ok(number) => Ok(Scalar::Int(number)),
        Err(_) => {
            let number =
                float(written).ok_or("the number is too large for a float64, and sops refuses it")?;
            Ok(whole(number).map_or(Scalar::Float(number), Scalar::Int))
        }
    }
}

fn float(written: &str) -> Option<f64> {
    written.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A float as the integer that has its digits.
pub fn whole(number: f64) -> Option<i64> {
    let digits = scalar::float(number);
    digits.parse().ok().filter(|integer: &i64| integer.to_string() == digits)
}

/// A clear number as sops before 3.13.2 reads it, if that is another one.
pub fn before_integers(text: &str, leaf: &Leaf<'_>) -> Option<Scalar<'static>> {
    let Content::Value(read @ Scalar::Int(_)) = &leaf.content else { return None };
    let older = Scalar::Float(float(&text[leaf.span.clone()])?);
    (older.bytes() != read.bytes()).then_some(older)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_its_digits_say() {
        for (written, kind, bytes) in [
            ("5", "Int", "5"),
            ("-5", "Int", "-5"),
            ("5.0", "Int", "5"),
            ("1e3", "Int", "1000"),
            ("0", "Int", "0"),
            ("-0", "Float", "-0"),
            ("-0.0", "Float", "-0"),
            ("0.5", "Float", "0.5"),
            ("2.50", "Float", "2.5"),
            ("9007199254740993", "Int", "9007199254740993"),
            ("9007199254740993.0", "Int", "9007199254740992"),
            ("12345678901234567890", "Float", "12345678901234567000"),
            ("1e21", "Float", "1000000000000000000000"),
            ("1e-400", "Int", "0"),
        ] {
            let scalar = read(written).unwrap();
            assert_eq!(
                (format!("{scalar:?}"), &*scalar.bytes()),
                (format!("{kind}([secret])"), bytes.as_bytes()),
                "{written}"
            );
        }
        assert!(read("1e400").is_err());
    }
}
