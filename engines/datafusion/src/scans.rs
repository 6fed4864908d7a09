//! `HeadstartScans`: the rule of the physical optimizer that makes scans of Parquet files read by Headstart.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::reader::HeadstartReaderFactory;
use crate::stores::OpenStores;

/// Gives each scan of Parquet files a [`HeadstartReaderFactory`], if Headstart has opened its store.
///
/// Scans of all tables pass here, however they were made. This rule stands before the others, which rewrite plans with
/// the factory in them.
#[derive(Debug, Default)]
pub struct HeadstartScans {
    stores: Arc<OpenStores>,
}

impl HeadstartScans {
    pub(crate) fn new(stores: Arc<OpenStores>) -> Self {
        Self { stores }
    }

    pub(crate) fn stores(&self) -> Arc<OpenStores> {
        Arc::clone(&self.stores)
    }

    /// The scan with our factory; `None` for a node that is not such a scan.
    fn rewritten(&self, node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
        let (config, source) = node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
        let store = self.stores.get(config.object_store_url.as_ref())?;
        let metadata = source.parquet_file_reader_factory().cloned();
        let factory = HeadstartReaderFactory::new(store, config.file_groups.clone(), metadata);
        let source = source.clone().with_parquet_file_reader_factory(Arc::new(factory));
        let config = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source)).build();
        Some(DataSourceExec::from_data_source(config))
    }
}

impl PhysicalOptimizerRule for HeadstartScans {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| match self.rewritten(&node) {
            Some(scan) => Ok(Transformed::yes(scan)),
            None => Ok(Transformed::no(node)),
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "headstart_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
