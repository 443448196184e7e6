//! A value as SOPS understands it: typed, with the bytes that are sealed and counted by the MAC.

use std::borrow::Cow;
use std::fmt;

/// A typed value. Text is borrowed from the document wherever it stands there as it is.
#[derive(Clone)]
pub enum Scalar<'t> {
    /// Text, or any bytes.
    Str(Cow<'t, [u8]>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A time, as RFC 3339 with nanoseconds where there are any.
    Time(String),
    /// Nothing.
    Null,
}

impl<'t> Scalar<'t> {
    /// Text.
    pub fn str(text: impl Into<Cow<'t, str>>) -> Self {
        Self::Str(match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// The plaintext bytes as Go's strconv writes them: floats without exponent, `True`, `False`.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            Self::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Float(number) => Cow::Owned(float(*number).into_bytes()),
            Self::Bool(true) => Cow::Borrowed(b"True"),
            Self::Bool(false) => Cow::Borrowed(b"False"),
            Self::Time(text) => Cow::Borrowed(text.as_bytes()),
            Self::Null => Cow::Borrowed(b""),
        }
    }
}

impl<'t> Scalar<'t> {
    /// The plaintext bytes, as [`Scalar::bytes`] gives them, without copying what is borrowed.
    pub fn into_bytes(self) -> Cow<'t, [u8]> {
        match self {
            Self::Str(text) => text,
            other => Cow::Owned(other.bytes().into_owned()),
        }
    }
}

impl PartialEq for Scalar<'_> {
    /// Same type and same plaintext bytes, so that `NaN` equals itself.
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Scalar<'_> {
    /// Names the type, never the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Str(_) => "Str([secret])",
            Self::Int(_) => "Int([secret])",
            Self::Float(_) => "Float([secret])",
            Self::Bool(_) => "Bool([secret])",
            Self::Time(_) => "Time([secret])",
            Self::Null => "Null",
        })
    }
}

/// The shortest digits that read back as the same number, without exponent, as Go's
/// `strconv.FormatFloat(f, 'f', -1, 64)` writes them.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_go() {
        for (scalar, bytes) in [
            (Scalar::str("x"), "x"),
            (Scalar::Int(-5), "-5"),
            (Scalar::Float(1e21), "1000000000000000000000"),
            (Scalar::Float(2.50), "2.5"),
            (Scalar::Float(1.0), "1"),
            (Scalar::Float(-0.0), "-0"),
            (Scalar::Float(f64::INFINITY), "+Inf"),
            (Scalar::Float(f64::NAN), "NaN"),
            (Scalar::Float(1e-7), "0.0000001"),
            (Scalar::Bool(true), "True"),
        ] {
            assert_eq!(*scalar.bytes(), *bytes.as_bytes());
        }
    }
}
