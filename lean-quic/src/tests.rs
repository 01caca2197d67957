//! The client against `quinn_proto` as the server, in memory, in virtual time, over a link that loses, repeats and
//! reorders by a seed.

mod ends;
mod faults;
mod hostile;
mod pair;
mod rules;
mod served;
mod setup;
mod size;
