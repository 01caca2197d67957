//! iceoryx2's two ends: publisher and subscriber of `[u8; 64]` over the `ipc` service, and an event service each way.

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::event;
use iceoryx2::service::port_factory::publish_subscribe;

use crate::ends::{FarEnd, Near, Patience, Payload, SLOTS, TIMEOUT, message, number};

fn node() -> Node<ipc::Service> {
    set_log_level(LogLevel::Error);
    NodeBuilder::new().create::<ipc::Service>().expect("a node")
}

/// A service's name; the temporary directory's name makes it this run's own.
fn name(place: &str, purpose: &str) -> ServiceName {
    format!("shm-queue{place}/{purpose}")
        .as_str()
        .try_into()
        .expect("a short name")
}

fn messages(node: &Node<ipc::Service>, place: &str) -> publish_subscribe::PortFactory<ipc::Service, Payload, ()> {
    node.service_builder(&name(place, "messages"))
        .publish_subscribe::<Payload>()
        .max_publishers(1)
        .max_subscribers(1)
        .subscriber_max_buffer_size(SLOTS)
        .enable_safe_overflow(false)
        .open_or_create()
        .expect("a service")
}

fn event(node: &Node<ipc::Service>, place: &str, purpose: &str) -> event::PortFactory<ipc::Service> {
    node.service_builder(&name(place, purpose))
        .event()
        .open_or_create()
        .expect("an event service")
}

/// The parent's end.
pub struct Theirs {
    publisher: Publisher<ipc::Service, Payload, ()>,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl Theirs {
    /// Makes the services.
    pub fn create(place: &str) -> Theirs {
        let node = node();
        Theirs {
            publisher: messages(&node, place)
                .publisher_builder()
                // The same waiting as for shm-queue, instead of its own, which sleeps in the end.
                .backpressure_strategy(BackpressureStrategy::DiscardData)
                .create()
                .expect("a publisher"),
            notifier: event(&node, place, "there")
                .notifier_builder()
                .create()
                .expect("a notifier"),
            listener: event(&node, place, "back")
                .listener_builder()
                .create()
                .expect("a listener"),
            _node: node,
        }
    }

    /// Finds the child's ports, once it is there.
    pub fn connect(&mut self) {
        self.publisher.update_connections().expect("the subscriber exists");
    }

    /// False when the subscriber's buffer is full; the sample is gone then.
    fn try_send(&self, payload: &Payload) -> bool {
        let sample = self.publisher.loan_uninit().expect("a free sample");
        sample.write_payload(*payload).send().expect("a connection") == 1
    }
}

impl Near for Theirs {
    fn send(&mut self, count: u64) {
        for number in 0..count {
            let payload = message(number);
            let mut patience = Patience::default();
            while !self.try_send(&payload) {
                patience.wait();
            }
        }
    }

    /// It has no batches.
    fn send_batches(&mut self, count: u64) {
        self.send(count);
    }

    fn ping(&mut self, count: u64) {
        for _ in 0..count {
            self.notifier.notify().expect("a listener");
            let answers = self.listener.timed_wait(|_| (), TIMEOUT).expect("an event service");
            assert!(answers > 0, "no answer in time");
        }
    }
}

/// The child's end.
pub struct Far {
    subscriber: Subscriber<ipc::Service, Payload, ()>,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl Far {
    /// Opens the services that the parent made.
    pub fn open(place: &str) -> Far {
        let node = node();
        Far {
            subscriber: messages(&node, place)
                .subscriber_builder()
                .buffer_size(SLOTS)
                .create()
                .expect("a subscriber"),
            notifier: event(&node, place, "back")
                .notifier_builder()
                .create()
                .expect("a notifier"),
            listener: event(&node, place, "there")
                .listener_builder()
                .create()
                .expect("a listener"),
            _node: node,
        }
    }
}

impl FarEnd for Far {
    fn drain(&mut self, count: u64) -> u64 {
        let (mut received, mut sum) = (0, 0_u64);
        let mut patience = Patience::default();
        while received < count {
            let Some(sample) = self.subscriber.receive().expect("a connection") else {
                patience.wait();
                continue;
            };
            patience = Patience::default();
            received += 1;
            sum = sum.wrapping_add(number(sample.payload()));
        }
        sum
    }

    /// It has no batches.
    fn drain_batches(&mut self, count: u64) -> u64 {
        self.drain(count)
    }

    fn echo(&mut self, count: u64) {
        for _ in 0..count {
            let woken = self.listener.timed_wait(|_| (), TIMEOUT).expect("an event service");
            assert!(woken > 0, "no request in time");
            self.notifier.notify().expect("a listener");
        }
    }
}
