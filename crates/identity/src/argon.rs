//! Argon2id whose working memory goes back to the system after every hash.
//!
//! A hash works on 19 MiB. Allocated as it is, glibc keeps that much for the next time once it has seen it freed: the memory of a
//! server that nobody signs in to would stay three times what it needs. Requests above 32 MiB are always mapped and unmapped on
//! their own (`M_MMAP_THRESHOLD` in mallopt(3)), and room that is never touched takes no memory.

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, PasswordHasher, Version};
use argon2::{Algorithm, Argon2, Block, Params};

/// Blocks of 1 KiB that are asked for, however few are needed.
const ASKED_FOR: usize = 33 * 1024;

/// Computes and checks Argon2id hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argon;

impl PasswordHasher<PasswordHash> for Argon {
    fn hash_password_with_salt(
        &self,
        password: &[u8],
        salt: &[u8],
    ) -> password_hash::Result<PasswordHash> {
        self.hash_password_with_params(password, salt, Params::default())
    }
}

impl CustomizedPasswordHasher<PasswordHash> for Argon {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<Version>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm
            .map(Algorithm::try_from)
            .transpose()?
            .unwrap_or_default();
        let version = version
            .map(argon2::Version::try_from)
            .transpose()?
            .unwrap_or_default();
        let salt = Salt::new(salt)?;
        let mut buffer = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let output = buffer
            .get_mut(..length)
            .ok_or(password_hash::Error::OutputSize)?;
        let mut memory = Vec::with_capacity(ASKED_FOR.max(params.block_count()));
        memory.resize(params.block_count(), Block::default());
        Argon2::new(algorithm, version, params.clone())
            .hash_password_into_with_memory(password, &salt, output, memory)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: ParamsString::try_from(&params)?,
            salt: Some(salt),
            hash: Some(Output::new(output)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier as _;

    use super::*;

    /// From the test vectors of the reference implementation (`phc-winner-argon2`, src/test.c).
    const REFERENCE: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        let stored = PasswordHash::new(REFERENCE).unwrap();
        assert!(Argon.verify_password(b"password", &stored).is_ok());
        assert!(Argon.verify_password(b"passwore", &stored).is_err());
        let made = Argon.hash_password(b"correct horse").unwrap();
        assert!(
            Argon2::default()
                .verify_password(b"correct horse", &made)
                .is_ok()
        );
    }
}
