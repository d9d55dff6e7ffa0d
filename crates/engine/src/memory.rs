//! Gives memory back to the system that the process holds but does not need at the moment.
//!
//! It stands here because it takes calls that the compiler cannot check, which no other crate may make.

/// Gives back free heap pages, and unmaps the pages of the program file that were touched so far (on Linux; nothing happens elsewhere).
///
/// The kernel maps a program in pieces of 64 KiB around each page touched, so that a large program looks far larger after its start than
/// what it goes on to use. What is needed again is mapped again from the page cache, at about a microsecond a piece: call it when
/// there is no work.
pub fn give_memory_back() {
    #[cfg(target_os = "linux")]
    linux::unmap_program();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    linux::trim_heap();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;

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
        fn the_program_goes_on_afterwards() {
            unmap_program();
            let text = String::from_utf8(vec![b'x'; 1 << 20]).unwrap();
            super::super::give_memory_back();
            assert_eq!(text.len(), 1 << 20);
        }
    }
}
