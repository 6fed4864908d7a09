//! Misbehaviours of real servers, as a table: each row has a name, says what the server does, and alters answers.
//!
//! Each row comes from a report about a real server or proxy. A row starts from the answer of a correct server
//! ([`Reply::to`]); it sees the request and how many requests came before.

mod bodies;
mod conditions;
mod ranges;
mod statuses;

use std::sync::{Arc, LazyLock};

use super::{AskedRequest, BodyStep, HostileObject, HostileServer, Reply, ServedConnections};

/// The part of a server that a behaviour is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// `If-Match` and versions in requests.
    Preconditions,
    /// `Range`.
    Ranges,
    /// HEAD requests.
    Head,
    /// Entity tags and dates in answers.
    Validators,
    /// Error statuses.
    Refusals,
    /// Redirects.
    Redirects,
    /// Headers and lengths of answers.
    Framing,
    /// How bodies arrive.
    Bodies,
    /// Connections.
    Connections,
}

/// The objects that a behaviour is worth trying on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// Small objects only: the behaviour is too slow for large ones.
    Small,
    /// Small and large objects.
    All,
}

/// One misbehaviour.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// Its name.
    pub name: &'static str,
    /// The part of the server that it is about.
    pub topic: Topic,
    /// What the server does.
    pub server: &'static str,
    /// What Headstart does about it.
    pub ours: &'static str,
    /// The objects to try it on.
    pub sizes: Sizes,
    /// The connections that the server accepts.
    pub connections: ServedConnections,
    applies: Applies,
    alter: Alter,
}

/// Whether a behaviour alters the answer to this request. Other answers are sent as they are.
type Applies = fn(&AskedRequest, &Reply) -> bool;

/// Alters the answer of a correct server.
type Alter = fn(&HostileObject, &AskedRequest, Reply) -> Reply;

impl Behaviour {
    /// A server of `object` that misbehaves in this way.
    #[must_use]
    pub fn server(&self, object: HostileObject) -> Arc<HostileServer> {
        let (applies, alter, of) = (self.applies, self.alter, object.clone());
        HostileServer::with_connections(object, self.connections, move |asked, reply| {
            if applies(asked, &reply) { alter(&of, asked, reply) } else { reply }
        })
    }

    /// Alters the answers to which `applies` applies.
    const fn when(self, applies: Applies, alter: Alter) -> Self {
        Self { applies, alter, ..self }
    }

    const fn small(self) -> Self {
        Self { sizes: Sizes::Small, ..self }
    }

    const fn serving(self, connections: ServedConnections) -> Self {
        Self { connections, ..self }
    }
}

/// A row of the table, which alters no answer yet. [`ALL`] sets the topic of each group of rows.
const fn row(name: &'static str, server: &'static str, ours: &'static str) -> Behaviour {
    let (topic, sizes, connections) = (Topic::Preconditions, Sizes::All, ServedConnections::All);
    Behaviour { name, topic, server, ours, sizes, connections, applies: always, alter: |_, _, reply| reply }
}

/// What Headstart does about an answer that will be the same next time.
const FINAL: &str = "the error goes to the caller at once";
/// What Headstart does about an answer that may be different next time.
const RETRIED: &str = "retried after a pause";
/// What Headstart does where the client itself copes.
const NOTHING: &str = "nothing has to be done";
/// What Headstart does where the store refuses a range that the caller did not ask for.
const FALLS_BACK: &str =
    "asks again for what the caller asked for; after two refusals, adds nothing to the next requests to this store";

/// The behaviour of a server that does everything right: the first of [`ALL`].
pub const CORRECT: &Behaviour = &conditions::PRECONDITIONS[0];

/// Every behaviour, by topic.
pub static ALL: LazyLock<Vec<Behaviour>> = LazyLock::new(|| {
    let groups = [
        (Topic::Preconditions, conditions::PRECONDITIONS),
        (Topic::Ranges, ranges::RANGES),
        (Topic::Head, ranges::HEAD),
        (Topic::Validators, conditions::VALIDATORS),
        (Topic::Refusals, statuses::REFUSALS),
        (Topic::Redirects, statuses::REDIRECTS),
        (Topic::Framing, bodies::FRAMING),
        (Topic::Bodies, bodies::BODIES),
        (Topic::Connections, bodies::CONNECTIONS),
    ];
    groups.into_iter().flat_map(|(topic, rows)| rows.iter().map(move |row| Behaviour { topic, ..*row })).collect()
});

fn always(_: &AskedRequest, _: &Reply) -> bool {
    true
}

fn is_first(asked: &AskedRequest, _: &Reply) -> bool {
    asked.number == 0
}

fn is_head(asked: &AskedRequest, _: &Reply) -> bool {
    asked.is_head()
}

fn is_about_object(_: &AskedRequest, reply: &Reply) -> bool {
    reply.is_about_object()
}

fn is_partial(_: &AskedRequest, reply: &Reply) -> bool {
    reply.status == 206
}

/// Answers with the whole object, whatever range was asked for.
fn whole(object: &HostileObject, asked: &AskedRequest, reply: Reply) -> Reply {
    if reply.is_about_object() || reply.status == 416 {
        Reply::to(object, &without_header(asked, "range"))
    } else {
        reply
    }
}

fn without_header(asked: &AskedRequest, name: &str) -> AskedRequest {
    let mut asked = asked.clone();
    asked.headers.retain(|(known, _)| known != name);
    asked
}

fn without_versions(reply: Reply) -> Reply {
    reply.without("x-goog-generation").without("x-amz-version-id")
}

/// The same answer without entity tag, date and version.
fn bare(reply: Reply) -> Reply {
    without_versions(reply).without("etag").without("last-modified")
}
