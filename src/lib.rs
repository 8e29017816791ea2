//! Landfall: manifests become Terraform runs and provider calls, and each of them is on a record in Postgres.
//!
//! | room | what it knows |
//! |---|---|
//! | [`api`] | the kinds' types, CEL rules and pure validation; no client, no runtime, no SQL |
//! | `reconcile` | the generic machinery: observe, decide, act, report; backoff, watches, leadership |
//! | `kinds` | what should be: one folder a kind, the same furniture in each |
//! | [`access`] | whose an object is, which references are permitted, Secret bytes at the moment of use |
//! | [`terraform`] | sources, the engine, the runner, executors |
//! | [`zones`] | one writer for each DNS zone: gathers, compares, knows whose a set is |
//! | [`acme`] | certificates from CAs: the calls of RFC 8555, and the way of an order |
//! | [`run`] | what a run is made of: its protocol, plan, digest and state; pure |
//! | [`dns`] | DNS names, record sets and zones: what they may be, when two are the same; pure |
//! | [`pki`] | keys and X.509: made, read, checked; pure |
//! | [`providers`] | vendors' protocols: behind one HTTP client, and DNS over TCP |
//! | [`ledger`] | Postgres: intents, activity chain, mirror, runs, sealed state |
//! | [`controller`] | the process: what is started in which order, and how it ends |
//! | [`health`] | what `/readyz` tells |
//! | `web` | HTTP served: health, metrics, run API |
//! | [`cli`] | what people type |
//!
//! Arrows point down: kinds → reconcile, terraform, zones, acme → providers → ledger → run → access → api, and providers, pki → dns;
//! docs/architecture.md has them room by room, and a test holds the rooms to it.

// Tests in here share the generator of objects with those outside.
#[cfg(test)]
extern crate self as landfall;

pub mod access;
pub mod acme;
pub mod api;
pub mod cli;
pub mod controller;
pub mod dns;
pub mod error;
pub mod health;
pub mod installation;
pub mod kinds;
pub mod ledger;
pub mod metrics;
pub mod pki;
pub mod providers;
pub mod reconcile;
pub mod run;
pub mod terraform;
pub mod web;
pub mod zones;

pub use error::{Class, Error, Result};
