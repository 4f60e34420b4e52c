//! A configuration made of flags: one source of kind `central` and a pipeline that takes from it.
//! It goes through the same rules as a file, and what is wrong is told by the flag. Key type:
//! [`TailSource`].

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use serde_json::{Map, Value, json};

use super::{Config, ConfigError, Problem, check, override_of};

/// Name of the source, and of the pipeline.
const NAME: &str = "central";
/// Where its keys lie.
const KEY: &str = "source.central";

const ID: &str = "CENTRAL_CLIENT_ID";
const SECRET: &str = "CENTRAL_CLIENT_SECRET";
const TOKEN: &str = "CENTRAL_TOKEN";

/// What flags say of a source. Access that they do not tell of is looked for in the environment:
/// `CENTRAL_TOKEN`, or `CENTRAL_CLIENT_ID` and `CENTRAL_CLIENT_SECRET`.
#[derive(Debug, Clone, Default)]
pub struct TailSource {
    /// Key `cluster`.
    pub cluster: Option<String>,
    /// Key `base_url`.
    pub base_url: Option<String>,
    /// Key `workspace`.
    pub workspace: Option<String>,
    /// Key `token_endpoint`.
    pub token_endpoint: Option<String>,
    /// Key `ca_file`.
    pub ca_file: Option<PathBuf>,
    /// Key `client_id`.
    pub client_id: Option<String>,
    /// A file that holds the secret.
    pub client_secret_file: Option<PathBuf>,
    /// Key `token_file`.
    pub token_file: Option<PathBuf>,
    /// Names of streams, or paths, which have a slash in them.
    pub streams: Vec<String>,
    /// Only events of these types, in all streams.
    pub event_types: Vec<String>,
    /// Further keys of the source, each `KEY=VALUE`.
    pub overrides: Vec<String>,
}

impl Config {
    /// A configuration of one source and a pipeline that takes from it. Relative paths are relative
    /// to the current directory.
    ///
    /// # Errors
    /// All that is wrong with it, told by flag.
    pub fn for_tail(source: &TailSource) -> Result<Config, ConfigError> {
        let keys = keys(source).map_err(|problem| ConfigError::Invalid(vec![problem]))?;
        let pipeline = json!({ "from": [NAME], "through": [] });
        let mut figment = Figment::from(Serialized::global(KEY, keys))
            .merge(Serialized::global(&format!("pipeline.{NAME}"), pipeline));
        for flag in &source.overrides {
            figment = figment.merge(override_of(&format!("{KEY}.{flag}"))?);
        }
        let file = Path::new("command line");
        let path = std::path::absolute(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        check::config(&figment, file, &path).map_err(by_flag)
    }
}

fn keys(source: &TailSource) -> Result<Map<String, Value>, Problem> {
    let mut keys = Map::new();
    keys.insert("kind".to_owned(), "central".into());
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            keys.insert(name.to_owned(), value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| json!(path));
    put("cluster", text(&source.cluster));
    put("base_url", text(&source.base_url));
    put("workspace", text(&source.workspace));
    put("token_endpoint", text(&source.token_endpoint));
    put("ca_file", path(&source.ca_file));
    let streams = source.streams.iter().map(|stream| {
        let key = if stream.contains('/') { "path" } else { "name" };
        json!({ key: stream, "event_types": source.event_types })
    });
    put("streams", Some(streams.collect()));

    let from_env = |name: &str| json!({ "env": name });
    let from_file = |file: &PathBuf| json!({ "file": file });
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_client_flag = source.client_id.is_some() || source.client_secret_file.is_some();
    if let Some(file) = &source.token_file {
        // The source would wait for it to come; whoever has just named it wants to know.
        std::fs::File::open(file).map_err(|error| Problem {
            file: "--token-file".to_owned(),
            key: String::new(),
            what: format!("cannot read {}: {error}", file.display()),
            hint: String::new(),
        })?;
        put("token_file", Some(json!(file)));
    } else if !has_client_flag && is_set(TOKEN) {
        put("token", Some(from_env(TOKEN)));
    } else if has_client_flag || is_set(ID) || is_set(SECRET) {
        put("client_id", text(&source.client_id).or_else(|| Some(from_env(ID))));
        let secret = source.client_secret_file.as_ref().map(from_file);
        put("client_secret", secret.or_else(|| Some(from_env(SECRET))));
    } else {
        return Err(Problem {
            file: "access".to_owned(),
            key: String::new(),
            what: "there are neither client credentials nor a token".to_owned(),
            hint: format!("export {ID}=… {SECRET}=…, or {TOKEN}=…; there are flags too: --help"),
        });
    }
    Ok(keys)
}

/// Tells problems by the flag where there is one, for nobody has written these keys.
fn by_flag(error: ConfigError) -> ConfigError {
    let ConfigError::Invalid(problems) = error else { return error };
    let told = problems.into_iter().map(|mut problem| {
        let key = problem.key.strip_prefix(KEY).map(|key| key.trim_start_matches('.'));
        let flag = match key.and_then(|key| key.split('.').next()) {
            Some("cluster") => "--cluster",
            Some("base_url") => "--base-url",
            Some("token_endpoint") => "--token-endpoint",
            Some("ca_file") => "--ca-file",
            Some("client_id") => "--client-id",
            Some("client_secret") => "--client-secret-file",
            Some("workspace") => "--workspace",
            Some("token") => TOKEN,
            Some("token_file") => "--token-file",
            Some("streams") => "--stream",
            Some(_) => {
                problem.key = key.unwrap_or_default().to_owned();
                return problem;
            }
            None => return problem,
        };
        flag.clone_into(&mut problem.file);
        problem.key.clear();
        problem.hint =
            problem.hint.replace("{ path = \"…\" }", "their path: --stream NAME/V1/PATH");
        problem
    });
    ConfigError::Invalid(told.collect())
}
