//! The rules for names, labels and keys: what is wrong with a string, worded as Kubernetes words it. Pure.
//!
//! Every function answers the faults; none means that the value is fine.

const LABEL_BYTES_MAX: usize = 63;
const SUBDOMAIN_BYTES_MAX: usize = 253;

const DNS_1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1123_SUBDOMAIN: &str = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_FORM: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 bytes.
pub fn dns_label(value: &str) -> Vec<String> {
    faults(value, LABEL_BYTES_MAX, is_dns_label(value), DNS_1123_LABEL)
}

/// Dot-separated DNS labels, at most 253 bytes in all.
pub fn dns_subdomain(value: &str) -> Vec<String> {
    faults(value, SUBDOMAIN_BYTES_MAX, value.split('.').all(is_dns_label), DNS_1123_SUBDOMAIN)
}

/// A DNS label that begins with a letter: the names of Services.
pub fn dns_1035_label(value: &str) -> Vec<String> {
    let fine = is_dns_label(value) && !value.starts_with(|c: char| c.is_ascii_digit());
    faults(value, LABEL_BYTES_MAX, fine, DNS_1035_LABEL)
}

/// `[prefix/]name`: keys of labels and annotations, finalizers, resource names.
pub fn qualified_name(value: &str) -> Vec<String> {
    let (prefix, name) = match value.split_once('/') {
        None => (None, value),
        Some((_, name)) if name.contains('/') => return vec![QUALIFIED_FORM.into()],
        Some((prefix, name)) => (Some(prefix), name),
    };
    let mut faults = Vec::new();
    match prefix {
        Some("") => faults.push("prefix part must be non-empty".into()),
        Some(prefix) => faults.extend(dns_subdomain(prefix).into_iter().map(|fault| format!("prefix part {fault}"))),
        None => {}
    }
    if name.is_empty() {
        faults.push("name part must be non-empty".into());
    } else if name.len() > LABEL_BYTES_MAX {
        faults.push(format!("name part must be no more than {LABEL_BYTES_MAX} characters"));
    }
    if !is_word(name) {
        faults.push(QUALIFIED_NAME.into());
    }
    faults
}

pub fn label_value(value: &str) -> Vec<String> {
    faults(value, LABEL_BYTES_MAX, value.is_empty() || is_word(value), LABEL_VALUE)
}

/// A key of a ConfigMap's or Secret's data; it becomes a file name.
pub fn config_key(value: &str) -> Vec<String> {
    let fine = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let mut faults = faults(value, SUBDOMAIN_BYTES_MAX, fine, CONFIG_KEY);
    match value {
        "." => faults.push("must not be '.'".into()),
        ".." => faults.push("must not be '..'".into()),
        _ if value.starts_with("..") => faults.push("must not start with '..'".into()),
        _ => {}
    }
    faults
}

/// The name of an environment variable in a Pod.
pub fn env_name(value: &str) -> Vec<String> {
    let fine = !value.is_empty() && value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
    if fine { Vec::new() } else { vec![ENV_NAME.into()] }
}

/// The name of a container's or Service's port (RFC 6335, section 5.1).
pub fn port_name(value: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > 15 {
        faults.push("must be no more than 15 characters".into());
    }
    if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        faults.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        faults.push("must not begin or end with a hyphen".into());
    }
    faults
}

pub fn port_number(port: i32) -> Option<&'static str> {
    (!(1..=65535).contains(&port)).then_some("must be between 1 and 65535, inclusive")
}

pub fn ip_address(value: &str) -> Option<&'static str> {
    let fine = value.parse::<std::net::IpAddr>().is_ok();
    (!fine).then_some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
}

/// A segment of a URL path: what RBAC names may be.
pub fn path_segment(value: &str) -> Vec<String> {
    match value {
        "." => vec!["may not be '.'".into()],
        ".." => vec!["may not be '..'".into()],
        _ => ['/', '%'].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect(),
    }
}

fn faults(value: &str, bytes_max: usize, fine: bool, rule: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if value.len() > bytes_max {
        faults.push(format!("must be no more than {bytes_max} characters"));
    }
    if !fine {
        faults.push(rule.into());
    }
    faults
}

fn is_dns_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    !bytes.is_empty() && bytes.iter().all(inner) && bytes[0] != b'-' && bytes[bytes.len() - 1] != b'-'
}

fn is_word(value: &str) -> bool {
    let bytes = value.as_bytes();
    let [Some(first), Some(last)] = [bytes.first(), bytes.last()] else { return false };
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine(rule: fn(&str) -> Vec<String>, values: &[&str]) {
        for value in values {
            assert_eq!(rule(value), Vec::<String>::new(), "{value:?}");
        }
    }

    fn bad(rule: fn(&str) -> Vec<String>, values: &[&str]) {
        for value in values {
            assert!(!rule(value).is_empty(), "{value:?} passed");
        }
    }

    #[test]
    fn dns_names() {
        fine(dns_label, &["a", "0", "a-b", "9-9", &"a".repeat(63)]);
        bad(dns_label, &["", "-a", "a-", "A", "a.b", "a_b", "ä", &"a".repeat(64)]);
        fine(dns_subdomain, &["a", "a.b", "web-1.default", &format!("{}.b", "a".repeat(200))]);
        bad(dns_subdomain, &["", ".", "a..b", ".a", "a.", "nginxPod", "a/b", &"a".repeat(254)]);
        fine(dns_1035_label, &["a", "a-1"]);
        bad(dns_1035_label, &["1a", "", "a."]);
    }

    #[test]
    fn keys_and_values() {
        fine(qualified_name, &["app", "app.kubernetes.io/name", "A_b.c", "x/y"]);
        bad(qualified_name, &["", "/x", "x/", "a/b/c", "-a", "a-", "a b", "X/y", &"a".repeat(64)]);
        fine(label_value, &["", "a", "A.b_c-9", "12345"]);
        bad(label_value, &["-", "a-", "a b", &"a".repeat(64)]);
        fine(config_key, &["nginx.conf", "KEY", ".hidden", "a-b_c"]);
        bad(config_key, &["", ".", "..", "..a", "a/b", "a b"]);
        fine(env_name, &["A", "a.b", "with space", "9"]);
        bad(env_name, &["", "a=b", "a\n", "ü"]);
        fine(port_name, &["http", "nginx-port", "a1"]);
        bad(port_name, &["", "HTTP", "a--b", "-a", "a-", "123", "sixteencharslong"]);
        bad(path_segment, &[".", "..", "a/b", "a%"]);
    }

    #[test]
    fn the_message_names_the_rule() {
        assert_eq!(dns_subdomain("nginxPod"), [DNS_1123_SUBDOMAIN]);
        assert_eq!(qualified_name("a/"), ["name part must be non-empty", QUALIFIED_NAME]);
        assert_eq!(port_number(0), Some("must be between 1 and 65535, inclusive"));
        assert_eq!(port_number(65535), None);
    }
}
