//! Amounts of resources: Kubernetes' resource.Quantity, parsed, compared, added, formatted. Pure.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

/// A fixed-point number in billionths. As in Kubernetes, what is finer is rounded up (away from zero), and what
/// is larger than 2^63-1 is cut to that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// How it was written, and so how it is written again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `m`, none, `k`, `M`, `G` …
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, `Gi` …
    BinarySi,
    /// `12e6`
    DecimalExponent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANOS: i128 = 1_000_000_000;
const NANOS_MAX: i128 = i64::MAX as i128 * NANOS;

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn from_whole(number: i64) -> Quantity {
        Quantity { nanos: number as i128 * NANOS, format: Format::DecimalSi }
    }

    /// Thousandths, such as CPU shares in millicores.
    pub fn from_milli(number: i64) -> Quantity {
        Quantity { nanos: number as i128 * 1_000_000, format: Format::DecimalSi }
    }

    /// A number that is written with binary suffixes, such as bytes of memory.
    pub fn from_bytes(number: i64) -> Quantity {
        Quantity { format: Format::BinarySi, ..Quantity::from_whole(number) }
    }

    /// Rounded up to whole units.
    pub fn whole(self) -> i64 {
        self.scaled_up(NANOS)
    }

    /// Rounded up to thousandths; 2^63-1 if it is more.
    pub fn milli(self) -> i64 {
        self.scaled_up(1_000_000)
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// What is finer than a thousandth becomes a whole one more.
    pub fn rounded_up_to_milli(self) -> Quantity {
        Quantity { nanos: away_from_zero(self.nanos, 1_000_000) * 1_000_000, ..self }
    }

    fn scaled_up(self, unit: i128) -> i64 {
        let rounded = away_from_zero(self.nanos, unit);
        rounded.clamp(i64::MIN as i128, i64::MAX as i128) as i64
    }

    fn clamped(nanos: i128, format: Format) -> Quantity {
        Quantity { nanos: nanos.clamp(-NANOS_MAX, NANOS_MAX), format }
    }
}

/// The canonical spelling of a quantity: `1.5Gi` is `1536Mi`.
pub fn canonical(text: &str) -> Result<String, Error> {
    text.parse::<Quantity>().map(|quantity| quantity.to_string())
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// Keeps the format of the left side, or takes the right one's if the left is zero.
impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity::clamped(self.nanos + other.nanos, format)
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity::clamped(self.nanos - other.nanos, format)
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(quantities: I) -> Quantity {
        quantities.fold(Quantity::ZERO, Quantity::add)
    }
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Quantity, Error> {
        let (negative, unsigned) = match text.as_bytes() {
            [] => return Err(Error::Format),
            [b'-', ..] => (true, &text[1..]),
            [b'+', ..] => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        if !is_suffix_shaped(suffix) {
            return Err(Error::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || whole.is_empty() && fraction.is_empty() {
            return Err(if number.is_empty() { Error::Format } else { Error::Number });
        }
        let (nanos, format) = match Scale::parse(suffix)? {
            Scale::Ten(exponent, format) => (decimal(whole, fraction, exponent.saturating_add(9)), format),
            Scale::Two(exponent) => (binary(whole, fraction, exponent), Format::BinarySi),
        };
        // A fraction of one unit has no binary spelling.
        let format = if format == Format::BinarySi && nanos < NANOS { Format::DecimalSi } else { format };
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// `[eEinumkKMGTP]*[-+]?[0-9]*`
fn is_suffix_shaped(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

enum Scale {
    Ten(i64, Format),
    Two(u32),
}

const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Scale {
    fn parse(suffix: &str) -> Result<Scale, Error> {
        if let Some((_, exponent)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
            return Ok(Scale::Ten(*exponent, Format::DecimalSi));
        }
        if let Some((_, exponent)) = BINARY.iter().find(|(known, _)| *known == suffix) {
            return Ok(Scale::Two(*exponent));
        }
        let exponent = suffix.strip_prefix(['e', 'E']).and_then(|digits| digits.parse().ok()).ok_or(Error::Suffix)?;
        Ok(Scale::Ten(exponent, Format::DecimalExponent))
    }
}

/// `whole.fraction` times ten to `exponent`, rounded up, cut at the maximum.
fn decimal(whole: &str, fraction: &str, exponent: i64) -> i128 {
    let digits = || whole.bytes().chain(fraction.bytes()).map(|b| (b - b'0') as i128);
    // How many of the digits stand before the point once it has moved.
    let before = (whole.len() as i64).saturating_add(exponent);
    let mut value: i128 = 0;
    let mut rounds_up = false;
    for (at, digit) in digits().enumerate() {
        if (at as i64) < before {
            value = (value * 10 + digit).min(NANOS_MAX);
        } else {
            rounds_up |= digit != 0;
        }
    }
    let zeros = before.saturating_sub((whole.len() + fraction.len()) as i64);
    for _ in 0..zeros.min(30) {
        value = (value * 10).min(NANOS_MAX);
    }
    (value + rounds_up as i128).min(NANOS_MAX)
}

/// `whole.fraction` times two to `exponent`, in billionths.
fn binary(whole: &str, fraction: &str, exponent: u32) -> i128 {
    let whole = decimal(whole, "", 0).min(i64::MAX as i128) << exponent;
    // Eighteen digits decide: what is finer than 2^60/10^18 rounds up.
    let part = decimal(fraction.get(..18).unwrap_or(fraction), "", 18 - fraction.len().min(18) as i64);
    let finer = fraction.bytes().skip(18).any(|b| b != b'0') as i128;
    let part = away_from_zero((part + finer) << exponent, NANOS);
    whole.checked_mul(NANOS).map_or(NANOS_MAX, |whole| (whole + part).min(NANOS_MAX))
}

fn away_from_zero(value: i128, unit: i128) -> i128 {
    value / unit + if value % unit == 0 { 0 } else { value.signum() }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let binary = self.format == Format::BinarySi && self.is_whole() && self.nanos.abs() >= 1024 * NANOS;
        if binary {
            let (mut number, mut power) = (self.nanos / NANOS, 0);
            while number % 1024 == 0 && power < BINARY.len() {
                number /= 1024;
                power += 1;
            }
            let suffix = if power == 0 { "" } else { BINARY[power - 1].0 };
            return write!(f, "{number}{suffix}");
        }
        let (mut number, mut exponent) = (self.nanos, -9i64);
        while number % 1000 == 0 && exponent < 18 {
            number /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent != 0 => write!(f, "{number}e{exponent}"),
            _ => {
                let suffix = DECIMAL.iter().find(|(_, known)| *known == exponent).map_or("", |(suffix, _)| suffix);
                write!(f, "{number}{suffix}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
