//! Sessions that read by Headstart.

use std::any::Any;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;
use headstart::Headstart;
use url::Url;

use crate::registry::HeadstartRegistry;
use crate::scans::HeadstartScans;
use crate::stores::OpenStores;

/// A session with default settings that opens and reads stores by Headstart.
///
/// # Errors
/// Those of [`with_headstart`].
pub fn session_context(registry: HeadstartRegistry) -> Result<SessionContext> {
    let builder = SessionStateBuilder::new().with_default_features();
    Ok(SessionContext::new_with_state(with_headstart(builder, &Arc::new(registry))?.build()))
}

/// Makes a session open and read stores by Headstart. Several sessions may share a registry, and then share its stores.
///
/// The session gets a runtime with this registry (settings and caches of the builder's runtime are kept), the
/// namespace `headstart.*`, and the rule [`HeadstartScans`] before the other rules of the physical optimizer.
///
/// # Errors
/// Those of [`RuntimeEnvBuilder::build`].
pub fn with_headstart(
    mut builder: SessionStateBuilder,
    registry: &Arc<HeadstartRegistry>,
) -> Result<SessionStateBuilder> {
    let runtime = builder.runtime_env().as_deref().map(RuntimeEnvBuilder::from_runtime_env).unwrap_or_default();
    let runtime = runtime.with_object_store_registry(Arc::clone(registry) as _).build_arc()?;
    let config = builder.config().take().unwrap_or_default().with_option_extension(registry.options());
    let builder = builder.with_runtime_env(runtime).with_config(config);
    Ok(with_rule(builder, HeadstartScans::new(registry.opened())))
}

/// Makes a session read the store of `url` (`s3://bucket`) by `store`, whatever registry it has.
///
/// Tables of this store must be created afterwards. A store that is registered later in its place, by other means than
/// this function, is listed but not read, unless the session has a [`HeadstartRegistry`].
///
/// # Errors
/// [`DataFusionError::External`]: `url` is no URL.
pub fn register(context: &SessionContext, url: &str, store: Headstart) -> Result<()> {
    let url = Url::parse(url).map_err(|error| DataFusionError::External(error.into()))?;
    let state = context.state();
    let mut rules = state.physical_optimizers().iter();
    let stores = match rules.find_map(|rule| (rule.as_ref() as &dyn Any).downcast_ref::<HeadstartScans>()) {
        Some(rule) => rule.stores(),
        None => {
            let stores = Arc::<OpenStores>::default();
            let builder = SessionStateBuilder::new_from_existing(state).with_session_id(context.session_id());
            let state = with_rule(builder, HeadstartScans::new(Arc::clone(&stores))).build();
            *context.state_ref().write() = state;
            stores
        }
    };
    let opened = stores.insert(&url, store);
    context.register_object_store(&url, Arc::clone(&opened.adapter));
    Ok(())
}

/// Puts `rule` before the others.
fn with_rule(mut builder: SessionStateBuilder, rule: HeadstartScans) -> SessionStateBuilder {
    builder.physical_optimizers().get_or_insert_default().rules.insert(0, Arc::new(rule));
    builder
}
