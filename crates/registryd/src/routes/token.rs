use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Response, StatusCode, header},
};
use bytes::BytesMut;
use futures_util::TryStreamExt;
use serde_json::json;

use super::{App, Call, incoming, json_answer};
use crate::{
    Error, Result,
    auth::{Need, Proof},
};

/// A form with credentials is not larger.
const LARGEST_FORM: usize = 64 << 10;

/// `/auth/token`: `GET` with a password in the header, or `POST` with one in a form (the
/// distribution project's token specification, and its OAuth 2 form).
pub(super) async fn issue(app: &Arc<App>, mut call: Call, body: Body) -> Result<Response<Body>> {
    let identity = match call.method {
        Method::GET | Method::HEAD => app.auth.identify(&app.cx, &call.headers).await,
        Method::POST => {
            call.query = form(app, body).await?;
            let grant = call.parameter("grant_type");
            let name = call.parameter("username").unwrap_or_default();
            let password = call.parameter("password").unwrap_or_default();
            if grant.as_deref() != Some("password") {
                return Err(Error::Parameter {
                    what: "grant_type",
                    value: grant.unwrap_or_default(),
                    expected: "`password`",
                });
            }
            app.auth.log_in(&app.cx, &name, &password).await
        }
        _ => return Err(super::no_endpoint(&call)),
    };
    let scopes: Vec<String> = call.parameters("scope").collect();
    let pulls_only = !scopes.is_empty()
        && scopes
            .iter()
            .flat_map(|scopes| scopes.split(' '))
            .all(|scope| scope.ends_with(":pull"));
    // Wrong credentials are told so, unless they would not be needed: Docker sends those of Docker
    // Hub to its mirrors.
    if identity.proof == Proof::Wrong && !pulls_only {
        return Err(Error::Unauthorized {
            challenge: app.auth.challenge(&call.origin, &Need::Login, Proof::None),
        });
    }
    let Some((token, lifetime)) = app.auth.issue(&app.cx, &identity, &scopes)? else {
        return Err(super::no_endpoint(&call));
    };
    let document = json!({
        "token": token,
        "access_token": token,
        "expires_in": lifetime.as_secs(),
    });
    let mut response = json_answer(StatusCode::OK, document.to_string().into());
    super::set(&mut response, header::CACHE_CONTROL, "no-store")?;
    Ok(response)
}

async fn form(app: &App, body: Body) -> Result<String> {
    let broken = |source: ocicore::Error| Error::Body {
        source: source.into(),
    };
    let mut body = incoming(app, body);
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.try_next().await.map_err(broken)? {
        if whole.len() + chunk.len() > LARGEST_FORM {
            return Err(Error::TooLarge {
                what: "form",
                limit: LARGEST_FORM as u64,
            });
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&whole).into_owned())
}
