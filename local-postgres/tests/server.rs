//! What a server of one's own can be made to do.
#![allow(missing_docs, clippy::unwrap_used)]

use local_postgres::Server;

fn server() -> Server {
    let server = Server::start(&std::env::temp_dir(), &["fsync=off"]).unwrap();
    server.run("postgres", "CREATE TABLE t (n int8)").unwrap();
    server
}

fn add(server: &Server) -> i64 {
    server.run("postgres", "INSERT INTO t VALUES (1)").unwrap();
    server.number("postgres", "SELECT count(*) FROM t").unwrap()
}

#[test]
fn what_was_kept_comes_back_and_goes_again() {
    let mut server = server();
    assert_eq!(add(&server), 1);
    server.shut_down();
    server.keep_copy().unwrap();
    server.start_again().unwrap();
    assert_eq!((add(&server), add(&server)), (2, 3));
    server.crash();
    server.exchange_with_copy().unwrap();
    server.start_again().unwrap();
    assert_eq!(add(&server), 2, "one that is older");
    server.crash();
    server.exchange_with_copy().unwrap();
    server.start_again().unwrap();
    assert_eq!(add(&server), 4, "the newer one, without what was written to the older");
}

#[test]
fn a_frozen_server_goes_on_where_it_stood_or_ends() {
    let mut server = server();
    assert!(server.freeze().unwrap());
    server.thaw();
    assert_eq!(add(&server), 1);
    assert!(server.freeze().unwrap());
    server.shut_down();
    server.start_again().unwrap();
    assert_eq!(add(&server), 2);
}
