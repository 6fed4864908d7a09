//! The versions of files in plans, which DataFusion leaves out when it sends a plan.
//!
//! A worker that knows the version reads that one, and serves its pages from the cache without asking the store
//! whether they are current. Without it, two workers might read two versions of one file.

use std::fmt;
use std::sync::Arc;

use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use prost::Message;

/// A scan whose versions travel with it. On a worker there is only the scan.
#[derive(Debug)]
pub struct VersionedScan {
    scan: Arc<dyn ExecutionPlan>,
}

impl VersionedScan {
    /// A node over `scan`, a scan of files.
    #[must_use]
    pub fn over(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { scan })
    }
}

/// The scan without the node that carries its versions.
#[must_use]
pub fn unversioned(plan: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    plan.downcast_ref::<VersionedScan>().map_or(plan, |versioned| &versioned.scan)
}

impl DisplayAs for VersionedScan {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.fmt_as(format, f)
    }
}

impl ExecutionPlan for VersionedScan {
    fn name(&self) -> &'static str {
        "VersionedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([scan]) => Ok(Self::over(scan)),
            Err(children) => internal_err!("VersionedScan has one child, not {}", children.len()),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.scan.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.scan.metrics()
    }
}

/// The versions of a scan's files in the order of its partitions; empty where there is none.
#[derive(Clone, PartialEq, Message)]
struct FileVersions {
    #[prost(string, repeated, tag = "1")]
    e_tags: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    versions: Vec<String>,
}

/// Encodes the node as the versions of its files; the scan is its input.
#[derive(Debug)]
pub struct VersionCodec;

impl PhysicalExtensionCodec for VersionCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(versioned) = node.downcast_ref::<VersionedScan>() else {
            return internal_err!("this codec encodes no {}", node.name());
        };
        let files =
            || config_of(&versioned.scan).into_iter().flat_map(|config| &config.file_groups).flat_map(FileGroup::iter);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let e_tags = files().map(|file| text(&file.object_meta.e_tag)).collect();
        let versions = files().map(|file| text(&file.object_meta.version)).collect();
        FileVersions { e_tags, versions }.encode(buffer).map_err(|error| DataFusionError::External(error.into()))
    }

    fn try_decode(
        &self,
        buffer: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [scan] = inputs else { return internal_err!("a versioned scan has one input, not {}", inputs.len()) };
        let Some(config) = config_of(scan) else { return internal_err!("{} is no scan of files", scan.name()) };
        let found = FileVersions::decode(buffer).map_err(|error| DataFusionError::External(error.into()))?;
        let mut config = config.clone();
        let files = config.file_groups.iter().map(FileGroup::len).sum::<usize>();
        if found.e_tags.len() != files || found.versions.len() != files {
            return internal_err!(
                "{} entity tags and {} versions of {files} files",
                found.e_tags.len(),
                found.versions.len()
            );
        }
        let text = |text: String| (!text.is_empty()).then_some(text);
        let mut found = found.e_tags.into_iter().zip(found.versions);
        for group in &mut config.file_groups {
            let mut files = std::mem::take(group).into_inner();
            for (file, (e_tag, version)) in files.iter_mut().zip(&mut found) {
                (file.object_meta.e_tag, file.object_meta.version) = (text(e_tag), text(version));
            }
            *group = FileGroup::new(files);
        }
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn config_of(scan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    scan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::listing::PartitionedFile;
    use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion_proto::bytes::{
        physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
    };

    use super::*;

    #[test]
    fn versions_arrive_with_the_plan() {
        let file = |path: &str, e_tag: Option<&str>, version: Option<&str>| {
            let mut file = PartitionedFile::new(path, 9);
            file.object_meta.e_tag = e_tag.map(Into::into);
            file.object_meta.version = version.map(Into::into);
            file
        };
        let groups = vec![
            FileGroup::new(vec![file("a", Some("\"1\""), None), file("b", None, None)]),
            FileGroup::new(Vec::new()),
            FileGroup::new(vec![file("c", Some("\"2\""), Some("v3"))]),
        ];
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let source = Arc::new(ParquetSource::new(schema));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source).with_file_groups(groups);
        let sent = VersionedScan::over(DataSourceExec::from_data_source(config.build()));
        let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(&sent), &VersionCodec).unwrap();
        let found =
            physical_plan_from_bytes_with_extension_codec(&bytes, &TaskContext::default(), &VersionCodec).unwrap();
        let metas = |plan: &Arc<dyn ExecutionPlan>| -> Vec<Vec<_>> {
            let groups = config_of(plan).unwrap().file_groups.iter();
            groups.map(|group| group.iter().map(|file| file.object_meta.clone()).collect()).collect()
        };
        assert_eq!(metas(&found), metas(unversioned(&sent)));
        assert!(found.is::<DataSourceExec>(), "on a worker there is only the scan");
    }
}
