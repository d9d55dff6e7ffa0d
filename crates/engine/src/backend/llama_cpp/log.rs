//! What llama.cpp says, which is the only place where it gives reasons.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

use llama_cpp_sys_2::{GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_WARN, ggml_log_level};

thread_local! {
    static LAST_ERROR: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes llama.cpp's messages from now on.
#[expect(unsafe_code, reason = "the binding has no safe way to read reasons")]
pub(super) fn send_to_tracing() {
    // SAFETY: `take` has the signature that is asked for, lives as long as the process and needs no user data.
    unsafe { llama_cpp_sys_2::llama_log_set(Some(take), std::ptr::null_mut()) };
}

/// Forgets errors of earlier calls on this thread.
pub(super) fn forget() {
    LAST_ERROR.with_borrow_mut(|last| *last = None);
}

/// Returns the last error that was said on this thread.
pub(super) fn last_error() -> Option<String> {
    LAST_ERROR.with_borrow_mut(Option::take)
}

#[expect(unsafe_code, reason = "llama.cpp hands over a C string")]
unsafe extern "C" fn take(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a string that ends with a zero byte and is valid during this call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim();
    if level == GGML_LOG_LEVEL_ERROR {
        tracing::debug!(target: "llama_cpp", level = "error", "{text}");
        // Later errors only repeat that loading failed.
        LAST_ERROR.with_borrow_mut(|last| {
            last.get_or_insert_with(|| text.to_owned());
        });
    } else if level == GGML_LOG_LEVEL_WARN {
        tracing::debug!(target: "llama_cpp", level = "warn", "{text}");
    } else {
        tracing::trace!(target: "llama_cpp", "{text}");
    }
}
