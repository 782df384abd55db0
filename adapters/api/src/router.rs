//! The services: authentication, routes, and the form of errors.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use futures::{FutureExt as _, StreamExt as _};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE},
};
use http_body::Body as _;
use vsiflow_engine::model::{Actor, Who};
use vsiflow_workflows::fleet::TokenRole;

use crate::{
    Caller, Peer, Problem, Rights, UnixPeer, api::Api, body, openapi, page, refused_tokens,
    routes::bounded, session_right::SessionRight, token::Token, unread, unread_body,
};

/// How often a token is checked again while an answer or a console lasts.
const TOKEN_INTERVAL: Duration = Duration::from_secs(5);
/// The maximum length of another component's error text that is passed on, in bytes.
const MAX_TEXT_LEN: u64 = 4 * 1024;

impl Api {
    /// The service for token holders, who have the rights of the token's role.
    pub fn token_service(&self) -> Router {
        let api = self.clone();
        let known = middleware::from_fn(move |mut request: Request, next: Next| {
            let api = api.clone();
            async move {
                let bearer = api.bearer(request.headers()).await;
                let placed = bearer.and_then(|caller| {
                    let peer = request.extensions().get::<Peer>();
                    peer.map_or(Ok(()), |peer| api.place_connection(peer, &caller))?;
                    Ok(caller)
                });
                match placed {
                    Ok(caller) => {
                        let right = api.right_of(request.headers());
                        request.extensions_mut().insert(caller);
                        request.extensions_mut().insert(right.clone());
                        while_permitted(next.run(request).await, right)
                    }
                    Err(problem) => {
                        if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
                            refused_tokens::note();
                        }
                        closing(problem.into_response())
                    }
                }
            }
        });
        let routes = self.routes().layer(known);
        routes.layer(middleware::from_fn(unread_body::read_if_refused))
    }

    /// Gives a connection the caller's place, if it has none yet.
    fn place_connection(&self, peer: &Peer, caller: &Caller) -> Result<(), Problem> {
        if !peer.is_known() {
            peer.note_known(self.turns().connection(caller)?);
        }
        Ok(())
    }

    /// The right of the token's bearer to what lasts longer than a request.
    fn right_of(&self, headers: &HeaderMap) -> SessionRight {
        let api = self.downgrade();
        let mut shown = HeaderMap::new();
        if let Some(token) = headers.get(AUTHORIZATION) {
            let mut token = token.clone();
            token.set_sensitive(true);
            shown.insert(AUTHORIZATION, token);
        }
        let check = move || {
            let (api, shown) = (api.clone(), shown.clone());
            async move {
                let Some(api) = api.upgrade() else {
                    return Ok(());
                };
                match api.bearer(&shown).await {
                    Err(problem) if problem.status == StatusCode::UNAUTHORIZED.as_u16() => {
                        Err("its token was revoked or has expired".to_owned())
                    }
                    _ => Ok(()),
                }
            }
            .boxed()
        };
        SessionRight::checked(Arc::new(check), TOKEN_INTERVAL)
    }

    /// The caller to whom a request's token belongs.
    async fn bearer(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let shown = headers.get(AUTHORIZATION);
        let shown = shown.ok_or_else(|| Problem::no_token("the request shows none"))?;
        let token = Token::of_header(shown).map_err(|why| Problem::no_token(&why.to_string()))?;
        let fleets = self.with_tokens().await?;
        let tokens = fleets.decides().tokens();
        let role = tokens.role(token.name(), token.secret()).await;
        let role = role.map_err(|error| Problem {
            status: StatusCode::UNAUTHORIZED.as_u16(),
            ..error.into()
        })?;
        Ok(Caller {
            actor: Actor::Token(Who::new(token.name())),
            rights: match role {
                TokenRole::Viewer => Rights::Look,
                TokenRole::Operator => Rights::Operate,
                TokenRole::Admin => Rights::Everything,
            },
        })
    }

    /// All routes. The caller must already be known.
    pub(crate) fn routes(&self) -> Router {
        let pages = page::routes().route_layer(middleware::from_fn(bounded));
        let routes = openapi::routes().merge(pages).with_state(self.clone());
        routes
            .layer(middleware::from_fn(as_problem))
            .layer(middleware::from_fn(unread::counted))
            .layer(Extension(self.clone()))
    }

    /// The service for a unix socket whose callers have these rights.
    pub fn service(&self, rights: Rights) -> Router {
        let api = self.clone();
        let known = middleware::from_fn(move |mut request: Request, next: Next| {
            let caller = request.extensions().get::<UnixPeer>().map(|peer| Caller {
                actor: api.commands().actor(peer.uid),
                rights,
            });
            async move {
                let Some(caller) = caller else {
                    let detail = "who asks is not known";
                    return Problem::wrong(StatusCode::UNAUTHORIZED, detail).into_response();
                };
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
        });
        let routes = self.routes().layer(known);
        routes.layer(middleware::from_fn(unread_body::read_if_refused))
    }
}

/// Ends an answer that follows something once the caller's right is withdrawn.
fn while_permitted(response: Response, right: SessionRight) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let withdrawn = Box::pin(async move { _ = right.withdrawn().await });
        Body::from_stream(body.into_data_stream().take_until(withdrawn))
    })
}

/// The connection ends after this answer: a client that shows no valid token, or has too many connections, holds no
/// place.
fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// Middleware: converts every error response to a problem.
async fn as_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == Problem::MEDIA_TYPE || kind == page::context::MEDIA_TYPE);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = body::whole(response.into_body(), MAX_TEXT_LEN).await;
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    let detail = text.unwrap_or_default();
    let detail = match (status, detail.as_str()) {
        (StatusCode::NOT_FOUND, "") => "there is no such path".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, "") => "this method does nothing here".to_owned(),
        _ => detail,
    };
    Problem::wrong(status, detail).into_response()
}

#[cfg(test)]
mod tests;
