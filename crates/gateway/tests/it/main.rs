//! The data plane against scripted upstreams, over real sockets.

mod answers;
mod bad_input;
mod breakers;
mod browsers;
mod calibration;
mod cancellation;
mod cannot_go_on;
mod coalescing;
mod contexts;
mod continuation;
mod continued;
mod failover;
mod faults;
mod fleet;
mod forwarding;
mod giving_way;
mod keep_alive;
mod limits;
mod queue;
mod residency;
mod rig;
mod rings;
mod roles;
mod sharing;
mod shutdown;
mod simulations;
