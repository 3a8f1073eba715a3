//! Sockets of one machine (`AF_UNIX`): streams, datagrams and sequenced packets.
//!
//! An [`Endpoint`] is what a socket is to its peers; a [`Socket`] is the open file, whose end closes the endpoint. Each
//! endpoint has a queue of what it is to receive, and a sender puts a [`Message`](message::Message) straight there. Connected
//! endpoints hold each other until either is closed; names are found in the [`Domain`], which also knows what
//! descriptors are on their way ([`in_flight`]).
//!
//! # Locks
//! The state of an endpoint and the tables of the domain are spin locks. Two endpoints' states are never held together;
//! the table of descriptors on their way is taken before an endpoint's state. Nothing that ends a file is dropped under one.

pub mod address;
mod close;
pub mod connection;
pub mod endpoint;
pub mod in_flight;
pub mod message;
pub mod options;
pub mod receive;
mod send;
pub mod socket;
#[cfg(test)]
mod tests;

pub use address::{Address, Domain, Name};
pub use connection::Connecting;
pub use endpoint::{Endpoint, Kind, Shutdown};
pub use message::{Ancillary, Credentials, Message, Payload, Received};
pub use socket::Socket;
