use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Access, Grant};
use crate::{Error, Result};

/// Somebody with a password and what is granted to them.
#[derive(Clone, Debug)]
pub struct User {
    pub(super) name: String,
    pub(super) password: Password,
    pub(super) grants: Vec<Grant>,
}

impl User {
    /// A user who may do nothing yet.
    ///
    /// # Errors
    /// If the name is empty or holds a colon or control characters (RFC 7617 §2).
    pub fn new(name: impl Into<String>, password: Password) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            return Err(Error::Setting {
                what: "user name",
                value: name,
                fault: "expected some characters, without `:`".to_owned(),
            });
        }
        Ok(Self {
            name,
            password,
            grants: Vec::new(),
        })
    }

    /// With one more grant.
    pub fn grant(mut self, grant: Grant) -> Self {
        self.grants.push(grant);
        self
    }

    /// Reads the lines of an `htpasswd` file, whose hashes must be bcrypt (`htpasswd -B`). Its
    /// users get `access` to everything.
    ///
    /// # Errors
    /// [`Error::Setting`] with the number of the first line that is wrong.
    pub fn from_htpasswd(text: &str, access: Access) -> Result<Vec<Self>> {
        let mut users = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |fault: &str| Error::Setting {
                what: "htpasswd line",
                value: (number + 1).to_string(),
                fault: fault.to_owned(),
            };
            let (name, hash) = line
                .split_once(':')
                .ok_or_else(|| fault("expected `user:hash`"))?;
            let password = Password::bcrypt(hash)
                .map_err(|_| fault("expected a bcrypt hash, as `htpasswd -B` makes it"))?;
            let user = Self::new(name, password).map_err(|_| fault("expected a user name"))?;
            users.push(user.grant(Grant::everything(access)));
        }
        Ok(users)
    }
}

/// A password to compare with. Prints as `***`.
#[derive(Clone)]
pub struct Password(Kind);

#[derive(Clone)]
enum Kind {
    Plain(String),
    Bcrypt(String),
}

impl Password {
    /// The password itself.
    pub fn plain(password: impl Into<String>) -> Self {
        Self(Kind::Plain(password.into()))
    }

    /// Its bcrypt hash.
    ///
    /// # Errors
    /// If it is none.
    pub fn bcrypt(hash: impl Into<String>) -> Result<Self> {
        let hash = hash.into();
        if hash.parse::<bcrypt::HashParts>().is_err() {
            return Err(Error::Setting {
                what: "password hash",
                value: "***".to_owned(),
                fault: "expected bcrypt".to_owned(),
            });
        }
        Ok(Self(Kind::Bcrypt(hash)))
    }

    /// Takes long for bcrypt, on purpose.
    pub(super) fn verify(&self, password: &str) -> bool {
        match &self.0 {
            // The time of comparing hashes tells nothing about the password.
            Kind::Plain(expected) => Sha256::digest(expected) == Sha256::digest(password),
            Kind::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
        }
    }

    pub(super) fn is_slow(&self) -> bool {
        matches!(self.0, Kind::Bcrypt(_))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn htpasswd_is_read() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let text = format!(
            "# people\n\nann:{hash}\nbob:{}\n",
            hash.replacen("$2b$", "$2y$", 1)
        );
        let users = User::from_htpasswd(&text, Access::Read).unwrap();
        assert_eq!(users.len(), 2);
        for user in &users {
            assert!(user.password.verify("secret"));
            assert!(!user.password.verify("Secret"));
        }
        assert!(!format!("{users:?}").contains("$2"));
    }

    #[test]
    fn a_bad_htpasswd_names_its_line() {
        for (text, line) in [
            ("ann", "1"),
            ("# x\nann:{SHA}abc", "2"),
            ("\n\nann:$apr1$x$y", "3"),
            (":$2y$05$", "1"),
        ] {
            match User::from_htpasswd(text, Access::Read).unwrap_err() {
                Error::Setting { value, .. } => assert_eq!(value, line),
                other => panic!("{other}"),
            }
        }
    }
}
