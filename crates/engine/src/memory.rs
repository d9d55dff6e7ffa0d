//! Gives memory back to the system that the process holds but does not need at the moment.
//!
//! It stands here because it takes calls that the compiler cannot check, which no other crate may make.

/// Gives back free heap pages, and unmaps the pages of the program file that were touched so far (on Linux; nothing happens elsewhere).
///
/// What is needed again is mapped again from the page cache, a page at a time where the kernel can be told to ([`linux::map_singly`]), at
/// less than a microsecond each: call it when there is no work.
pub fn give_memory_back() {
    #[cfg(target_os = "linux")]
    linux::unmap_program();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    linux::trim_heap();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::ops::Range;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
    use std::sync::OnceLock;

    /// What follows is from `linux/userfaultfd.h`.
    const UFFD_USER_MODE_ONLY: libc::c_int = 1;
    const UFFD_API: u64 = 0xaa;
    const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
    const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
    const UFFDIO_API: libc::Ioctl = libc::_IOWR::<Api>(0xaa, 0x3f);
    const UFFDIO_REGISTER: libc::Ioctl = libc::_IOWR::<Register>(0xaa, 0);

    #[repr(C)]
    struct Api {
        version: u64,
        features: u64,
        ioctls: u64,
    }

    #[repr(C)]
    struct Register {
        start: u64,
        len: u64,
        mode: u64,
        ioctls: u64,
    }

    /// Unmaps executable mappings of files, and the beginning of the program's own: headers, relocations and constants. Only those: they
    /// are never written, not even by the dynamic linker, so that the file has all of their content.
    pub(super) fn unmap_program() {
        let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
            return;
        };
        let program = std::env::current_exe().unwrap_or_default();
        let program = program.to_str().unwrap_or_default();
        let ranges = maps.lines().filter_map(|line| program_range(line, program));
        for range in ranges {
            if let Err(error) = map_singly(&range) {
                tracing::debug!(%error, "program pages are mapped with those around them");
            }
            #[expect(
                unsafe_code,
                reason = "the kernel's advice on an address range has no safe form"
            )]
            // SAFETY: the range is one mapping of this process, private and not writable, of a program file. Dropping its
            // pages changes nothing that can be read there: each is read from the file again when it is next touched.
            let refused = unsafe {
                libc::madvise(
                    std::ptr::with_exposed_provenance_mut(range.start),
                    range.len(),
                    libc::MADV_DONTNEED,
                )
            };
            if refused != 0 {
                tracing::debug!(error = %std::io::Error::last_os_error(), "program pages stay mapped");
            }
        }
    }

    /// Has pages of a range of the program mapped one by one as they are touched, from now on.
    ///
    /// The kernel maps the 16 pages around a touched one with it, so that a program of which 5 MiB are used while it rests holds 22. No
    /// advice changes that, but it maps single pages where it keeps track of writes for `userfaultfd(2)` (`should_fault_around` in
    /// `mm/memory.c`). Nothing is ever protected from writes here, so that nobody is asked about any, nor could anybody be: that is
    /// asynchronous (since Linux 6.7). Older kernels refuse that, and so do containers that forbid the call.
    fn map_singly(range: &Range<usize>) -> io::Result<()> {
        /// Open for as long as the program runs: the ranges are let go when it is closed.
        static TRACKER: OnceLock<Option<OwnedFd>> = OnceLock::new();
        let Some(tracker) = TRACKER.get_or_init(|| open_tracker().ok()) else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut register = Register {
            start: range.start as u64,
            len: range.len() as u64,
            mode: UFFDIO_REGISTER_MODE_WP,
            ioctls: 0,
        };
        #[expect(unsafe_code, reason = "the kernel's call has no safe form")]
        // SAFETY: the request takes a pointer to this structure, which outlives the call. It changes how the pages of the range are
        // mapped, never what they hold.
        let refused =
            unsafe { libc::ioctl(tracker.as_raw_fd(), UFFDIO_REGISTER, &raw mut register) };
        // What is registered already is registered again without effect.
        if refused == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn open_tracker() -> io::Result<OwnedFd> {
        #[expect(unsafe_code, reason = "the kernel's call has no safe form")]
        // SAFETY: the call takes flags and returns a new descriptor, which nobody else has, or -1.
        let tracker = unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd as libc::c_int)
        };
        let mut api = Api {
            version: UFFD_API,
            features: UFFD_FEATURE_WP_ASYNC,
            ioctls: 0,
        };
        #[expect(unsafe_code, reason = "the kernel's call has no safe form")]
        // SAFETY: the request takes a pointer to this structure, which outlives the call.
        let refused = unsafe { libc::ioctl(tracker.as_raw_fd(), UFFDIO_API, &raw mut api) };
        if refused == 0 {
            Ok(tracker)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Gives free pages of the heap back.
    #[cfg(target_env = "gnu")]
    pub(super) fn trim_heap() {
        #[expect(unsafe_code, reason = "the allocator's own call has no safe form")]
        // SAFETY: the call takes a number, may be made from any thread at any time, and touches free memory only.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Reads a line of `/proc/self/maps` (`proc_pid_maps(5)`); `None` unless it is program text from a file, or the first read-only mapping
    /// of `program`.
    fn program_range(line: &str, program: &str) -> Option<Range<usize>> {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions, offset) = (fields.next()?, fields.next()?, fields.next()?);
        let path = fields.nth(2)?;
        let is_text = permissions == "r-xp" && path.starts_with('/');
        // Later read-only mappings were written when the program was relocated.
        let is_first = permissions == "r--p" && offset == "00000000" && path == program;
        if !is_text && !is_first {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(start)?..address(end)?)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_what_was_never_written_is_taken() {
            let text = "7f00a000-7f00c000 r-xp 00001000 fe:00 123   /usr/lib/libc.so.6";
            let program = "/usr/bin/remuda";
            let first = "7f00a000-7f00c000 r--p 00000000 fe:00 123   /usr/bin/remuda";
            for taken in [text, first] {
                let range = program_range(taken, program);
                assert_eq!(range, Some(0x7f00_a000..0x7f00_c000), "{taken}");
            }
            for other in [
                "7f00a000-7f00c000 r--p 00001000 fe:00 123   /usr/bin/remuda",
                "7f00a000-7f00c000 r--p 00000000 fe:00 123   /models/weights.gguf",
                "7f00a000-7f00c000 rw-p 00001000 fe:00 123   /usr/lib/libc.so.6",
                "7f00a000-7f00c000 rwxp 00000000 00:00 0",
                "7f00a000-7f00c000 r-xp 00000000 00:00 0     [vdso]",
                "nonsense",
            ] {
                assert_eq!(program_range(other, program), None, "{other}");
            }
        }

        #[test]
        fn what_is_mapped_singly_can_be_so_again() {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let text = maps.lines().find_map(|line| program_range(line, ""));
            let text = text.unwrap();
            // Older kernels cannot, and say so each time.
            assert_eq!(map_singly(&text).is_ok(), map_singly(&text).is_ok());
        }

        #[test]
        fn the_program_goes_on_afterwards() {
            unmap_program();
            let text = String::from_utf8(vec![b'x'; 1 << 20]).unwrap();
            super::super::give_memory_back();
            assert_eq!(text.len(), 1 << 20);
        }
    }
}
