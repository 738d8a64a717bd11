//! The admin interface, and addresses that are in each other's way.

use std::fs;
use std::path::PathBuf;

use super::{admin_socket, altered, assert_fault, assert_faults, assert_warning, findings};

#[test]
fn it_is_reached_somehow() {
    assert_fault(
        "portals:",
        "admin: {}\nportals:",
        "3: admin: has neither socket nor http
    remedy: write admin: {socket: /run/lunmirror/admin.sock}, or remove it",
    );
    assert_fault(
        "portals:",
        "admin: {http: localhost, sokcet: /run/x.sock}\nportals:",
        "3: admin.http: \"localhost\" is not an address
    remedy: write IP:PORT, as in 0.0.0.0:9260 or \"[::]:9260\"; names are not looked up
3: admin.sokcet: there is no such setting
    remedy: did you mean socket?",
    );
}

#[test]
fn a_socket_has_a_path_that_the_system_takes() {
    let long = "x".repeat(91);
    assert_fault(
        "portals:",
        &format!("admin: {{socket: /{long}}}\nportals:"),
        &format!(
            "3: admin.socket: \"/{long}\" (92 bytes) cannot be the path of a socket
    remedy: use 1 to 90 bytes, as in /run/lunmirror/admin.sock"
        ),
    );
    let text = altered("portals:", "admin: {socket: run/admin.sock, http: 127.0.0.1}\nportals:");
    let (config, found) = findings(&text);
    assert_eq!((found.faults, found.warnings), (vec![], vec![]));
    let admin = config.expect("it is sound").admin;
    assert_eq!(admin.socket, Some("./run/admin.sock".into()), "from the file's directory");
    assert_eq!(admin.http, Some("127.0.0.1:9260".parse().expect("an address")));
}

#[test]
fn what_others_can_reach_is_told() {
    assert_warning(
        "portals:",
        "admin: {http: 0.0.0.0:9260}\nportals:",
        "3: admin.http: shows how volumes and peers stand to whoever reaches it; it asks for no password
    remedy: use 127.0.0.1:9260, or let a firewall or a proxy decide who may ask",
    );
}

#[test]
fn no_address_is_taken_twice() {
    assert_fault(
        "portals:",
        "admin: {http: 127.0.0.1:3260}\nportals:",
        "3: admin.http: 127.0.0.1:3260 is also portals.0
    remedy: keep one of them",
    );
    assert_fault(
        "[127.0.0.1:3260]",
        "[127.0.0.1:3260, 0.0.0.0:3260, \"[::]:3260\"]",
        "3: portals.1: 0.0.0.0:3260 and 127.0.0.1:3260, portals.0, are in each other's way
    remedy: give one of them another port: the address of all interfaces takes the port on each",
    );
}

#[test]
fn a_link_is_for_peers() {
    assert_faults(
        &altered("portals:", "link: {listen: 127.0.0.1}\nportals:"),
        "3: link: means nothing without peers
    remedy: add peers: {NAME: {address: …}}, or remove it",
    );
}

#[test]
fn the_socket_is_found_whatever_else_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("c.yaml");
    let find = |text: &str| {
        fs::write(&file, text).expect("written");
        admin_socket(&file).map_err(|fault| fault.to_string())
    };
    let text = altered("portals:", "admin: {socket: run/admin.sock}\nportals:").replace("size", "sise");
    assert_eq!(find(&text), Ok(directory.path().join("run/admin.sock")));
    assert_eq!(find("admin: {socket: /run/x.sock}"), Ok(PathBuf::from("/run/x.sock")));
    assert_eq!(
        find("node: alpha"),
        Err("1: admin.socket: is missing\n    remedy: write admin: {socket: /run/lunmirror/admin.sock}, and start it again\n".into())
    );
    assert!(find("node: [").expect_err("no YAML").contains("this is not YAML"));
    let missing = admin_socket(&directory.path().join("d.yaml")).expect_err("not there").to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}
