//! Forwards methods of `ObjectStore` from a wrapper to the store inside it.

/// Implements groups of [`ObjectStore`](object_store::ObjectStore) methods by calling them on another store.
///
/// ```ignore
/// #[async_trait]
/// impl ObjectStore for Wrapper {
///     forward_object_store!(self => self.inner; writes, lists);
///     // `get_opts` and `get_ranges` follow; the group `reads` would forward them, too.
/// }
/// ```
///
/// `async_trait` does not look into macros, so the methods are written as it would write them. They return the futures
/// of the inner store as they are.
#[doc(hidden)]
#[macro_export]
macro_rules! forward_object_store {
    ($self:ident => $inner:expr; $($group:ident),+) => {
        $($crate::forward_object_store!(@$group $self, $inner);)+
    };
    (@reads $self:ident, $inner:expr) => {
        $crate::forward_object_store!(@async $self, $inner,
            get_opts['b](location: &'b object_store::path::Path, options: object_store::GetOptions)
                -> object_store::GetResult);
        $crate::forward_object_store!(@async $self, $inner,
            get_ranges['b, 'c](location: &'b object_store::path::Path, ranges: &'c [std::ops::Range<u64>])
                -> Vec<bytes::Bytes>);
    };
    (@writes $self:ident, $inner:expr) => {
        $crate::forward_object_store!(@async $self, $inner,
            put_opts['b](location: &'b object_store::path::Path, payload: object_store::PutPayload,
                options: object_store::PutOptions) -> object_store::PutResult);
        $crate::forward_object_store!(@async $self, $inner,
            put_multipart_opts['b](location: &'b object_store::path::Path, options: object_store::PutMultipartOptions)
                -> Box<dyn object_store::MultipartUpload>);
        $crate::forward_object_store!(@async $self, $inner,
            copy_opts['b, 'c](from: &'b object_store::path::Path, to: &'c object_store::path::Path,
                options: object_store::CopyOptions) -> ());
        $crate::forward_object_store!(@async $self, $inner,
            rename_opts['b, 'c](from: &'b object_store::path::Path, to: &'c object_store::path::Path,
                options: object_store::RenameOptions) -> ());
        $crate::forward_object_store!(@stream $self, $inner,
            delete_stream(
                locations: futures::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>
            ) -> object_store::path::Path);
    };
    (@lists $self:ident, $inner:expr) => {
        $crate::forward_object_store!(@stream $self, $inner,
            list(prefix: Option<&object_store::path::Path>) -> object_store::ObjectMeta);
        $crate::forward_object_store!(@stream $self, $inner,
            list_with_offset(prefix: Option<&object_store::path::Path>, offset: &object_store::path::Path)
                -> object_store::ObjectMeta);
        $crate::forward_object_store!(@async $self, $inner,
            list_with_delimiter['b](prefix: Option<&'b object_store::path::Path>) -> object_store::ListResult);
    };
    (@async $self:ident, $inner:expr,
        $method:ident[$($lifetime:lifetime),*]($($arg:ident: $type:ty),*) -> $output:ty) => {
        fn $method<'a, $($lifetime,)* 'async_trait>(
            &'a $self,
            $($arg: $type),*
        ) -> futures::future::BoxFuture<'async_trait, object_store::Result<$output>>
        where
            'a: 'async_trait,
            $($lifetime: 'async_trait,)*
            Self: 'async_trait,
        {
            $inner.$method($($arg),*)
        }
    };
    (@stream $self:ident, $inner:expr, $method:ident($($arg:ident: $type:ty),*) -> $item:ty) => {
        fn $method(
            &$self,
            $($arg: $type),*
        ) -> futures::stream::BoxStream<'static, object_store::Result<$item>> {
            $inner.$method($($arg),*)
        }
    };
}
