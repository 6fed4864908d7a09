//! `serve` as a process.

mod access;
mod clients;
mod process;
mod writes;

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
