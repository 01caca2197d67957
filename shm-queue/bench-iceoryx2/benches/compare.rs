//! The same measurements of shm-queue and of iceoryx2, in one run.
//!
//! iceoryx2 is used as its documentation shows it: one publisher and one subscriber of `[u8; 64]` over the `ipc`
//! service, loan, write, send; receive, read, drop. No safe overflow, because a ring that loses nothing is the point. It
//! neither checks bytes nor keeps them past the death of both processes, so it does less; its wake-up is its event
//! service in both directions, without a message beside it.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

#[path = "../../benches/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::event::PortFactory;
use support::{BATCH, PAYLOAD_BYTES};

type Payload = [u8; PAYLOAD_BYTES];
const TIMEOUT: Duration = Duration::from_secs(5);

fn node() -> Node<ipc::Service> {
    set_log_level(LogLevel::Error);
    NodeBuilder::new().create::<ipc::Service>().expect("a node")
}

fn name(purpose: &str) -> ServiceName {
    format!("shm-queue/bench/{purpose}/{}", std::process::id())
        .as_str()
        .try_into()
        .expect("a short name")
}

fn send(publisher: &Publisher<ipc::Service, Payload, ()>, payload: &Payload) {
    let sample = publisher.loan_uninit().expect("a free sample");
    sample.write_payload(*payload).send().expect("room");
}

fn receive(subscriber: &Subscriber<ipc::Service, Payload, ()>) {
    let sample = subscriber.receive().expect("a connection").expect("a sample");
    black_box(sample.payload()[0]);
}

fn messages(c: &mut Criterion) {
    let node = node();
    let service = node
        .service_builder(&name("messages"))
        .publish_subscribe::<Payload>()
        .max_publishers(1)
        .max_subscribers(1)
        .subscriber_max_buffer_size(1024)
        .enable_safe_overflow(false)
        .create()
        .expect("a new service");
    let subscriber = service
        .subscriber_builder()
        .buffer_size(1024)
        .create()
        .expect("a subscriber");
    let publisher = service.publisher_builder().create().expect("a publisher");
    let payloads = support::payloads();

    let mut group = c.benchmark_group("one message");
    group.throughput(Throughput::Elements(1));
    group.bench_function("iceoryx2", |b| {
        b.iter(|| {
            send(&publisher, black_box(&payloads[7]));
            receive(&subscriber);
        });
    });
    group.finish();

    let mut group = c.benchmark_group("batch of 64");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("iceoryx2", |b| {
        b.iter(|| {
            for payload in black_box(&payloads) {
                send(&publisher, payload);
            }
            for _ in 0..BATCH {
                receive(&subscriber);
            }
        });
    });
}

fn wake_ups(c: &mut Criterion) {
    for (group, cpus) in support::placements() {
        wake_ups_on(c, group, cpus);
        support::run_on(&support::allowed_cpus());
    }
}

fn wake_ups_on(c: &mut Criterion, group: &str, cpus: [usize; 2]) {
    let node = node();
    let (there, back) = (event(&node, "there"), event(&node, "back"));
    let notifier = there.notifier_builder().create().expect("a notifier");
    let listener = back.listener_builder().create().expect("a listener");
    let (stop, ready) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            support::run_on(&cpus[1..]);
            echo(&stop, &ready);
        });
        while !ready.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        support::run_on(&cpus[..1]);
        c.benchmark_group(group).bench_function("iceoryx2", |b| {
            b.iter(|| {
                notifier.notify().expect("a listener");
                let answers = listener.timed_wait(|_| (), TIMEOUT).expect("an event service");
                assert!(answers > 0, "no answer in time");
            });
        });
        stop.store(true, Ordering::SeqCst);
        notifier.notify().expect("a listener");
    });
}

fn event(node: &Node<ipc::Service>, purpose: &str) -> PortFactory<ipc::Service> {
    node.service_builder(&name(purpose))
        .event()
        .open_or_create()
        .expect("an event service")
}

fn echo(stop: &AtomicBool, ready: &AtomicBool) {
    let node = node();
    let (there, back) = (event(&node, "there"), event(&node, "back"));
    let listener = there.listener_builder().create().expect("a listener");
    let notifier = back.notifier_builder().create().expect("a notifier");
    ready.store(true, Ordering::SeqCst);
    while !stop.load(Ordering::SeqCst) {
        if listener.timed_wait(|_| (), TIMEOUT).expect("an event service") > 0 {
            notifier.notify().expect("a listener");
        }
    }
}

criterion_group! {
    name = compare;
    config = support::config();
    targets = support::one_message, support::batches, support::wake_up_round_trip, messages, wake_ups
}
criterion_main!(compare);
