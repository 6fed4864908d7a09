//! Bytes for Python: without a copy by the buffer protocol ([`Buffer`]), or with one copy into `bytes` or into the
//! caller's buffer. The only file with `unsafe` code.
#![expect(unsafe_code, reason = "the buffer protocol, and copies without the GIL, have raw pointers")]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyIndexError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice, PyType};

use crate::exit::{Counted, stay_out};
use crate::process::{self, Owned};

/// Copies of more bytes than this release the GIL.
const COPY_WITH_GIL: usize = 64 * 1024;

/// Bytes copied between Rust and Python by this process and its parents, for tests.
static COPIED_BYTES: AtomicU64 = AtomicU64::new(0);

/// Bytes copied so far.
pub(crate) fn copied_bytes() -> u64 {
    COPIED_BYTES.load(Ordering::Relaxed)
}

/// Read-only bytes that Python reads in place.
#[pyclass(frozen, module = "headstart", name = "Buffer")]
pub(crate) struct Buffer {
    /// The bytes may be a slice of a page or part, so a forked child must not drop them.
    bytes: Owned<Bytes>,
    /// The address of the bytes, which a forked child may read.
    start: SharedPointer,
    len: usize,
    _counted: Counted,
}

/// The address of bytes that never change.
#[derive(Clone, Copy)]
struct SharedPointer(*const u8);

// SAFETY: it is only read, and the bytes behind it do not change.
unsafe impl Send for SharedPointer {}
// SAFETY: as above.
unsafe impl Sync for SharedPointer {}

impl Buffer {
    pub(crate) fn new(py: Python<'_>, bytes: Bytes) -> PyResult<Self> {
        let (start, len) = (SharedPointer(bytes.as_ptr()), bytes.len());
        Ok(Self { bytes: process::current(py)?.own_light(bytes), start, len, _counted: Counted::new() })
    }

    fn as_slice(&self) -> &[u8] {
        // SAFETY: `self.bytes` keeps these bytes allocated as long as `self` lives, in a forked child too, whose copy
        // of the memory nobody frees. They never change.
        unsafe { std::slice::from_raw_parts(self.start.0, self.len) }
    }
}

#[pymethods]
impl Buffer {
    /// A copy of any object that has a buffer.
    #[new]
    fn copy_of(py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(py, copy_in(source)?)
    }

    fn __len__(&self) -> usize {
        self.len
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        copy_out(py, &[self.as_slice()])
    }

    /// A copy as `bytes`.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.__bytes__(py)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let all = self.as_slice();
        if let Ok(slice) = index.cast::<PySlice>() {
            let part = slice.indices(self.len.cast_signed())?;
            let (start, stop) = (part.start.cast_unsigned(), part.stop.max(part.start).cast_unsigned());
            return match self.bytes.get() {
                _ if part.step != 1 => self.to_bytes(py)?.get_item(index),
                Some(bytes) => Ok(Bound::new(py, Self::new(py, bytes.slice(start..stop))?)?.into_any()),
                None => Ok(copy_out(py, &[&all[start..stop]])?.into_any()),
            };
        }
        let at: isize = index.extract()?;
        let at = if at < 0 { at + self.len.cast_signed() } else { at };
        let byte = usize::try_from(at).ok().and_then(|at| all.get(at));
        let byte = byte.ok_or_else(|| PyIndexError::new_err("index out of range"))?;
        Ok(byte.into_pyobject(py)?.into_any())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        if let Ok(other) = other.cast::<Self>() {
            return self.as_slice() == other.get().as_slice();
        }
        PyBuffer::<u8>::get(other).is_ok_and(|other| has_bytes(&other, self.as_slice()))
    }

    fn __repr__(&self) -> String {
        format!("Buffer({} bytes)", self.len)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyBytes>,))> {
        Ok((py.get_type::<Self>(), (self.to_bytes(py)?,)))
    }

    /// # Safety
    /// Called by the interpreter, with a view that it owns.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = slf.get().as_slice();
        let len = isize::try_from(bytes.len()).map_err(|_| PyBufferError::new_err("too long"))?;
        let start = bytes.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: `view` is the interpreter's. The bytes live as long as the object, to which the view holds a
        // reference, and the view is read-only.
        match unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 1, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }
}

/// The bytes of `chunks` as Python's `bytes`: the one copy of a read.
pub(crate) fn copy_out<'py>(py: Python<'py>, chunks: &[impl AsRef<[u8]> + Sync]) -> PyResult<Bound<'py, PyBytes>> {
    let len: usize = chunks.iter().map(|chunk| chunk.as_ref().len()).sum();
    let size = isize::try_from(len).map_err(|_| PyValueError::new_err("too long"))?;
    // SAFETY: with a null pointer this allocates `bytes` of that size, whose content is uninitialised; it fails with
    // null and an exception, which `from_owned_ptr_or_err` takes.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(ptr::null(), size))? };
    if len > 0 {
        // SAFETY: `made` is `bytes` of `len` bytes, and we hold the only reference, so nobody reads it before it is
        // filled, and it does not move.
        let target = unsafe { NonNull::new_unchecked(ffi::PyBytes_AsString(made.as_ptr()).cast::<u8>()) };
        fill(py, target, chunks);
    }
    Ok(made.cast_into::<PyBytes>()?)
}

/// Copies `chunks` into the caller's buffer, which has at least as many bytes.
pub(crate) fn copy_into(py: Python<'_>, target: &PyBuffer<u8>, chunks: &[Bytes]) -> PyResult<usize> {
    let len = chunks.iter().map(Bytes::len).sum();
    if target.len_bytes() < len {
        return Err(PyValueError::new_err("the buffer is too short"));
    }
    if let Some(start) = NonNull::new(target.buf_ptr().cast::<u8>()).filter(|_| len > 0) {
        // The buffer is exported to us until `target` is dropped, so its owner neither frees nor moves it.
        fill(py, start, chunks);
    }
    Ok(len)
}

/// The memory of an object that can be written in one piece.
pub(crate) fn writable(target: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    let buffer = memory(target)?;
    if buffer.readonly() {
        return Err(PyTypeError::new_err("readinto() needs a writable buffer"));
    }
    check_contiguous(&buffer)?;
    Ok(buffer)
}

/// The memory of an object that has a buffer, as bytes whatever its items are.
fn memory(source: &Bound<'_, PyAny>) -> PyResult<PyBuffer<u8>> {
    PyBuffer::<u8>::get(source).or_else(|error| {
        let view = source.py().import("builtins")?.call_method1("memoryview", (source,)).map_err(|_| error)?;
        PyBuffer::<u8>::get(&view.call_method1("cast", ("B",))?)
    })
}

/// One buffer of all chunks.
pub(crate) fn concat(chunks: &[Bytes]) -> Bytes {
    let all = chunks.concat();
    COPIED_BYTES.fetch_add(all.len() as u64, Ordering::Relaxed);
    Bytes::from(all)
}

/// Copies without the GIL.
fn detached<T: Send>(py: Python<'_>, copy: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let copied = copy();
        stay_out();
        copied
    })
}

/// A pointer that goes with a copy to where the GIL is released, on the same thread.
struct Pointer(NonNull<u8>);
// SAFETY: `detach` calls its closure on this thread, before it returns.
unsafe impl Send for Pointer {}

/// Copies `chunks` one after the other to `target`, which must have room for them; without the GIL where that is long.
fn fill(py: Python<'_>, target: NonNull<u8>, chunks: &[impl AsRef<[u8]> + Sync]) {
    let len: usize = chunks.iter().map(|chunk| chunk.as_ref().len()).sum();
    COPIED_BYTES.fetch_add(len as u64, Ordering::Relaxed);
    let target = Pointer(target);
    let copy = move || {
        let Pointer(mut at) = { target };
        for chunk in chunks.iter().map(AsRef::as_ref) {
            // SAFETY: the callers vouch for room for all chunks. No chunk overlaps it: chunks never change, so nobody
            // may have exported them for writing. As with a read of the operating system into the caller's buffer,
            // other threads that use the buffer meanwhile see any mixture of old and new bytes.
            unsafe {
                ptr::copy_nonoverlapping(chunk.as_ptr(), at.as_ptr(), chunk.len());
                at = at.add(chunk.len());
            }
        }
    };
    if len > COPY_WITH_GIL { detached(py, copy) } else { copy() }
}

/// A copy of the bytes of an object that has a buffer; without a copy where the object is a [`Buffer`].
pub(crate) fn copy_in(source: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(buffer) = source.cast::<Buffer>()
        && let Some(bytes) = buffer.get().bytes.get()
    {
        return Ok(bytes.clone());
    }
    let buffer = memory(source)?;
    check_contiguous(&buffer)?;
    let Some(start) = NonNull::new(buffer.buf_ptr().cast::<u8>()) else { return Ok(Bytes::new()) };
    let source_bytes = Pointer(start);
    let (len, py) = (buffer.len_bytes(), source.py());
    COPIED_BYTES.fetch_add(len as u64, Ordering::Relaxed);
    let copy = move || {
        let Pointer(start) = { source_bytes };
        let mut copied = Vec::<u8>::with_capacity(len);
        // SAFETY: the buffer is exported to us until `buffer` is dropped, after this: it is neither freed nor moved.
        // `copied` has room for `len` bytes and is initialised by the copy. As with a write of the operating system
        // from the caller's buffer, what other threads write meanwhile is copied or not.
        unsafe {
            ptr::copy_nonoverlapping(start.as_ptr(), copied.as_mut_ptr(), len);
            copied.set_len(len);
        }
        Bytes::from(copied)
    };
    Ok(if len > COPY_WITH_GIL { detached(py, copy) } else { copy() })
}

fn check_contiguous(buffer: &PyBuffer<u8>) -> PyResult<()> {
    match buffer.is_c_contiguous() {
        true => Ok(()),
        false => Err(PyBufferError::new_err("expected a contiguous buffer")),
    }
}

/// Whether `buffer` has these bytes.
fn has_bytes(buffer: &PyBuffer<u8>, bytes: &[u8]) -> bool {
    let Some(start) = NonNull::new(buffer.buf_ptr().cast::<u8>()) else { return bytes.is_empty() };
    // SAFETY: the buffer is exported to us as long as it is borrowed: it is neither freed nor moved. The GIL is held,
    // so no Python code writes to it meanwhile.
    buffer.is_c_contiguous() && bytes == unsafe { std::slice::from_raw_parts(start.as_ptr(), buffer.len_bytes()) }
}
