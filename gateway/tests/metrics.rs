//! The metrics port and those who hold it.

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use support::{GENEROUS_SHOW, PATIENCE, Stand};

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// Waits for the end of a connection; gives what came before it.
fn to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is not closed: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn who_asks_for_nothing_or_too_much_is_cut_off() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let (mut silent, mut slow) = (connect(stand.metrics), connect(stand.metrics));
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").expect("written");
    let mut long = connect(stand.metrics);
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    // It may be closed while it still writes.
    let _ = long.write_all(head.as_bytes());
    assert!(!to_the_end(&mut long).contains("200 OK"));
    for stream in [&mut silent, &mut slow] {
        assert!(!to_the_end(stream).contains("200 OK"));
    }
    assert!(stand.metrics_answer());
}

#[test]
fn connections_are_bounded_and_the_oldest_gives_way() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let mut held: Vec<_> = (0..33).map(|_| connect(stand.metrics)).collect();
    to_the_end(&mut held[0]);
    for stream in &mut held[1..] {
        stream.set_nonblocking(true).expect("set");
        let nothing = stream.read(&mut [0; 1]).expect_err("nothing was asked");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "still there");
    }
    assert!(stand.metrics_answer());
    // An answer is whole, and ends the connection, as clients that keep it are told.
    let mut keeping = connect(stand.metrics);
    keeping
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("written");
    let text = to_the_end(&mut keeping);
    assert!(
        text.contains("connection: close") && text.contains("gateway_certificate_expires_in_seconds"),
        "{text}"
    );
}

#[test]
fn the_page_of_metrics_names_each_and_no_other() {
    let page = include_str!("../../docs/metrics.md");
    let stand = Stand::new(GENEROUS_SHOW, "");
    let text = stand.http("/metrics").expect("the metrics port answers").text;
    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let code = page.split('`').skip(1).step_by(2);
    let told: BTreeSet<&str> = code
        .filter(|code| code.starts_with("gateway_") || *code == "process_cpu_seconds_total")
        .map(|code| code.split('{').next().expect("a name"))
        .collect();
    assert!(shown.len() > 60, "{shown:?}");
    assert_eq!(told, shown);
}
