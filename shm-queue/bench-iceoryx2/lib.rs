//! Nothing but a place for the benchmark `compare`, which needs a package of its own.
