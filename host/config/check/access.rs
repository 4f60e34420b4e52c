//! The rules for how a source gets its token, and which proxy leads to it. Key functions:
//! `Check::access`, `Check::proxies`.

use secrecy::ExposeSecret as _;
use url::Url;

use super::Check;
use crate::config::{Access, CredentialsIn, environment, raw};
use crate::proxy::{self, Proxies};

/// Where New Central gives out tokens.
const TOKEN_ENDPOINT: &str = "https://sso.common.cloud.hpe.com/as/token.oauth2";
/// Where a GreenLake workspace does.
const WORKSPACES: &str = "https://global.api.greenlake.hpe.com/authorization/v2/oauth2";
/// Longest id of a workspace.
const MAX_WORKSPACE: usize = 128;

impl Check<'_> {
    pub(super) fn access(&mut self, key: &str, raw: &raw::Central) -> Option<Access> {
        let has_client = raw.client_id.is_some() || raw.client_secret.is_some();
        match (&raw.token, &raw.token_file, &raw.client_id, &raw.client_secret) {
            (Some(token), None, None, None) => {
                self.of_no_use(key, raw, "token");
                let token = self.secret(&format!("{key}.token"), token, false)?;
                Some(Access::Token(token))
            }
            (None, Some(file), None, None) => {
                self.of_no_use(key, raw, "token_file");
                Some(Access::File(self.dir.join(file)))
            }
            (None, None, Some(id), Some(secret)) => {
                let endpoint = self.endpoint(key, raw);
                let id = self.secret(&format!("{key}.client_id"), id, true);
                let secret = self.secret(&format!("{key}.client_secret"), secret, false);
                let credentials_in = self.credentials_in(key, raw.credentials_in.as_deref());
                Some(Access::Client {
                    id: id?,
                    secret: secret?,
                    endpoint: endpoint?,
                    credentials_in: credentials_in?,
                })
            }
            (token, file, id, _) => {
                let (what, hint) = match (token, file) {
                    (Some(_), Some(_)) => ("has both token and token_file", "keep one of them"),
                    (None, None) if has_client => (
                        if id.is_some() {
                            "has client_id without client_secret"
                        } else {
                            "has client_secret without client_id"
                        },
                        "both come with an API client; for example client_secret = { env = \"CENTRAL_CLIENT_SECRET\" }",
                    ),
                    (None, None) => (
                        "needs either token, token_file, or client_id and client_secret",
                        "for example client_secret = { env = \"CENTRAL_CLIENT_SECRET\" }",
                    ),
                    _ => (
                        "has both a token and client credentials",
                        "keep token or token_file, or client_id and client_secret",
                    ),
                };
                self.problem(key, what, hint);
                None
            }
        }
    }

    /// Keys that speak of client credentials, where there are none.
    fn of_no_use(&mut self, key: &str, raw: &raw::Central, with: &str) {
        let given = [
            ("workspace", raw.workspace.is_some()),
            ("credentials_in", raw.credentials_in.is_some()),
        ];
        for (name, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            let what = format!("is of no use with {with}");
            let hint = "it says how client_id and client_secret get a token";
            self.problem(&format!("{key}.{name}"), what, hint);
        }
    }

    fn endpoint(&mut self, key: &str, raw: &raw::Central) -> Option<Url> {
        let workspace_is_odd = raw.workspace.as_ref().is_some_and(|workspace| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            workspace.is_empty()
                || workspace.len() > MAX_WORKSPACE
                || !workspace.chars().all(allowed)
        });
        if workspace_is_odd {
            let what = "is not the id of a workspace";
            let hint = "GreenLake shows it under Manage Workspace: letters, digits and - only";
            self.problem(&format!("{key}.workspace"), what, hint);
            return None;
        }
        let endpoint = match (&raw.token_endpoint, &raw.workspace) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(workspace)) => format!("{WORKSPACES}/{workspace}/token"),
            (None, None) => TOKEN_ENDPOINT.to_owned(),
        };
        self.https_url(&format!("{key}.token_endpoint"), &endpoint)
    }

    fn credentials_in(&mut self, key: &str, text: Option<&str>) -> Option<CredentialsIn> {
        match text {
            None | Some("header") => Some(CredentialsIn::Header),
            Some("body") => Some(CredentialsIn::Body),
            Some(other) => {
                let what = format!("{other:?} is no place for credentials");
                self.problem(&format!("{key}.credentials_in"), what, "known: header, body");
                None
            }
        }
    }

    /// The proxies of a table that may name its own.
    pub(super) fn proxies(&mut self, key: &str, own: Option<&raw::Secret>) -> Option<Proxies> {
        let Some(own) = own else { return self.environment_proxies() };
        let key = format!("{key}.proxy");
        let text = self.secret(&key, own, true)?;
        if text.expose_secret().trim() == "none" {
            return Some(Proxies::none());
        }
        match proxy::address(text.expose_secret()) {
            Ok(address)
                if matches!(own, raw::Secret::Plain(_)) && proxy::has_password(&address) =>
            {
                let what = "a password cannot stand in the configuration";
                let hint = "write { env = \"NAME\" } or { file = \"PATH\" } for the whole address";
                self.problem(&key, what, hint);
                None
            }
            Ok(address) => Some(Proxies::always(address)),
            Err(error) => {
                self.problem(&key, error.to_string(), PROXY_HINT);
                None
            }
        }
    }

    /// The proxies of the environment; what is wrong with them is told once.
    fn environment_proxies(&mut self) -> Option<Proxies> {
        match environment::proxies() {
            Ok(proxies) => Some(proxies),
            Err(problem) => {
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                None
            }
        }
    }
}

/// How a proxy is written.
pub(in crate::config) const PROXY_HINT: &str = "for example http://proxy.example:3128, or none; TLS towards the proxy and SOCKS are not spoken";
