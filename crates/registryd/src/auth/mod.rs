//! Who may do what: users, grants, and the tokens that stand for them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::http::{HeaderMap, header};
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ocicore::{Cx, RepositoryPath};
use sha2::{Digest as _, Sha256};

pub(crate) use self::grant::fits_text;
use self::token::{Claims, Scope};
pub use self::{
    grant::{Access, Grant, Pattern},
    token::Secret,
    user::{Password, User},
};
use crate::{Error, Result};

mod grant;
mod token;
mod user;

/// How long a token is good, unless told otherwise.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long a password that was right is not hashed again.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Passwords that are remembered at most.
const MOST_REMEMBERED: usize = 1024;
/// Clients leave out the padding or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who may use a server.
///
/// Who comes with wrong credentials may still do what everybody may, as Docker sends the
/// credentials of Docker Hub to its mirrors.
///
/// ```
/// use registryd::{Access, Auth, Grant, Password, Secret, User};
///
/// let writer = User::new("zuul", Password::plain("secret"))?.grant(Grant::everything(Access::Write));
/// let auth = Auth::bearer(Secret::random()?)
///     .user(writer)
///     .anonymous(Grant::everything(Access::Read));
/// # Ok::<(), registryd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Auth {
    scheme: Scheme,
    users: HashMap<String, User>,
    anonymous: Vec<Grant>,
    realm: Option<String>,
    lifetime: Duration,
    remembered: Arc<Mutex<HashMap<[u8; 32], SystemTime>>>,
}

#[derive(Clone, Debug)]
enum Scheme {
    Open,
    Basic,
    Bearer(Secret),
}

impl Auth {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self::new(Scheme::Open).anonymous(Grant::everything(Access::Write))
    }

    /// Passwords with each request (RFC 7617). Docker then pulls nothing without a login, even what
    /// everybody may; [`Auth::bearer`] is for that.
    pub fn basic() -> Self {
        Self::new(Scheme::Basic)
    }

    /// Tokens, which clients get at `/auth/token` for their password (the distribution project's
    /// token specification); a password with the request is taken, too.
    pub fn bearer(secret: Secret) -> Self {
        Self::new(Scheme::Bearer(secret))
    }

    /// With one more user; one of the same name is replaced.
    pub fn user(mut self, user: User) -> Self {
        self.users.insert(user.name.clone(), user);
        self
    }

    /// With a grant for everybody.
    pub fn anonymous(mut self, grant: Grant) -> Self {
        self.anonymous.push(grant);
        self
    }

    /// With the URL at which clients get tokens, where the server is not reached by the host that
    /// its clients name.
    pub fn realm(mut self, url: impl Into<String>) -> Self {
        self.realm = Some(url.into());
        self
    }

    /// With another lifetime of tokens than five minutes.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            users: HashMap::new(),
            anonymous: Vec::new(),
            realm: None,
            lifetime: LIFETIME,
            remembered: Arc::default(),
        }
    }

    /// Whether there are tokens at all.
    pub(crate) fn has_tokens(&self) -> bool {
        matches!(self.scheme, Scheme::Bearer(_))
    }

    /// Who sends a request with these headers.
    pub(crate) async fn identify(&self, cx: &Cx, headers: &HeaderMap) -> Identity {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return self.nobody(Proof::None);
        };
        let value = value.to_str().unwrap_or_default();
        let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            let Scheme::Bearer(secret) = &self.scheme else {
                return self.nobody(Proof::Wrong);
            };
            return match secret.verify(credentials, cx.now()) {
                Some(claims) => Identity {
                    name: claims.subject().to_owned(),
                    proof: Proof::Token,
                    rights: Rights::Scopes(claims.access),
                },
                None => Identity {
                    name: String::new(),
                    proof: Proof::Wrong,
                    rights: Rights::Scopes(Vec::new()),
                },
            };
        }
        match basic_credentials(scheme, credentials) {
            Some((name, password)) => self.log_in(cx, &name, &password).await,
            None => self.nobody(Proof::Wrong),
        }
    }

    /// Who has that password.
    pub(crate) async fn log_in(&self, cx: &Cx, name: &str, password: &str) -> Identity {
        let Some(user) = self.users.get(name) else {
            return self.nobody(Proof::Wrong);
        };
        if !self.check_password(cx, user, password).await {
            return self.nobody(Proof::Wrong);
        }
        let mut grants = user.grants.clone();
        grants.extend(self.anonymous.iter().cloned());
        Identity {
            name: user.name.clone(),
            proof: Proof::Password,
            rights: Rights::Grants(grants),
        }
    }

    /// A token for what of `scopes` that somebody may do, and its lifetime. None if there are no
    /// tokens.
    pub(crate) fn issue(
        &self,
        cx: &Cx,
        identity: &Identity,
        scopes: &[String],
    ) -> Result<Option<(String, Duration)>> {
        let Scheme::Bearer(secret) = &self.scheme else {
            return Ok(None);
        };
        let wanted = scopes.iter().flat_map(|scopes| scopes.split(' '));
        let mut granted = Vec::new();
        for scope in wanted.filter_map(Scope::parse) {
            let mut actions = Vec::new();
            if let Some(name) = scope.repository() {
                for (access, action) in [(Access::Read, "pull"), (Access::Write, "push")] {
                    if scope.has(access) && identity.allows(&name, access) {
                        actions.push(action.to_owned());
                    }
                }
                // What clients that delete ask for.
                if scope
                    .actions
                    .iter()
                    .any(|action| action == "delete" || action == "*")
                    && identity.allows(&name, Access::Write)
                {
                    actions.push("*".to_owned());
                }
            } else if scope.kind == "registry"
                && scope.name == "catalog"
                && identity.allows_all(Access::Read)
            {
                actions.push("*".to_owned());
            }
            if !actions.is_empty() {
                granted.push(Scope { actions, ..scope });
            }
        }
        let claims = Claims::new(&identity.name, cx.now(), self.lifetime, granted);
        Ok(Some((secret.sign(&claims)?, self.lifetime)))
    }

    /// What to answer to who must prove more. `host` is the one that the client named.
    pub(crate) fn challenge(&self, origin: &str, need: &Need<'_>, proof: Proof) -> String {
        match &self.scheme {
            Scheme::Open | Scheme::Basic => {
                "Basic realm=\"registry\", charset=\"UTF-8\"".to_owned()
            }
            Scheme::Bearer(_) => {
                let realm = match &self.realm {
                    Some(realm) => realm.clone(),
                    None => format!("{origin}/auth/token"),
                };
                let mut challenge = format!("Bearer realm=\"{realm}\",service=\"registry\"");
                match need {
                    Need::Login => {}
                    Need::Catalog => challenge.push_str(",scope=\"registry:catalog:*\""),
                    Need::Repository(name, access) => {
                        let actions = match access {
                            Access::Read => "pull",
                            Access::Write => "pull,push",
                        };
                        challenge.push_str(&format!(",scope=\"repository:{name}:{actions}\""));
                    }
                }
                match proof {
                    Proof::Token => challenge.push_str(",error=\"insufficient_scope\""),
                    Proof::Wrong => challenge.push_str(",error=\"invalid_token\""),
                    Proof::None | Proof::Password => {}
                }
                challenge
            }
        }
    }

    /// Whether somebody may do what a request needs.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] with a challenge, [`Error::Denied`] to who has proven enough.
    pub(crate) fn check(&self, identity: &Identity, need: &Need<'_>, origin: &str) -> Result<()> {
        let good = match need {
            // The answer tells a client how to log in, so that it is no even where everybody
            // may read.
            Need::Login => match identity.proof {
                Proof::Token | Proof::Password => true,
                Proof::None | Proof::Wrong => identity.allows_all(Access::Write),
            },
            Need::Catalog => identity.may_list(),
            Need::Repository(name, access) => identity.allows(name, *access),
        };
        if good {
            Ok(())
        } else if let (Proof::Password, Need::Repository(name, _)) = (identity.proof, need) {
            Err(Error::Denied {
                repository: name.to_string(),
            })
        } else {
            Err(Error::Unauthorized {
                challenge: self.challenge(origin, need, identity.proof),
            })
        }
    }

    fn nobody(&self, proof: Proof) -> Identity {
        Identity {
            name: String::new(),
            proof,
            rights: Rights::Grants(self.anonymous.clone()),
        }
    }

    async fn check_password(&self, cx: &Cx, user: &User, password: &str) -> bool {
        if !user.password.is_slow() {
            return user.password.verify(password);
        }
        let mut hash = Sha256::new();
        for part in [user.name.as_str(), "\0", password] {
            hash.update(part);
        }
        let key: [u8; 32] = hash.finalize().into();
        let now = cx.now();
        let good_before = {
            let mut remembered = self.lock();
            remembered
                .retain(|_, since| now.duration_since(*since).is_ok_and(|age| age < REMEMBERED));
            remembered.contains_key(&key)
        };
        if good_before {
            return true;
        }
        let (expected, given) = (user.password.clone(), password.to_owned());
        let good = cx.blocking(move |_| expected.verify(&given)).await;
        if good {
            let mut remembered = self.lock();
            if remembered.len() < MOST_REMEMBERED {
                remembered.insert(key, now);
            }
        }
        good
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], SystemTime>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request needs.
#[derive(Debug)]
pub(crate) enum Need<'a> {
    /// To be known.
    Login,
    /// The names of repositories.
    Catalog,
    /// Access to one repository.
    Repository(&'a RepositoryPath, Access),
}

/// How somebody has shown who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Not at all.
    None,
    /// Credentials that are not good.
    Wrong,
    Password,
    Token,
}

/// Somebody, and what they may do.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Empty for everybody.
    pub(crate) name: String,
    pub(crate) proof: Proof,
    rights: Rights,
}

#[derive(Debug)]
enum Rights {
    Grants(Vec<Grant>),
    Scopes(Vec<Scope>),
}

impl Identity {
    pub(crate) fn allows(&self, repository: &RepositoryPath, access: Access) -> bool {
        match &self.rights {
            Rights::Grants(grants) => grants.iter().any(|grant| grant.allows(repository, access)),
            Rights::Scopes(scopes) => scopes
                .iter()
                .any(|scope| scope.has(access) && scope.repository().as_ref() == Some(repository)),
        }
    }

    /// The same for all repositories.
    pub(crate) fn allows_all(&self, access: Access) -> bool {
        match &self.rights {
            Rights::Grants(grants) => grants.iter().any(|grant| grant.is_everything(access)),
            Rights::Scopes(_) => false,
        }
    }

    /// Whether they may see a list of names, which is cut to those that they may read.
    fn may_list(&self) -> bool {
        match &self.rights {
            Rights::Grants(grants) => !grants.is_empty(),
            Rights::Scopes(_) => self.lists_all(),
        }
    }

    /// Whether a token says that all names may be seen.
    pub(crate) fn lists_all(&self) -> bool {
        match &self.rights {
            Rights::Grants(_) => self.allows_all(Access::Read),
            Rights::Scopes(scopes) => scopes
                .iter()
                .any(|scope| scope.kind == "registry" && scope.name == "catalog"),
        }
    }
}

/// User and password of a `Basic` header (RFC 7617); a password may hold colons.
fn basic_credentials(scheme: &str, credentials: &str) -> Option<(String, String)> {
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64.decode(credentials).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}
