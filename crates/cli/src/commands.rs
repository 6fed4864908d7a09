//! The commands: one file each.

pub(crate) mod bench;
pub(crate) mod cache;
pub(crate) mod cat;
pub(crate) mod config;
mod consent;
pub(crate) mod cp;
pub(crate) mod doctor;
pub(crate) mod du;
pub(crate) mod ls;
pub(crate) mod reference;
pub(crate) mod serve;
pub(crate) mod stat;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod verify;
pub(crate) mod warm;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::args::Command;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// Runs a command, and writes all of its output. Boxed: `trace record` runs another command.
pub(crate) fn run(command: Command, session: Arc<Session>) -> BoxFuture<'static, Result<(), Failure>> {
    async move {
        let shared = session;
        let session = &*shared;
        let done = match command {
            Command::Cat(args) => cat::cat(session, &args).boxed().await,
            Command::Head(args) => cat::head(session, &args).boxed().await,
            Command::Ls(args) => ls::run(session, &args).boxed().await,
            Command::Stat(args) => stat::run(session, &args).boxed().await,
            Command::Cp(args) => cp::run(session, &args).boxed().await,
            Command::Du(args) => du::run(session, &args).boxed().await,
            Command::Verify(args) => verify::run(session, &args).boxed().await,
            Command::Bench(args) => bench::run(session, &args).boxed().await,
            Command::Doctor(args) => doctor::run(session, &args).boxed().await,
            Command::Warm(args) => warm::run(session, &args).boxed().await,
            Command::Serve(args) => serve::run(Arc::clone(&shared), &args).boxed().await,
            Command::Top(args) => top::run(session, &args).boxed().await,
            Command::Cache(args) => cache::run(session, &args).boxed().await,
            Command::Trace(args) => trace::run(session, args).boxed().await,
            Command::Config(args) => config::run(session, &args).boxed().await,
            Command::Completions(args) => reference::completions(&args),
            Command::Man(args) => reference::man(session, &args),
            Command::Reference => reference::markdown(),
        };
        // What was read before a failure is cached too.
        session.close().await;
        let flushed = session.output.flush().and_then(|()| output::flush_stdout());
        done.and(flushed)
    }
    .boxed()
}
