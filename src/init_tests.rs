//! What `kontiki init` refuses before it makes anything.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn checked(options: &[&str]) -> Result<(), String> {
    let line = Line::try_parse_from([&["init"][..], options].concat()).map_err(|error| error.to_string())?;
    line.args.check()
}

#[test]
fn what_cannot_be_a_host_is_refused_wherever_one_is_named() {
    for option in ["--replica-host", "--node-host", "--proxy-host"] {
        assert_eq!(checked(&[option, "10.7.0.{}"]), Ok(()));
        let said = checked(&[option, "no such host {}"]).unwrap_err();
        assert!(said.contains(option) && said.contains("' ' cannot stand in the name"), "{said}");
    }
    assert_eq!(checked(&["--replica-host", "replica-{}", "--proxy-host", "node-{}.example.com"]), Ok(()));
}

#[test]
fn a_node_is_known_by_an_ip_address() {
    let said = checked(&["--node-host", "node-{}"]).unwrap_err();
    assert_eq!(said, r#"--node-host: "node-1", of node 1, is no IP address"#);
    assert_eq!(checked(&["--node-host", "node-{}", "--nodes", "0"]), Ok(()), "there is none");
    let said = checked(&["--node-host", "172.30.77.2{}", "--nodes", "60"]).unwrap_err();
    assert!(said.contains(r#""172.30.77.256", of node 56"#), "{said}");
}

#[test]
fn the_ports_of_all_must_fit() {
    assert_eq!(checked(&["--port", "65526"]), Ok(()));
    assert!(checked(&["--port", "65527"]).unwrap_err().contains("the ports up to 65536"));
}
