use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use ocicore::Class;

use crate::{Failure, Result};

/// Which zip each place and archive comes from, so that two zips do not overwrite one another.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<BTreeMap<String, String>>);

impl Claims {
    /// Claims the outputs for a zip. That of a zip that is gone is free.
    ///
    /// # Errors
    /// Class `Conflict` if another zip has one of them.
    pub(super) fn claim(&self, folder: &Path, zip: &str, outputs: Vec<String>) -> Result<()> {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for output in &outputs {
            let owner = owners.get(output).filter(|owner| *owner != zip);
            if let Some(owner) = owner.filter(|owner| folder.join(owner).exists()) {
                let error = format!("`{output}` is made of `{owner}`, and is not overwritten");
                return Err(Failure::new(Class::Conflict, error)
                    .with_hint("remove one of the two, or touch it when the other is gone"));
            }
        }
        owners.extend(outputs.into_iter().map(|output| (output, zip.to_owned())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_zip_keeps_its_outputs_as_long_as_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.zip"), "").unwrap();
        fs::write(folder.path().join("b.zip"), "").unwrap();
        let claims = Claims::default();
        let claim = |zip: &str, outputs: &[&str]| {
            let outputs = outputs.iter().map(|output| (*output).to_owned());
            claims.claim(folder.path(), zip, outputs.collect())
        };
        claim("a.zip", &["x:1", "x.tgz"]).unwrap();
        claim("a.zip", &["x:1", "x.tgz"]).unwrap();
        claim("b.zip", &["y:1"]).unwrap();
        let error = claim("b.zip", &["x:1"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x:1` is made of `a.zip`, and is not overwritten"
        );
        fs::remove_file(folder.path().join("a.zip")).unwrap();
        claim("b.zip", &["x:1"]).unwrap();
    }
}
