//! `serve` as a process.

mod access;
mod clients;
mod process;
mod writes;
