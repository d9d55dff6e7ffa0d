//! As much of ELF as it takes to know whether a program is static (`elf(5)`).

use anyhow::Context as _;

/// A program header that names the program's loader.
const PT_INTERP: u64 = 3;

/// Returns the loader that a 64-bit program wants; a static one wants none.
pub(super) fn interpreter(program: &[u8]) -> anyhow::Result<Option<String>> {
    anyhow::ensure!(
        program.starts_with(b"\x7fELF\x02\x01"),
        "it is no 64-bit program for Linux"
    );
    let headers = number(program, 0x20, 8)?;
    let (size, count) = (number(program, 0x36, 2)?, number(program, 0x38, 2)?);
    for at in (0..count).map(|index| headers + index * size) {
        if number(program, at, 4)? == PT_INTERP {
            let (from, long) = (number(program, at + 8, 8)?, number(program, at + 32, 8)?);
            let name = part(program, from, long)?;
            let name = String::from_utf8_lossy(name);
            return Ok(Some(name.trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

fn number(program: &[u8], at: u64, bytes: u64) -> anyhow::Result<u64> {
    let little_first = part(program, at, bytes)?.iter().rev();
    Ok(little_first.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn part(program: &[u8], at: u64, bytes: u64) -> anyhow::Result<&[u8]> {
    let from = usize::try_from(at)?;
    let end = from.saturating_add(usize::try_from(bytes)?);
    program.get(from..end).context("the program is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_static_names_its_loader() -> anyhow::Result<()> {
        let this = std::fs::read(std::env::current_exe()?)?;
        let loader = interpreter(&this)?.context("tests are linked with the system's library")?;
        assert!(std::path::Path::new(&loader).is_absolute(), "{loader}");
        assert!(interpreter(b"#!/bin/sh\n").is_err());
        assert!(interpreter(&this[..0x40]).is_err());
        Ok(())
    }
}
